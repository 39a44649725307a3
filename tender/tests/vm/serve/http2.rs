//! Clients that speak HTTP/2 from the first byte on.

use super::client::{PATIENCE, Server};
use crate::support::{guest, no_kvm};
use h2::client::{ResponseFuture, SendRequest};
use hyper::Request;
use hyper::body::Bytes;
use std::future::Future;
use std::time::Instant;
use tokio::net::TcpStream;

/// A connection to a server.
pub(super) struct Client(SendRequest<Bytes>);

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(server: &Server) -> Client {
        let stream = TcpStream::connect(server.address).await.expect("it listens");
        let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        // It ends with the client.
        tokio::spawn(connection);
        Client(client)
    }

    /// Sends a request, and answers what its response comes by.
    pub(super) async fn send(&mut self, path: &str, body: &[u8]) -> ResponseFuture {
        let (response, mut stream) = self.begin(path).await;
        stream.send_data(Bytes::copy_from_slice(body), true).expect("it takes a body");
        response
    }

    /// Sends the head of a request, whose body is to follow.
    async fn begin(&mut self, path: &str) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::post(format!("http://test{path}")).body(()).expect("a request");
        let client = self.0.clone().ready().await.expect("it takes requests");
        self.0 = client;
        self.0.send_request(request, false).expect("it takes requests")
    }
}

/// All of a response.
pub(super) async fn whole(response: ResponseFuture) -> Reply {
    let (head, mut stream) = response.await.expect("a response").into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.expect("a whole response");
        stream.flow_control().release_capacity(piece.len()).expect("it was taken");
        body.extend_from_slice(&piece);
    }
    Reply { status: head.status.as_u16(), body }
}

/// Runs a test's client.
pub(super) fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = async { tokio::time::timeout(PATIENCE, client).await.expect("it comes to an end") };
    runtime.block_on(client)
}

#[test]
fn requests_of_one_connection_are_answered_at_once_each_from_a_clean_machine() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    run(async {
        let mut client = Client::connect(&server).await;
        // The guest counts its answers, and fails the second. Some bodies are longer than what is taken in
        // before the call.
        let body = |number: usize| format!("request {number} ").repeat(1 + number % 4 * 10_000).into_bytes();
        let mut replies = Vec::new();
        for number in 0..60 {
            let path = if number % 10 == 7 { "/panic" } else { "/" };
            // All are taken in at once: what is not taken of one holds up the others of its connection.
            let reply = tokio::spawn(whole(client.send(path, &body(number)).await));
            replies.push((number, path, reply));
        }
        for (number, path, reply) in replies {
            let reply = reply.await.expect("a whole response");
            if path == "/" {
                assert!(reply.status == 200 && reply.body == body(number), "{number}: {}", reply.status);
            } else {
                assert_eq!((reply.status, &reply.body[..]), (502, &b"the function failed\n"[..]));
            }
        }
    });
}

#[test]
fn a_guest_sees_a_request_of_http2_in_the_form_of_http1() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    let reply = run(async { whole(Client::connect(&server).await.send("/head?a=b", b"abc").await).await });
    let text = String::from_utf8(reply.body).expect("text");
    assert!(text.starts_with("POST /head Some(\"a=b\")\nhost: test\n"), "{text}");
}

#[test]
fn a_stream_that_is_reset_ends_its_call_and_no_other() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    run(async {
        let mut client = Client::connect(&server).await;
        let other = client.send("/sleep?500", b"").await;
        let reset = client.send("/sleep?600000", b"").await;
        let begin = Instant::now();
        let is_called = |count| server.metric("coracle_calls{function=\"/\"}") == Some(count);
        while !is_called(2.0) {
            assert!(begin.elapsed() < PATIENCE, "they are never called");
            tokio::task::yield_now().await;
        }
        drop(reset);
        let reply = whole(other).await;
        assert_eq!((reply.status, &reply.body[..]), (200, &b"slept"[..]));
        while !is_called(0.0) {
            assert!(begin.elapsed() < PATIENCE, "it goes on");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_body_that_comes_too_slowly_is_a_408_and_holds_up_no_other_stream() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let server = Server::start(&["--receive", "1s", "--instances", "1", &program]);
    run(async {
        let mut client = Client::connect(&server).await;
        let (slow, mut stream) = client.begin("/").await;
        stream.send_data(Bytes::from_static(b"a"), false).expect("it takes a body");
        for number in 0..50 {
            let body = format!("request {number}");
            let reply = whole(client.send("/", body.as_bytes()).await).await;
            assert_eq!((reply.status, &reply.body[..]), (200, body.as_bytes()));
        }
        assert_eq!(whole(slow).await.status, 408);
    });
}

#[test]
fn sigterm_lets_streams_end() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    run(async {
        let mut client = Client::connect(&server).await;
        let response = client.send("/sleep?300", b"").await;
        while server.metric("coracle_calls{function=\"/\"}") != Some(1.0) {
            tokio::task::yield_now().await;
        }
        server.signal(libc::SIGTERM);
        assert_eq!(whole(response).await.body, b"slept");
    });
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_client_that_takes_nothing_in_is_cut_off_though_its_kernel_does() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let server = Server::start(&["--receive", "500ms", &program]);
    run(async {
        let mut client = Client::connect(&server).await;
        // More than a client of HTTP/2 is sent before it says that it has taken something.
        let _untaken = client.send("/", &vec![b'a'; 200_000]).await;
        let begin = Instant::now();
        while server.metric("coracle_connections") != Some(1.0) {
            assert!(begin.elapsed() < PATIENCE, "its connection stays");
            tokio::task::yield_now().await;
        }
    });
}
