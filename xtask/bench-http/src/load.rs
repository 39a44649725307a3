//! The load: connections that are kept, each of which asks as soon as it was answered.

use crate::Result;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;

/// What is asked: 64 bytes, to be given back.
const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 64\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Answers per second over so many seconds, of a server at this port of the loopback device.
pub(crate) fn run(port: u16, seconds: f64) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The server gets some time to become as fast as it can be.
        all(port, 0.2).await?;
        all(port, seconds).await
    })
}

async fn all(port: u16, seconds: f64) -> Result<f64> {
    let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds));
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(ask(port, start + time))).collect();
    let mut answers = 0;
    for connection in connections {
        answers += connection.await??;
    }
    Ok(f64::from(answers) / start.elapsed().as_secs_f64())
}

/// Asks until the end; how often it was answered.
async fn ask(port: u16, end: Instant) -> Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1024);
    let mut answers = 0;
    while Instant::now() < end {
        stream.write_all(REQUEST).await?;
        buffer.clear();
        while !is_whole(&buffer)? {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("the server has hung up".into());
            }
        }
        answers += 1;
    }
    Ok(answers)
}

/// Whether a response is there to its end, which is that of the request's body.
fn is_whole(response: &[u8]) -> Result<bool> {
    let Some(head) = response.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    if !response.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(response).into());
    }
    Ok(response.len() - head - 4 >= 64)
}
