//! The threads that serve connections. Each has a runtime of its own: a connection stays on its thread, and a
//! call that is short is made there.

use super::handle::handle;
use super::start::Server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// A connection that was accepted, and its place among all.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// A thread that serves connections.
pub(super) struct Reactor {
    connections: mpsc::UnboundedSender<Accepted>,
    count: Arc<AtomicUsize>,
    /// Says whether all its requests were answered.
    ended: oneshot::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl Reactor {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no thread or no runtime to be had.
    pub(super) fn start(server: &Arc<Server>, drain: Duration) -> io::Result<Reactor> {
        let (connections, receiver) = mpsc::unbounded_channel();
        let (sender, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let count = Arc::new(AtomicUsize::new(0));
        let (server, theirs) = (Arc::clone(server), Arc::clone(&count));
        let run = move || {
            let all = runtime.block_on(serve(server, receiver, theirs, drain));
            runtime.shutdown_background();
            let _ = sender.send(all);
        };
        let thread = thread::Builder::new().name("coracle-reactor".to_owned()).spawn(run)?;
        Ok(Reactor { connections, count, ended, thread })
    }

    /// How many connections it has.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Gives it one more.
    pub(super) fn give(&self, accepted: Accepted) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // One that has ended has been told to.
        let _ = self.connections.send(accepted);
    }

    /// Lets it answer the requests that it has, and waits for that. Says whether all were answered.
    pub(super) async fn end(self) -> bool {
        drop(self.connections);
        let all = self.ended.await.unwrap_or(false);
        let _ = self.thread.join();
        all
    }
}

async fn serve(
    server: Arc<Server>,
    mut connections: mpsc::UnboundedReceiver<Accepted>,
    count: Arc<AtomicUsize>,
    drain: Duration,
) -> bool {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(server.receive).pipeline_flush(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    let graceful = GracefulShutdown::new();
    while let Some((stream, address, place)) = connections.recv().await {
        let gone = Gone { count: Arc::clone(&count), _place: place };
        // Without these the connection is slower, and serves all the same.
        let _ = stream.set_nodelay(true);
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        let Ok(stream) = stream else { continue };
        let server = Arc::clone(&server);
        let service = service_fn(move |request| handle(Arc::clone(&server), address.ip(), request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What went wrong with a connection, its client knows; with a request, the log.
            let _ = connection.await;
            drop(gone);
        });
    }
    tokio::time::timeout(drain, graceful.shutdown()).await.is_ok()
}

/// Counts a connection out.
struct Gone {
    count: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
