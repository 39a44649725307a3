//! One connection: from its first byte to its end, which is also that of whoever says nothing on it.

use super::handle::handle;
use super::start::Server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Streams that one connection of HTTP/2 has at most.
const STREAMS: u32 = 100;

/// How connections of a server are served.
pub(super) fn builder(server: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(server.receive);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    builder
}

/// Serves a connection until either side ends it, or nothing was asked on it for as long as a client may take.
/// When `ending` changes, requests that are under way are the last ones.
pub(super) async fn serve(
    server: Arc<Server>,
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    address: SocketAddr,
    mut ending: watch::Receiver<()>,
) {
    let patience = server.receive;
    // Without these the connection is slower, or waits longer for a client that reads nothing.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
    let activity = Arc::new(Activity::new());
    let theirs = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let busy = theirs.begin();
        handle(Arc::clone(&server), address.ip(), busy, request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let mut connection = pin!(connection);
    let mut closing = false;
    loop {
        let look = activity.quiet_since().unwrap_or_else(Instant::now) + patience;
        tokio::select! {
            biased;
            // What went wrong with a connection, its client knows; with a request, the log.
            _ = connection.as_mut() => return,
            _ = ending.changed(), if !closing => {}
            () = sleep_until(look) => match activity.quiet_since() {
                Some(quiet) if quiet.elapsed() < patience => continue,
                None => continue,
                // It was told, and somebody on the other side keeps it open all the same.
                Some(_) if closing => return,
                Some(_) => activity.restart(),
            }
        }
        closing = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// How many requests of a connection are under way, and since when there has been none.
#[derive(Debug)]
pub(super) struct Activity {
    busy: AtomicU64,
    quiet: Mutex<Instant>,
}

impl Activity {
    fn new() -> Activity {
        Activity { busy: AtomicU64::new(0), quiet: Mutex::new(Instant::now()) }
    }

    fn begin(self: &Arc<Activity>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Since when no request has been under way, if none is.
    fn quiet_since(&self) -> Option<Instant> {
        let quiet = *self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        (self.busy.load(Ordering::Relaxed) == 0).then_some(quiet)
    }

    fn restart(&self) {
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.restart();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;
    use std::sync::Arc;

    #[test]
    fn a_connection_is_quiet_while_no_request_is_under_way() {
        let activity = Arc::new(Activity::new());
        let begin = activity.quiet_since().expect("quiet");
        let (one, two) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(activity.quiet_since(), None);
        drop(two);
        assert!(activity.quiet_since().expect("quiet again") >= begin);
    }
}
