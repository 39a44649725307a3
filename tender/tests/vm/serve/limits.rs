//! Who is refused, and how.

use super::client::{Reply, Server, send};
use crate::support::{guest, no_kvm};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::thread;

fn with(options: &[&str]) -> Server {
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    Server::start(&[options, &[&program]].concat())
}

/// Begins a request that holds its machine until it is answered.
fn hold(server: &Server, calls: f64) -> TcpStream {
    let mut stream = server.connect();
    send(&mut stream, "/sleep?2000", "", b"");
    while server.metric("coracle_calls{function=\"/\"}") != Some(calls) {
        thread::yield_now();
    }
    stream
}

#[test]
fn a_body_that_is_too_long_is_a_413_whether_it_says_so_or_not() {
    if no_kvm() {
        return;
    }
    let server = with(&["--body", "400K"]);
    assert_eq!(server.request("/", "", &vec![0; 400 << 10]).status, 200);
    for path in ["/", "/fail"] {
        assert_eq!(server.request(path, "", &vec![0; (400 << 10) + 1]).status, 413);
        let mut stream = server.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        // It stops reading somewhere.
        while write!(stream, "1000\r\n{}\r\n", "a".repeat(4096)).is_ok() {}
        let reply = Reply::read_if_any(&mut BufReader::new(stream));
        // The echo has begun to answer by then, and its answer breaks off.
        assert!(reply.is_none_or(|reply| reply.status == 413), "{path}");
    }
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn requests_beyond_instances_and_queue_are_a_503_that_says_when_to_come_back() {
    if no_kvm() {
        return;
    }
    let server = with(&["--instances", "1", "--queue", "1"]);
    let (first, second) = (hold(&server, 1.0), hold(&server, 2.0));
    let reply = server.get("/");
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    for stream in [first, second] {
        assert_eq!(Reply::read(&mut BufReader::new(stream)).text(), "slept");
    }
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_request_that_finds_no_machine_in_time_is_a_503() {
    if no_kvm() {
        return;
    }
    let server = with(&["--instances", "1", "--deadline", "1s"]);
    let (first, second) = (hold(&server, 1.0), hold(&server, 2.0));
    assert_eq!(Reply::read(&mut BufReader::new(first)).status, 504);
    let status = Reply::read(&mut BufReader::new(second)).status;
    // Where the first one's machine is replaced just before the time is up, the second one has begun.
    assert!([503, 504].contains(&status), "{status}");
}

#[test]
fn a_client_with_too_many_requests_gets_a_429() {
    if no_kvm() {
        return;
    }
    let server = with(&["--per-client", "1"]);
    let first = hold(&server, 1.0);
    let reply = server.get("/");
    assert_eq!((reply.status, reply.field("retry-after")), (429, Some("1")));
    assert_eq!(Reply::read(&mut BufReader::new(first)).text(), "slept");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_guest_that_puts_out_too_much_is_a_502() {
    if no_kvm() {
        return;
    }
    let server = with(&["--output", "1000"]);
    assert_eq!(server.request("/", "", &[b'a'; 2000]).status, 502);
    server.log_until("put out more than 1000 bytes");
}
