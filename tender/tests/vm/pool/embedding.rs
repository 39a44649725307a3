//! The examples of programs that embed the library, as programs.

use super::LONG;
use crate::lane::beyond_emulators;
use crate::support::{directory, example, no_kvm};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Why emulated machines do not run these.
const LIMIT: &str = "the example gives its guests 250 ms, which are over there before a stack has overflowed";

fn embedding(name: &str) -> Command {
    Command::new(directory().join("embedding").join(name))
}

/// A program that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request over a connection of its own and answers status and body.
fn request(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let length = body.len();
    let text =
        format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers in text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn the_plugins_example_answers_requests_by_its_plugins() {
    if no_kvm() || beyond_emulators(LIMIT) {
        return;
    }
    let mut command = embedding("plugins");
    for (name, image) in
        [("echo", "handler-echo"), ("page", "handler-template"), ("sum", "handler-expressions")]
    {
        command.arg(format!("{name}={}", example("release", image).display()));
    }
    let mut child = Ended(command.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut line = String::new();
    let output = child.0.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("it says where");
    let address = line.trim().rsplit("http://").next().expect("an address");

    assert_eq!(request(address, "POST /echo", "Hello"), (200, "Hello".to_owned()));
    let (status, page) = request(address, "POST /page", "{\"title\": \"Boats\", \"items\": []}");
    assert_eq!(status, 200);
    assert!(page.contains("<h1>Boats</h1>"), "{page}");
    assert_eq!(request(address, "POST /sum", "1 + 2"), (200, "3".to_owned()));
    assert_eq!(request(address, "POST /sum", "1 +").0, 422, "the guest says what is wrong");
    assert_eq!(request(address, "POST /sum", "f(x) = f(x); f(1)").0, 502, "the guest crashes");
    assert_eq!(request(address, "POST /sum", "f(n) = if(n < 2, n, f(n-1) + f(n-2)); f(80)").0, 504);
    assert_eq!(request(address, "POST /none", "").0, 404);
    let (status, metrics) = request(address, "GET /sum/metrics", "");
    assert_eq!(status, 200);
    assert!(metrics.contains("\"answered\":1"), "{metrics}");
    assert_eq!(request(address, "POST /echo", "still here"), (200, "still here".to_owned()));
}

#[test]
fn the_expressions_example_shows_results_and_refusals() {
    if no_kvm() || beyond_emulators(LIMIT) {
        return;
    }
    let ended =
        embedding("expressions").arg(example("release", "handler-expressions")).output().expect("it starts");
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{output}{}", String::from_utf8_lossy(&ended.stderr));
    for expected in ["= -1 ", "= 6765 ", "stack overflow", "was still running", "no price", "= 7.5 "] {
        assert!(output.contains(expected), "{expected}:\n{output}");
    }
}
