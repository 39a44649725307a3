//! Answers requests to a server, each path in another way.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use coracle::eprintln;
use coracle::http::{Body, Error, Request, Response};
use coracle::time::{Duration, sleep};
use core::sync::atomic::{AtomicU32, Ordering};

/// How many requests this machine has answered: one, in a machine that is clean.
static ANSWERED: AtomicU32 = AtomicU32::new(0);

#[coracle::http]
fn answer(request: Request) -> Result<Response, Error> {
    let answered = ANSWERED.fetch_add(1, Ordering::Relaxed) + 1;
    assert_eq!(answered, 1, "this machine has answered before");
    let number = request.query().and_then(|query| query.parse().ok()).unwrap_or(0);
    match request.path() {
        "/head" => Ok(Response::new(head(&request))),
        "/own" => Response::builder()
            .status(418)
            .header("Connection", "X-Hop")
            .header("X-Hop", "1")
            .header("X-End", "2")
            .body("own"),
        "/panic" => panic!("the secret of the guest"),
        "/fail" => Ok(Response::new(request.into_body().text()?.into_owned())),
        "/compute" => loop {
            core::hint::spin_loop();
        },
        "/sleep" => {
            sleep(Duration::from_millis(number));
            Ok(Response::new("slept"))
        }
        "/stderr" => {
            eprintln!("said by the guest");
            Ok(Response::new("said"))
        }
        // Two pieces. Between them it waits for the end of the request's body.
        "/pieces" => {
            let mut body = Some(request.into_body());
            let second = core::iter::once_with(move || match body.take() {
                Some(body) => body.map(|piece| piece.map(|piece| piece.len())).sum::<Result<usize, Error>>(),
                None => Ok(0),
            });
            let second = second.map(|length| length.map(|length| format!("second {length}").into_bytes()));
            let first = core::iter::once(Ok(Vec::from(*b"first ")));
            Ok(Response::new(Body::stream(first.chain(second))))
        }
        // A piece, and then a failure.
        "/half" => {
            let pieces = [Ok(Vec::from(*b"half")), Err("the secret of the guest")];
            Ok(Response::new(Body::stream(pieces)))
        }
        _ => Ok(Response::new(request.into_body())),
    }
}

fn head(request: &Request) -> String {
    let mut text = format!("{} {} {:?}\n", request.method(), request.path(), request.query());
    for (name, value) in request.headers().iter() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
    }
    text
}
