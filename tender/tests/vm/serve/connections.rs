//! What a client may do with a connection, and what becomes of one that does nothing with it.

use super::client::{PATIENCE, Reply, Server, send};
use crate::support::{example, guest, no_kvm};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn echo(options: &[&str]) -> Server {
    let program = example("release", "handler-echo").into_os_string().into_string().expect("a path of ours");
    Server::start(&[options, &[&program]].concat())
}

/// A request with a body of three bytes, and what follows it.
fn request(server: &Server, fields: &str, rest: &[u8]) -> TcpStream {
    let mut stream = server.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: 3\r\n\r\nabc");
    stream.write_all(&[head.as_bytes(), rest].concat()).expect("sent");
    stream
}

#[test]
fn an_answer_goes_out_whatever_follows_its_request() {
    if no_kvm() {
        return;
    }
    let server = echo(&[]);
    let rests =
        [&b"\r\n"[..], b"G", b"POST / HTTP/1.1\r\nHo", b"\0garbage\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"];
    for rest in rests {
        for fields in ["", "Connection: close\r\n"] {
            let stream = request(&server, fields, rest);
            let reply = Reply::read(&mut BufReader::new(stream));
            assert_eq!((reply.status, reply.text().as_str()), (200, "abc"), "{rest:?}");
        }
    }
}

#[test]
fn what_is_no_request_is_a_400() {
    if no_kvm() {
        return;
    }
    let server = echo(&[]);
    for head in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/ -> 200 1 in\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).expect("sent");
        assert_eq!(Reply::read(&mut BufReader::new(stream)).status, 400, "{head:?}");
    }
}

#[test]
fn a_connection_on_which_nothing_is_asked_is_closed() {
    if no_kvm() {
        return;
    }
    let server = echo(&["--receive", "300ms"]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let said = [&b""[..], b"P", b"PRI * HT", b"GET / HTTP/1.1\r\nHo", preface];
    let mut connections: Vec<_> = said.map(|said| (server.connect(), said)).into();
    for (stream, said) in &mut connections {
        stream.write_all(said).expect("sent");
    }
    // One that has been answered, too.
    connections.push((request(&server, "", b""), b"a request"));
    for (mut stream, said) in connections {
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.is_ok(), "{said:?}: {ended:?}");
    }
}

#[test]
fn bodies_that_come_slowly_hold_no_place() {
    if no_kvm() {
        return;
    }
    let server = echo(&["--instances", "1", "--queue", "0"]);
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            let head = b"POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
            stream.write_all(head).expect("sent");
            // The server waits for its body now.
            let mut told = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
            stream.read_exact(&mut told).expect("an answer to the head");
            stream.write_all(b"a").expect("sent");
            stream
        })
        .collect();
    let reply = server.request("/", "", b"quick");
    assert_eq!((reply.status, reply.text().as_str()), (200, "quick"));
    for mut stream in slow {
        stream.write_all(b"bc").expect("sent");
        assert_eq!(Reply::read(&mut BufReader::new(stream)).text(), "abc");
    }
}

#[test]
fn a_body_that_stops_while_the_guest_reads_it_is_a_408() {
    if no_kvm() {
        return;
    }
    let server = echo(&["--deadline", "300ms"]);
    let mut stream = server.connect();
    let head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(&[&head[..], &[b'a'; 500_000]].concat()).expect("sent");
    assert_eq!(Reply::read(&mut BufReader::new(stream)).status, 408);
}

#[test]
fn a_client_that_takes_nothing_in_is_cut_off() {
    if no_kvm() {
        return;
    }
    let server = echo(&["--receive", "500ms"]);
    let mut stream = server.connect();
    // More than what the kernel keeps for both sides.
    send(&mut stream, "/", "", &vec![b'a'; 16 << 20]);
    let begin = Instant::now();
    while server.metric("coracle_connections") != Some(1.0) {
        assert!(begin.elapsed() < PATIENCE, "its connection stays");
        std::thread::yield_now();
    }
}

#[test]
fn requests_that_come_without_a_pause_wait_for_answers_to_be_taken() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    let mut stream = server.connect();
    stream.set_nonblocking(true).expect("it can be");
    let requests = b"GET /-/metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    let begin = Instant::now();
    let (mut full, mut sent) = (0, 0);
    // Where nobody takes answers, the server takes no requests: that the kernel's room for them is full, and
    // stays so, shows that.
    while full < 1000 && begin.elapsed() < PATIENCE {
        match stream.write(&requests[sent % requests.len()..]) {
            Ok(count) => (full, sent) = (0, sent + count),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                full += 1;
                std::thread::yield_now();
            }
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process())).expect("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 32 << 10, "{kib} KiB");
}
