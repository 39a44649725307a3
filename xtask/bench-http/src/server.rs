//! The servers.

use crate::Result;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What is done for a request.
pub(crate) enum Work {
    Nothing,
    /// Computing, for so many nanoseconds.
    Spin(u64),
    /// A process that passes its input on.
    Spawn(PathBuf),
}

/// Serves until standard input ends.
pub(crate) fn run(work: Work) -> Result<()> {
    let work = Arc::new(work);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let reactors = (0..cpus).map(|_| reactor(&work)).collect::<Result<Vec<_>>>()?;
    std::thread::spawn(move || {
        for (stream, reactor) in listener.incoming().flatten().zip(reactors.iter().cycle()) {
            // One that has ended has no use for connections.
            let _ = reactor.send(stream);
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn reactor(work: &Arc<Work>) -> Result<mpsc::UnboundedSender<TcpStream>> {
    let (sender, mut streams) = mpsc::unbounded_channel::<TcpStream>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = Arc::clone(work);
    std::thread::spawn(move || {
        runtime.block_on(async {
            while let Some(stream) = streams.recv().await {
                let ready = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
                let Ok(stream) = ready.and_then(|()| tokio::net::TcpStream::from_std(stream)) else {
                    continue;
                };
                let work = Arc::clone(&work);
                let service = service_fn(move |request| answer(Arc::clone(&work), request));
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    Ok(sender)
}

async fn answer(work: Arc<Work>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let body = match &*work {
        Work::Nothing => body,
        Work::Spin(time) => {
            let (start, time) = (Instant::now(), Duration::from_nanos(*time));
            while start.elapsed() < time {
                std::hint::spin_loop();
            }
            body
        }
        Work::Spawn(_) => {
            tokio::task::spawn_blocking(move || match &*work {
                Work::Spawn(program) => pass(program, &body),
                _ => Ok(body),
            })
            .await??
        }
    };
    Ok(Response::new(Full::new(body)))
}

/// Has a process pass the body on.
fn pass(program: &Path, body: &[u8]) -> Result<Bytes> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(body)?;
    let mut output = Vec::new();
    child.stdout.take().ok_or("no pipe")?.read_to_end(&mut output)?;
    child.wait()?;
    Ok(output.into())
}
