//! Guests that die and clients that misbehave, under load: no request is lost, and nothing grows.

use super::client::{PATIENCE, Reply, Server, send};
use super::http2;
use crate::support::{guest, no_kvm};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the load goes on.
fn length() -> Duration {
    let seconds = std::env::var("CORACLE_SOAK_SECONDS");
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Sends requests on one connection, some of which crash their guest, and expects an answer to each.
fn well_behaved(server: &Server, ended: &AtomicBool) -> u64 {
    let mut stream = server.connect();
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        let (path, status) = match count % 16 {
            5 => ("/panic", 502),
            9 => ("/sleep?2", 200),
            _ => ("/", 200),
        };
        let body = format!("request {count}");
        send(&mut stream, path, "", body.as_bytes());
        let reply = Reply::read(&mut reader);
        if reply.status != status {
            let id = reply.field("x-request-id").expect("an id");
            panic!("{reply:?}\n{}", server.log_until(id));
        }
        assert!(path != "/" || reply.text() == body);
        count += 1;
    }
    count
}

fn hangs_up_in_a_body(server: &Server) {
    for (length, sent) in [(1000, 10), (1_000_000, 500_000)] {
        let mut stream = server.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let _ = stream.write_all(&vec![b'a'; sent]);
    }
}

fn hangs_up_while_the_guest_runs(server: &Server) {
    let mut stream = server.connect();
    send(&mut stream, "/sleep?600000", "", b"");
}

fn sends_garbage(server: &Server) {
    for garbage in
        [&b"\0\xff\x16\x03\x01 nonsense\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX"]
    {
        let mut stream = server.connect();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        // It answers with a refusal or not at all, and closes.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// Sends a request byte by byte, and expects its answer.
fn sends_slowly(server: &Server) {
    let mut stream = server.connect();
    let text = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nHello";
    for byte in text.bytes() {
        stream.write_all(&[byte]).expect("sent");
        std::thread::yield_now();
    }
    assert_eq!(Reply::read(&mut BufReader::new(stream)).text(), "Hello");
}

/// Sends the beginning of a request and then a byte again and again, until it is answered or the connection
/// ends; and answers what came back.
fn drips(server: &Server, beginning: &[u8]) -> Vec<u8> {
    let mut stream = server.connect();
    // Between two bytes it waits for so long.
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    stream.write_all(beginning).expect("sent");
    let (mut came, mut buffer, begin) = (Vec::new(), [0; 4096], Instant::now());
    loop {
        assert!(begin.elapsed() < PATIENCE, "it goes on for ever");
        match stream.read(&mut buffer) {
            Ok(0) => return came,
            Ok(count) => came.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Where it is closed, the next look tells.
                let _ = stream.write_all(b"a");
            }
            // What is still on its way when a server closes a connection is answered by this.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return came,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The head of a request with so long a body.
fn head_of(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// Sends bodies byte by byte, so slowly that each is refused.
fn drips_again_and_again(server: &Server, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let came = drips(server, &head_of(100_000));
        assert!(came.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&came));
    }
}

/// Sends requests on one connection of HTTP/2, several at once, some of which crash their guest, and expects
/// an answer to each.
fn well_behaved_by_http2(server: &Server, ended: &AtomicBool) -> u64 {
    http2::run(async {
        let mut client = http2::Client::connect(server).await;
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            let mut responses = Vec::new();
            for number in 0..8 {
                let (path, status) = if number == 5 { ("/panic", 502) } else { ("/", 200) };
                responses.push((path, status, client.send(path, &[b'a' + number; 100]).await));
            }
            for (number, (path, status, response)) in (0..).zip(responses) {
                let reply = http2::whole(response).await;
                assert_eq!(reply.status, status);
                assert!(path != "/" || reply.body == [b'a' + number; 100]);
                count += 1;
            }
        }
        count
    })
}

/// Descriptors, threads, and KiB of memory, of a process.
fn holdings(process: u32) -> (usize, usize, u64) {
    let count = |of| std::fs::read_dir(format!("/proc/{process}/{of}")).expect("a process").count();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    (count("fd"), count("task"), resident.trim().trim_end_matches(" kB").parse().expect("a number"))
}

/// A while of load, with everything that can go wrong.
fn load(server: &Server, length: Duration) -> u64 {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut well: Vec<_> = (0..8).map(|_| scope.spawn(|| well_behaved(server, &ended))).collect();
        well.extend([(); 2].map(|()| scope.spawn(|| well_behaved_by_http2(server, &ended))));
        for _ in 0..4 {
            scope.spawn(|| drips_again_and_again(server, &ended));
        }
        let begin = Instant::now();
        let mut rounds = 0;
        while rounds < 3 || begin.elapsed() < length {
            hangs_up_in_a_body(server);
            hangs_up_while_the_guest_runs(server);
            sends_garbage(server);
            sends_slowly(server);
            rounds += 1;
        }
        ended.store(true, Ordering::Relaxed);
        well.into_iter().map(|thread| thread.join().expect("no failure")).sum()
    })
}

/// Returns when no call is made and all connections but this one's are gone.
fn rest(server: &Server) {
    let begin = Instant::now();
    let is = |name, value| server.metric(name) == Some(value);
    while !(is("coracle_calls{function=\"/\"}", 0.0) && is("coracle_connections", 1.0)) {
        assert!(begin.elapsed() < PATIENCE, "it never rests");
        std::thread::yield_now();
    }
}

#[test]
fn under_load_no_request_is_lost_and_nothing_grows_while_guests_die_and_clients_misbehave() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let options = ["--log", "off", "--instances", "16", "--receive", "2s"];
    let server = Server::start(&[&options[..], &[&program]].concat());
    load(&server, Duration::from_secs(1));
    rest(&server);
    let before = holdings(server.process());
    let answered = load(&server, length());
    rest(&server);
    let after = holdings(server.process());
    assert!(answered > 0);
    // Each instance has two descriptors. At either time there may be up to 16, and as many that are being
    // given back.
    assert!(after.0 <= before.0 + 64, "{before:?}, then {after:?}");
    // For each instance there may be two threads that make calls, and one of the kernel's; those that are being
    // given back have one too.
    assert!(after.1 <= before.1 + 64, "{before:?}, then {after:?}");
    assert!(after.2 <= before.2 + (32 << 10), "{before:?}, then {after:?}");
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_client_that_takes_too_long_is_a_408_and_holds_no_machine() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let server = Server::start(&["--receive", "300ms", "--instances", "1", &program]);
    let mut slow = server.connect();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nHel").expect("sent");
    let mut silent = server.connect();
    silent.write_all(b"POST / HT").expect("sent");
    assert_eq!(server.get("/").status, 200);
    assert_eq!(Reply::read(&mut BufReader::new(slow)).status, 408);
    // Where there is no whole head there is nobody to answer.
    let _ = silent.read_to_end(&mut Vec::new());
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_has_no_more_time_than_others_and_holds_no_machine() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    // A place in the queue: it may come while the other client's request is being answered.
    let options = ["--receive", "1s", "--instances", "1", "--queue", "1"];
    let server = Server::start(&[&options[..], &[&program]].concat());
    let (ended, begin) = (AtomicBool::new(false), Instant::now());
    let time = |came: Vec<u8>| (String::from_utf8_lossy(&came).into_owned(), begin.elapsed());
    std::thread::scope(|scope| {
        let body = scope.spawn(|| time(drips(&server, &head_of(100_000))));
        let head = scope.spawn(|| time(drips(&server, b"POST / HTTP/1.1\r\nHost: test\r\nX-Long: ")));
        let other = scope.spawn(|| well_behaved(&server, &ended));
        let results = [body, head].map(std::thread::ScopedJoinHandle::join);
        ended.store(true, Ordering::Relaxed);
        for (result, answer) in results.into_iter().zip(["HTTP/1.1 408 ", ""]) {
            let (came, took) = result.expect("no failure");
            assert!(came.starts_with(answer) && came.is_empty() == answer.is_empty(), "{came}");
            assert!((1..20).contains(&took.as_secs()), "{took:?}");
        }
        assert!(other.join().expect("no failure") > 0);
    });
}

#[test]
fn a_client_that_sends_a_long_body_a_byte_at_a_time_holds_its_machine_until_the_deadline() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let server = Server::start(&["--deadline", "1s", "--instances", "1", &program]);
    let begin = Instant::now();
    // The guest reads it to its end before it answers.
    let beginning = String::from_utf8(head_of(1_000_000)).expect("text").replace("POST / ", "POST /fail ");
    let came = drips(&server, &[beginning.as_bytes(), &[b'a'; 500_000]].concat());
    assert!(came.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&came));
    assert!((1..20).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(server.get("/").status, 200);
}
