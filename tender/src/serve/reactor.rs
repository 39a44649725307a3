//! The threads that serve connections. Each has a runtime of its own: a connection stays on its thread, and a
//! call that is short is made there.

use super::connection;
use super::start::Server;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

/// A connection that was accepted, and its place among all.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// How many tasks run one after the other before answers go out and it is seen what has come in. An answer
/// waits for the calls of so many others at most.
const TASKS_AT_A_TIME: u32 = 16;

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
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().event_interval(TASKS_AT_A_TIME).build()?;
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
    let builder = Arc::new(connection::builder(&server));
    let (end, ending) = watch::channel(());
    while let Some((stream, address, place)) = connections.recv().await {
        let gone = Gone { count: Arc::clone(&count), _place: place };
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        let Ok(stream) = stream else { continue };
        let (server, builder, ending) = (Arc::clone(&server), Arc::clone(&builder), ending.clone());
        tokio::spawn(async move {
            connection::serve(server, &builder, stream, address, ending).await;
            drop(gone);
        });
    }
    drop(ending);
    // Told once, each connection ends after its last request; when all have, nobody listens any more.
    end.send_replace(());
    tokio::time::timeout(drain, end.closed()).await.is_ok()
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
