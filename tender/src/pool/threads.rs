//! How the pool's threads are started.

#[cfg(feature = "confine")]
use crate::machine::Backend;
use crate::machine::{Host, Undisturbed};
use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread;
#[cfg(feature = "confine")]
use std::{cell::Cell, sync::Arc};

/// How many threads are of use at once, asked once: the answer is in files, which a confined process may not open.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// The bytes of stack that a thread gets: crash reports take some.
const STACK: usize = 1 << 20;

/// Starts a thread that no signal of the process is handled on: those are for the threads of the program
/// that uses the library. It does nothing before it is confined.
pub(super) fn spawn(confined: &Confined, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A new thread has the mask of the one that starts it.
    let _mask = Undisturbed::but_for_kicks();
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    if !confined.is_anything() {
        return builder.spawn(run).map(drop);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (confined, inherited) = (confined.clone(), confined.has_this_thread());
    builder.spawn(move || {
        let begun = confined.begin(inherited);
        let may_run = begun.is_ok();
        // The one that starts it waits for this.
        let _ = sender.send(begun);
        if may_run {
            run();
        }
    })?;
    receiver.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// What the threads of a pool may do: all, or what their filter lets through.
#[derive(Debug, Clone)]
pub(super) struct Confined {
    #[cfg(feature = "confine")]
    filter: Option<Arc<(Backend, crate::confine::Filter)>>,
}

#[cfg(feature = "confine")]
thread_local! {
    /// By what filter this thread is confined, which those that it starts inherit.
    static FILTER: Cell<Option<Backend>> = const { Cell::new(None) };
}

#[cfg(feature = "confine")]
impl Confined {
    pub(super) fn new(confined: bool, host: &Host) -> Confined {
        use crate::confine::{Duty, Filter};
        let backend = host.backend();
        Confined { filter: confined.then(|| Arc::new((backend, Filter::new(Duty::Worker, backend)))) }
    }

    /// Whether this thread has the filter already.
    fn has_this_thread(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| FILTER.get() == Some(filter.0))
    }

    fn is_anything(&self) -> bool {
        self.filter.is_some()
    }

    /// Confines this thread, unless it has inherited the filter: each further one would make its system calls
    /// slower.
    fn begin(&self, inherited: bool) -> io::Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        if !inherited {
            filter.1.confine_thread().map_err(io::Error::other)?;
        }
        FILTER.set(Some(filter.0));
        Ok(())
    }
}

#[cfg(not(feature = "confine"))]
impl Confined {
    pub(super) fn new(_: bool, _: &Host) -> Confined {
        Confined {}
    }

    fn is_anything(&self) -> bool {
        false
    }

    fn has_this_thread(&self) -> bool {
        false
    }

    fn begin(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}
