//! Which request gets which answer.

use super::client::{PATIENCE, Reply, Server, chunk, send};
use crate::support::{example, guest, no_kvm};
use std::io::{BufRead, BufReader, Write};
use std::thread;

fn of(program: std::path::PathBuf) -> Server {
    Server::start(&[program])
}

#[test]
fn each_kind_of_program_answers_in_its_own_way() {
    if no_kvm() {
        return;
    }
    let arguments = [
        format!("/main={}", example("release", "cat").display()),
        format!("/handler={}", example("release", "handler-echo").display()),
        format!("/http={}", guest("serve_http").display()),
        format!("/status={}", guest("main_error").display()),
    ];
    let server = Server::start(&arguments);
    let reply = server.request("/main", "", b"a text");
    assert_eq!((reply.status, reply.field("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(reply.body, b"a text");
    let reply = server.request("/main/below", "", b"\xff");
    assert_eq!(
        (reply.field("content-type"), &reply.body[..]),
        (Some("application/octet-stream"), &b"\xff"[..])
    );
    let reply = server.request("/handler", "", b"bytes");
    assert_eq!((reply.status, reply.field("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(reply.body, b"bytes");
    let reply = server.request("/http/echo", "", b"own");
    assert_eq!((reply.status, &reply.body[..]), (200, &b"own"[..]));
    assert_eq!(server.get("/status").status, 502);
    assert_eq!(server.get("/nowhere").status, 404);
}

#[test]
fn a_guest_sees_the_request_without_the_fields_of_the_connection_and_so_does_the_client() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let fields = "X-One: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 2\r\nTE: trailers\r\n\
        Keep-Alive: 5\r\nX-Request-Id: mine-1\r\n";
    let reply = server.request("/head?a=b%20c", fields, b"abc");
    assert_eq!(
        reply.text(),
        "POST /head Some(\"a=b%20c\")\nhost: test\nx-one: 1\ncontent-length: 3\nx-request-id: mine-1\n"
    );
    let reply = server.get("/own");
    assert_eq!((reply.status, reply.text().as_str()), (418, "own"));
    assert_eq!((reply.field("x-hop"), reply.field("x-end")), (None, Some("2")));
}

#[test]
fn a_request_has_one_id_in_the_answer_the_guest_and_the_log() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&["--log".as_ref(), "json".as_ref(), guest("serve_http").as_os_str()]);
    assert_eq!(server.request("/", "X-Request-Id: mine-1\r\n", b"").field("x-request-id"), Some("mine-1"));
    let reply = server.request("/head", "X-Request-Id: not \"sane\"\r\n", b"");
    let id = reply.field("x-request-id").expect("an id").to_owned();
    assert!(!id.contains("sane") && reply.text().contains(&id), "{reply:?}");
    let log = server.log_until(&id);
    let line = log.lines().find(|line| line.contains("mine-1")).expect("a line");
    let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((entry["event"].as_str(), entry["status"].as_u64()), (Some("request"), Some(200)));
}

#[test]
fn a_crash_is_a_502_that_only_the_log_explains() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let reply = server.get("/panic");
    assert_eq!((reply.status, reply.text().as_str()), (502, "the function failed\n"));
    assert!(!reply.head.contains("secret"));
    // This one fails after a piece of its answer, which may have been sent by then: it breaks off.
    let mut stream = server.connect();
    send(&mut stream, "/half", "", b"");
    let reply = Reply::read_if_any(&mut BufReader::new(stream));
    assert!(reply.is_none_or(|reply| reply.status == 502 && !reply.text().contains("secret")));
    let log = server.log_until("the guest failed: the secret of the guest");
    assert!(log.contains("guest panicked at") && log.contains("serve_http::answer"), "{log}");
    assert_eq!(server.get("/stderr").text(), "said");
    server.log_until("said by the guest");
}

#[test]
fn a_guest_whose_time_is_up_is_a_504_whatever_it_does() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&["--deadline".as_ref(), "200ms".as_ref(), guest("serve_http").as_os_str()]);
    // A call that sleeps, and ends, before one whose deadline comes later on the same thread.
    assert_eq!(server.get("/sleep?10").status, 200);
    assert_eq!(server.get("/sleep?600000").status, 504);
    assert_eq!(server.get("/compute").status, 504);
    assert_eq!(server.get("/").status, 200);
    server.log_until("still running after 200ms");
}

#[test]
fn bodies_of_every_length_go_through_whole() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let echo = Server::start(&[example("release", "handler-echo")]);
    for length in [0, 1, 4096, 262_143, 262_144, 262_145, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|place: u32| (place ^ place >> 9) as u8).collect();
        assert!(server.request("/", "", &body).body == body, "{length}");
        assert!(echo.request("/", "", &body).body == body, "{length}");
    }
}

#[test]
fn a_response_is_sent_while_the_request_still_arrives() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let mut stream = server.connect();
    // More than is taken in before the call.
    let begin = vec![b'a'; 300_000];
    let head = "POST /pieces HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    write!(stream, "{head}{:x}\r\n", begin.len()).expect("sent");
    stream.write_all(&begin).expect("sent");
    stream.write_all(b"\r\n").expect("sent");
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a head");
    }
    assert_eq!(chunk(&mut reader), Some(Some(b"first ".to_vec())));
    stream.write_all(b"3\r\nend\r\n0\r\n\r\n").expect("sent");
    assert_eq!(chunk(&mut reader), Some(Some(b"second 300003".to_vec())));
    assert_eq!(chunk(&mut reader), Some(None));
}

#[test]
fn a_connection_is_kept_and_requests_on_it_meet_clean_machines() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    // The guest counts its answers, and fails the second.
    for number in 0..200 {
        let body = format!("request {number}");
        send(&mut stream, "/", "", body.as_bytes());
        assert_eq!(Reply::read(&mut reader).text(), body);
    }
}

#[test]
fn sigterm_lets_requests_end_and_takes_no_more() {
    if no_kvm() {
        return;
    }
    let server = of(guest("serve_http"));
    let mut idle = BufReader::new(server.connect());
    let mut stream = server.connect();
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    send(&mut stream, "/sleep?300", "", b"");
    // It is on its way: another connection's answer came after it was sent, and it is counted.
    while server.metric("coracle_calls{function=\"/\"}") != Some(1.0) {
        thread::yield_now();
    }
    server.signal(libc::SIGTERM);
    server.log_until("no new connections");
    assert_eq!(Reply::read(&mut BufReader::new(stream)).text(), "slept");
    assert!(Reply::read_if_any(&mut idle).is_none());
    assert_eq!(server.ended().code(), Some(0));
}
