//! Answers requests, each path in another way.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use coracle::http::{Body, Error, Request, Response};
use coracle::io::Read;

#[coracle::http]
fn answer(mut request: Request) -> Result<Response, Error> {
    match request.path() {
        "/echo" => Ok(Response::new(request.into_body())),
        "/pieces" => Ok(Response::new(Body::stream(request.into_body().map(|piece| piece.map(shout))))),
        "/text" => {
            Response::builder().header("X-Kind", "text").body(request.into_body().text()?.to_uppercase())
        }
        "/count" => {
            let known = request.body_mut().length();
            Ok(Response::new(format!("{known:?} {:?}", count(request.into_body())?)))
        }
        "/head" => Ok(Response::new(head(&request))),
        "/generate" => {
            let pieces = request.query().and_then(|count| count.parse().ok()).unwrap_or(0);
            Ok(Response::new(Body::stream((0..pieces).map(move |number| piece(number, pieces)))))
        }
        "/status" => Response::builder().status(99).body(""),
        "/name" => Response::builder().header("not a name", "").body(""),
        "/value" => Response::builder().header("X-Name", "two\r\nlines").body(""),
        _ => Response::builder().status(404).header("Content-Type", "text/plain").body("not here\n"),
    }
}

fn shout(mut piece: Vec<u8>) -> Vec<u8> {
    piece.make_ascii_uppercase();
    piece
}

/// The length of a body and a number that depends on each of its bytes.
fn count(mut body: Body) -> Result<(u64, u64), Error> {
    let (mut length, mut sum, mut buffer) = (0, 0_u64, vec![0; 10_000]);
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok((length, sum)),
            more => {
                length += more as u64;
                sum = buffer[..more]
                    .iter()
                    .fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            }
        }
    }
}

fn head(request: &Request) -> String {
    let mut text = format!("{} {} {:?}\n", request.method(), request.path(), request.query());
    for (name, value) in request.headers().iter() {
        text.push_str(&format!("{name} = {}\n", value.len()));
    }
    text + &format!("{:?} {:?}\n", request.headers().text("ACCEPT"), request.headers().get("none"))
}

/// A piece of 100,000 bytes. The one after the thirteenth fails, if there are to be so many.
fn piece(number: u32, pieces: u32) -> Result<Vec<u8>, String> {
    if pieces == 13 && number == 12 {
        return Err("out of pieces".to_string());
    }
    Ok(vec![b'a' + (number % 26) as u8; 100_000])
}
