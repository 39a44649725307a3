//! From the settings to a server that runs, and to its end.

use super::admission::Clients;
use super::config::{ConfigError, Settings};
use super::fresh;
use super::function::{Function, FunctionError, Making};
use super::held::Held;
use super::log::Log;
use super::metrics::Metrics;
use super::options::Options;
use super::reactor::Reactor;
use crate::confine::{ConfineError, Duty, Kept};
use crate::machine::{Host, HostError};
use crate::pool::{MOST_UNWANTED, cpus};
use crate::runnable::Runnable;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing runs guests here.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The process could not be confined.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A function cannot be served.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}{}", advice(cause))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        cause: io::Error,
    },
    /// A thread, a runtime or a signal's handler.
    #[error("cannot start the server: {0}")]
    Start(#[from] io::Error),
    /// Too few descriptors.
    #[error(
        "up to {instances} instances, those that are being given back included, and some connections need \
         {needed} descriptors, and there may be {limit}: raise `ulimit -n`, or lower --instances"
    )]
    Descriptors {
        /// All functions' instances.
        instances: u64,
        /// What they need, with some for connections.
        needed: u64,
        /// What there is.
        limit: u64,
    },
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => ": choose another with --listen, or end who has it",
        io::ErrorKind::PermissionDenied => ": choose a port from 1024 on with --listen",
        io::ErrorKind::AddrNotAvailable => ": --listen takes an address of this machine, or 0.0.0.0",
        _ => "",
    }
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) functions: Vec<Arc<Function>>,
    pub(super) log: Log,
    pub(super) metrics: Metrics,
    pub(super) clients: Option<Arc<Clients>>,
    pub(super) receive: Duration,
    /// Places for connections, and how many there were at the start.
    places: (Arc<Semaphore>, usize),
    pub(super) held: Arc<Held>,
}

impl Server {
    pub(super) fn metrics_text(&self) -> String {
        let connections = self.places.1 - self.places.0.available_permits();
        self.metrics.text(&self.functions, self.log.dropped(), connections)
    }
}

/// Descriptors for all but instances and connections.
const OTHERS: u64 = 100;
/// Descriptors for connections that there must be at least.
const LEAST: u64 = 64;
/// Connections where nothing else is said.
const USUAL: u64 = 10_000;

/// Serves until SIGTERM or SIGINT, and then until all requests are answered. Answers the process's exit
/// status: 0, or 1 when the time for that was up.
///
/// # Errors
/// See [`ServeError`].
pub fn run(options: Options) -> Result<u8, ServeError> {
    let settings = Settings::new(options)?;
    let limit = raise_limit();
    // Addresses first: that one is taken is found out sooner than a program boots, and a confined process takes none.
    let listeners = settings.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
    let host = Arc::new(settings.backend.open(|words| {
        if !settings.quiet {
            say(words)
        }
    })?);
    let programs = confine(&settings, &host, &listeners)?;
    let log = Log::start(settings.log)?;
    let served = serve(settings, &host, limit, listeners, programs, &log);
    log.flush();
    served
}

/// Confines this process, which has one thread yet, to the files of its functions, which are answered open.
fn confine(settings: &Settings, host: &Host, listeners: &[TcpListener]) -> Result<Vec<Runnable>, ServeError> {
    let (confinement, functions) = (settings.confinement, &settings.functions);
    confinement.prepare()?;
    let files = functions.iter().map(|function| function.program.as_path()).chain(host.reads());
    confinement.files(files, None, say)?;
    let programs = functions.iter().map(|function| Runnable::open(&function.program));
    let programs = programs.collect::<Result<Vec<_>, _>>().map_err(FunctionError::from)?;
    let files = programs.iter().map(|program| program.file().as_fd());
    let kept: Vec<_> = files.chain(listeners.iter().map(AsFd::as_fd)).collect();
    confinement.started_with(host, &kept, Kept::Nothing)?;
    Ok(programs)
}

/// Says something before there is a log. Where nobody reads, nobody misses it.
fn say(words: &str) {
    let _ = io::stderr().write_all(words.as_bytes());
}

fn serve(
    settings: Settings,
    host: &Arc<Host>,
    limit: u64,
    listeners: Vec<TcpListener>,
    programs: Vec<Runnable>,
    log: &Log,
) -> Result<u8, ServeError> {
    let confinement = settings.confinement;
    let connections = connections(&settings, limit, host.descriptors_per_instance())?;
    confinement.calls(Duty::Serve, host)?;
    let metrics = Metrics::new();
    let threads = settings.threads.map_or_else(cpus, usize::from);
    let fresh = settings.fresh_layout.is_some();
    let functions = settings.functions.into_iter().zip(programs).map(|(function, program)| {
        let ready = threads.min(function.instances as usize);
        let making = Making { fresh, ready, confined: confinement.is_wanted() };
        Function::open(host, function, program, making, log, &metrics).map(Arc::new)
    });
    let functions = functions.collect::<Result<Vec<_>, _>>()?;
    if let Some(period) = settings.fresh_layout {
        fresh::start(&functions, period)?;
    }
    let server = Arc::new(Server {
        functions,
        log: log.clone(),
        metrics,
        clients: settings.per_client.map(Clients::new),
        receive: settings.receive,
        places: (Arc::new(Semaphore::new(connections)), connections),
        held: Arc::default(),
    });
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let reactors = (0..threads).map(|_| Reactor::start(&server, settings.drain));
    let reactors = reactors.collect::<io::Result<Vec<_>>>()?;
    let ended = runtime.block_on(until_end(&server, listeners, reactors))?;
    match ended {
        Ended::Answered => {}
        Ended::CutOff => {
            let drain = settings.drain;
            log.server(format_args!("requests were still going on after {drain:?} (--drain): cut off"));
        }
        Ended::Hurried => log.server("a second signal: requests that were still going on are cut off"),
    }
    Ok(u8::from(ended != Ended::Answered))
}

/// How many connections there may be with so many descriptors, of which an instance takes some.
fn connections(settings: &Settings, limit: u64, of_instance: u64) -> Result<usize, ServeError> {
    // Beyond those that work there are some that are being given back.
    let of_one = |instances: u32| u64::from(instances) + MOST_UNWANTED as u64;
    let instances: u64 = settings.functions.iter().map(|function| of_one(function.instances)).sum();
    // With --fresh-layout, old instances may still answer when there are new ones.
    let copies = if settings.fresh_layout.is_some() { 2 } else { 1 };
    let taken = copies * of_instance * instances + OTHERS;
    if taken + LEAST > limit {
        return Err(ServeError::Descriptors { instances, needed: taken + LEAST, limit });
    }
    let most = limit - taken;
    let wanted = settings.connections.map_or(USUAL, u64::from);
    Ok(wanted.min(most) as usize)
}

/// Raises the limit on descriptors as far as that is allowed, and answers it.
fn raise_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a local; both calls only read or fill it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
                limit = raised;
            }
        }
    }
    limit.rlim_cur
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|cause| ServeError::Listen { address, cause })
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All requests were answered.
    Answered,
    /// Their time was up.
    CutOff,
    /// Somebody did not want to wait.
    Hurried,
}

/// A signal that comes so soon after the first is the same wish: `timeout` signals a process and then its group.
const SAME_WISH: Duration = Duration::from_millis(250);

/// Accepts connections until a signal, then lets the reactors end.
async fn until_end(
    server: &Arc<Server>,
    listeners: Vec<TcpListener>,
    reactors: Vec<Reactor>,
) -> io::Result<Ended> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let reactors = Arc::new(reactors);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        server.log.server(format_args!("listening on http://{}", listener.local_addr()?));
        accepting.spawn(accept(listener, Arc::clone(server), Arc::clone(&reactors)));
    }
    for function in &server.functions {
        server.log.server(format_args!("{} is {}", function.name, function.settings.program.display()));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.log.server("no new connections; ends when all requests are answered");
    accepting.shutdown().await;
    let mut ending = JoinSet::new();
    for reactor in Arc::into_inner(reactors).into_iter().flatten() {
        ending.spawn(reactor.end());
    }
    let mut ending = pin!(ending.join_all());
    let wish = Instant::now();
    loop {
        // Who asks twice does not want to wait.
        tokio::select! {
            biased;
            ended = ending.as_mut() => {
                return Ok(if ended.into_iter().all(|all| all) { Ended::Answered } else { Ended::CutOff });
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if wish.elapsed() > SAME_WISH {
            return Ok(Ended::Hurried);
        }
    }
}

/// Accepts connections, each for the thread that has the fewest. A task that is told to end leaves none behind
/// that had been made before: see [`Accepting`].
async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>, reactors: Arc<Vec<Reactor>>) {
    let accepting = Accepting { listener, server, reactors };
    loop {
        match accepting.listener.accept().await {
            Ok((stream, address)) => {
                // One more than there may be waits here, the others with the kernel.
                let Ok(place) = Arc::clone(&accepting.server.places.0).acquire_owned().await else { return };
                accepting.give(stream.into_std(), address, place);
            }
            Err(error) => {
                // Mostly that there are no descriptors, which passes.
                accepting.server.log.server(format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Accepting {
    listener: tokio::net::TcpListener,
    server: Arc<Server>,
    reactors: Arc<Vec<Reactor>>,
}

impl Accepting {
    fn give(&self, stream: io::Result<TcpStream>, address: SocketAddr, place: OwnedSemaphorePermit) {
        let fewest = self.reactors.iter().min_by_key(|reactor| reactor.count());
        if let (Some(reactor), Ok(stream)) = (fewest, stream) {
            reactor.give((stream, address, place));
        }
    }
}

impl Drop for Accepting {
    /// Connections that the kernel has made, and whose requests may be under way, are served.
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Ok(place) = Arc::clone(&self.server.places.0).try_acquire_owned()
            && let Poll::Ready(Ok((stream, address))) = self.listener.poll_accept(&mut context)
        {
            self.give(stream.into_std(), address, place);
        }
    }
}
