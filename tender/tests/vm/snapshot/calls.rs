//! Snapshots of test guests, and calls of instances of them.

use crate::support::guest;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use coracle_tender::calls::{Abort, Caller, Requests};
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::Host;
use coracle_tender::snapshot::Snapshot;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than anything that a test waits for takes, on however slow a machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The memory of the instances, unless a test needs another.
pub(super) const MEMORY: u64 = 32 << 20;

/// What runs machines.
pub(super) fn host() -> Arc<Host> {
    Arc::new(crate::support::host())
}

/// Takes a snapshot of a test guest that has so much memory.
pub(super) fn take(host: &Arc<Host>, name: &str, memory: u64) -> Arc<Snapshot> {
    take_with(host, &[name], memory)
}

/// The same of one that has arguments.
pub(super) fn take_with(host: &Arc<Host>, arguments: &[&str], memory: u64) -> Arc<Snapshot> {
    let image = Arc::new(Image::open(&guest(arguments[0])).expect("a good image"));
    let arguments = arguments.iter().map(OsString::from).collect();
    let config = Config { memory, arguments, ..Config::default() };
    let taken = Snapshot::take(host, &image, &config, PATIENCE);
    Arc::new(taken.expect("the guest becomes ready").0)
}

/// A snapshot of the guest that obeys [`Orders`].
pub(super) fn traces() -> Arc<Snapshot> {
    take(&host(), "traces", MEMORY)
}

/// The same of one whose invocation and input lie in its block, from [`INVOCATION_IN_BLOCK`] on, a page each.
pub(super) fn traces_with_input_in_heap() -> Arc<Snapshot> {
    take_with(&host(), &["traces", "heap"], MEMORY)
}

/// An instance of a snapshot.
pub(super) fn resume(snapshot: &Arc<Snapshot>) -> Instance {
    Instance::resume(snapshot).expect("an instance of the snapshot")
}

/// What one call has led to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) end: End,
    pub(super) output: Vec<u8>,
    /// What was written to the log and to standard error.
    pub(super) said: Vec<u8>,
}

impl Answer {
    /// The output of a call that has responded.
    #[track_caller]
    pub(super) fn bytes(self) -> Vec<u8> {
        assert!(matches!(self.end, End::Responded), "{:?}", self.end);
        self.output
    }

    /// The same in words.
    #[track_caller]
    pub(super) fn words(self) -> Vec<u64> {
        self.bytes().as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

/// One whose input is known from the start.
struct Known {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    said: Vec<u8>,
}

impl Caller for Known {
    fn total(&self) -> Option<u64> {
        Some(self.input.len() as u64)
    }

    fn input(&mut self, _: Option<Instant>) -> Result<&[u8], Abort> {
        Ok(&self.input[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }

    fn room(&mut self, _: usize) -> Result<&mut Vec<u8>, Abort> {
        Ok(&mut self.output)
    }

    fn appended(&mut self, _: Option<Instant>) -> Result<(), Abort> {
        Ok(())
    }

    fn diagnostics(&mut self, text: &[u8]) {
        self.said.extend(text);
    }

    fn function(&mut self, name: &str, _: &[u8], _: Option<Instant>) -> Option<Result<Vec<u8>, String>> {
        (name == "reply").then(|| Ok(vec![7; 100]))
    }
}

/// Runs an instance once.
pub(super) fn call(instance: &mut Instance, input: &[u8]) -> Answer {
    call_until(instance, input, Instant::now() + PATIENCE, None)
}

/// The same until a moment, and with requests that others may make.
pub(super) fn call_until(
    instance: &mut Instance,
    input: &[u8],
    deadline: Instant,
    requests: Option<&Arc<Requests>>,
) -> Answer {
    let mut caller = Known { input: input.to_vec(), taken: 0, output: Vec::new(), said: Vec::new() };
    let mut logged = Vec::new();
    let end = instance.call(
        &mut caller,
        &mut |entry| logged.extend_from_slice(format!("{entry:?}").as_bytes()),
        Some(deadline),
        requests,
    );
    let said = [caller.said, logged].concat();
    Answer { end, output: caller.output, said }
}

/// How a guest ends that has filled its registers.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Responds,
    ComputesForEver,
    Faults,
    Exits,
    CallsForEver,
    ReadsPort,
}

/// What the guest `traces` is to do, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders(Vec<u64>);

/// No rights, those to read, and those to read and write.
pub(super) const NONE: u64 = 0;
pub(super) const READ: u64 = 1;
pub(super) const READ_WRITE: u64 = 3;

impl Orders {
    pub(super) fn new() -> Orders {
        Orders::default()
    }

    fn and(mut self, words: &[u64]) -> Orders {
        self.0.extend(words);
        self
    }

    /// Writes a value all over a range.
    pub(super) fn fill(self, address: u64, length: u64, value: u64) -> Orders {
        self.and(&[1, address, length, value])
    }

    /// Gives pages other rights: answers whether it could not.
    pub(super) fn rights(self, address: u64, length: u64, rights: u64) -> Orders {
        self.and(&[2, address, length, rights])
    }

    /// Fills all registers with a value, and ends.
    pub(super) fn registers(self, value: u64, how: How) -> Orders {
        self.and(&[3, !value, how as u64])
    }

    /// Looks for a value: answers how often it is there, and where first.
    pub(super) fn search(self, value: u64, address: u64, length: u64) -> Orders {
        self.and(&[4, !value, address, length])
    }

    /// Shows the registers that the guest began with.
    pub(super) fn found(self) -> Orders {
        self.and(&[5])
    }

    /// Says what a value becomes as text, to the log, as output, to standard error.
    pub(super) fn say(self, value: u64) -> Orders {
        self.and(&[6, !value])
    }

    /// Subscribes to interrupts: answers what there is.
    pub(super) fn subscribe(self) -> Orders {
        self.and(&[7])
    }

    /// Reads a word.
    pub(super) fn read(self, address: u64) -> Orders {
        self.and(&[8, address])
    }

    /// Calls the host's function: answers how long its reply is.
    pub(super) fn ask_host(self) -> Orders {
        self.and(&[9])
    }

    /// Answers how much there is of a reply of the host.
    pub(super) fn reply(self) -> Orders {
        self.and(&[10])
    }

    /// Reads more input: answers how much.
    pub(super) fn more_input(self) -> Orders {
        self.and(&[11])
    }

    /// Makes a page code and runs it.
    pub(super) fn code(self, address: u64) -> Orders {
        self.and(&[12, address])
    }

    /// Has the clock page written: answers how often that was done.
    pub(super) fn clock(self) -> Orders {
        self.and(&[13])
    }

    /// Answers where things are: see [`Where`].
    pub(super) fn places(self) -> Orders {
        self.and(&[14])
    }

    pub(super) fn panic(self) -> Orders {
        self.and(&[15])
    }

    pub(super) fn exit(self, status: u8) -> Orders {
        self.and(&[16, status.into()])
    }

    pub(super) fn fail(self) -> Orders {
        self.and(&[17])
    }

    /// Says that it is ready once more: answers whether it could not.
    pub(super) fn ready(self) -> Orders {
        self.and(&[18])
    }

    /// Hands over a range as output: answers how much, or why not.
    pub(super) fn output(self, address: u64, length: u64) -> Orders {
        self.and(&[19, address, length])
    }

    /// Copies what the invocation brought, and no other has, all over a range: answers its words.
    pub(super) fn invocation(self, address: u64, length: u64) -> Orders {
        self.and(&[20, address, length])
    }

    /// As input, which ends with the order to respond.
    pub(super) fn bytes(&self) -> Vec<u8> {
        assert!(self.0.len() < 512, "more orders than the guest has room for");
        self.0.iter().chain(&[0]).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Has an instance obey.
    pub(super) fn call(&self, instance: &mut Instance) -> Answer {
        call(instance, &self.bytes())
    }

    /// Has an instance obey, and cleans it.
    #[track_caller]
    pub(super) fn call_and_reset(&self, instance: &mut Instance) -> Answer {
        let answer = self.call(instance);
        instance.reset().expect("the instance can be used again");
        answer
    }
}

/// Where things are in the guest `traces`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Where {
    /// A block of the heap, [`BLOCK`] bytes, the second page of which can only be read.
    pub(super) block: u64,
    /// Static memory that is zero, and some that is not.
    pub(super) zeros: u64,
    pub(super) constants: u64,
    /// The end of thread-local variables.
    pub(super) thread: u64,
}

/// The length of the block: beyond its first 4 MiB it is zero, beyond its first 2 MiB in large pages.
pub(super) const BLOCK: u64 = 12 << 20;

/// See [`traces_with_input_in_heap`]: in a large page that has no table when the guest is ready.
pub(super) const INVOCATION_IN_BLOCK: u64 = 4 * LARGE_PAGE + PAGE;

/// Asks an instance that is clean, and cleans it.
pub(super) fn places(instance: &mut Instance) -> Where {
    let words = Orders::new().places().call_and_reset(instance).words();
    let [block, zeros, constants, thread] = words[..] else { panic!("{words:?}") };
    Where { block, zeros, constants, thread }
}
