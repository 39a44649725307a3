//! Calls in clean instances, through the tender's library: `bench-calls [--filled MIB] WHAT IMAGE …` prints a figure
//! in nanoseconds, or in bytes where it says so. Guests run by what `CORACLE_BACKEND` names.

use coracle_tender::calls::{Abort, Caller};
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::{Backend, Host};
use coracle_tender::pool::{Limits, Pool};
use coracle_tender::snapshot::Snapshot;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: bench-calls [--filled MIB] WHAT IMAGE …
  --filled MIB               the guest has filled so many MiB of its heap before it is ready
  call IMAGE PAGES COUNT     a call that dirties PAGES pages, median of COUNT
  async IMAGE PAGES COUNT    the same through the API that does not block
  after IMAGE PAGES          the same, ten calls after one that dirtied 1,000 pages
  new IMAGE PAGES COUNT      a new instance with its first call, median of COUNT
  idle IMAGE COUNT           bytes of memory that an instance takes which waits, of COUNT
  live IMAGE PAGES COUNT     a call while COUNT instances live, each called in turn
  more IMAGE PAGES COUNT     a new instance with its first call while COUNT instances live";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(figure) => {
            println!("{figure}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-calls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<f64> {
    let (filled, arguments) = match arguments {
        [option, filled, rest @ ..] if option == "--filled" => (filled.as_str(), rest),
        all => ("0", all),
    };
    let number = |at: usize| -> Result<usize> { Ok(arguments.get(at).ok_or(USAGE)?.parse()?) };
    let [what, image, ..] = arguments else { return Err(USAGE.into()) };
    let snapshot = snapshot(image.into(), filled)?;
    match what.as_str() {
        "call" => call(&snapshot, number(2)?, number(3)?),
        "async" => call_async(&snapshot, number(2)?, number(3)?),
        "after" => after(&snapshot, number(2)?),
        "new" => new(&snapshot, number(2)?, number(3)?, 0),
        "idle" => idle(&snapshot, number(2)?),
        "live" => live(&snapshot, number(2)?, number(3)?),
        "more" => new(&snapshot, number(2)?, 20, number(3)?),
        _ => Err(USAGE.into()),
    }
}

fn snapshot(path: PathBuf, filled: &str) -> Result<Arc<Snapshot>> {
    let host = Arc::new(Host::open(Backend::of_environment()?)?);
    coracle_tender::process::let_cpuid_trap();
    let image = Arc::new(Image::open(&path)?);
    let config = Config { arguments: vec![path.into(), filled.into()], ..Config::default() };
    let (snapshot, _) = Snapshot::take(&host, &image, &config, Duration::from_secs(60))?;
    Ok(Arc::new(snapshot))
}

/// The input, 64 bytes, of a call that dirties so many pages.
fn input(pages: usize) -> [u8; 64] {
    let mut input = [0; 64];
    input[..4].copy_from_slice(&(pages as u32).to_le_bytes());
    input
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The median of what `count` calls take, each timed.
fn timed(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_nanos() as f64);
    }
    Ok(median(times))
}

fn call(snapshot: &Arc<Snapshot>, pages: usize, count: usize) -> Result<f64> {
    let pool = Pool::builder(Arc::clone(snapshot)).max(1).build()?;
    let (input, mut output) = (input(pages), Vec::new());
    let mut once = || {
        output.clear();
        pool.call_into(&input, &mut output, Limits::new())?;
        Ok(())
    };
    timed(count / 10 + 1, &mut once)?;
    timed(count, once)
}

fn call_async(snapshot: &Arc<Snapshot>, pages: usize, count: usize) -> Result<f64> {
    let pool = Pool::builder(Arc::clone(snapshot)).max(1).build()?;
    let mut once = || {
        futures_executor::block_on(pool.call_async(input(pages), Limits::new()))?;
        Ok(())
    };
    timed(count / 10 + 1, &mut once)?;
    timed(count, once)
}

fn after(snapshot: &Arc<Snapshot>, pages: usize) -> Result<f64> {
    let pool = Pool::builder(Arc::clone(snapshot)).max(1).build()?;
    let mut output = Vec::new();
    let mut call = |pages| {
        output.clear();
        pool.call_into(&input(pages), &mut output, Limits::new())?;
        Ok(())
    };
    for _ in 0..20 {
        call(pages)?;
    }
    call(1000)?;
    for _ in 0..10 {
        call(pages)?;
    }
    timed(50, || call(pages))
}

fn new(snapshot: &Arc<Snapshot>, pages: usize, count: usize, live: usize) -> Result<f64> {
    let mut kept = instances(snapshot, live)?;
    let pool = Pool::builder(Arc::clone(snapshot)).max(1).build()?;
    // What all instances profit of is learnt from the first.
    pool.call(&input(pages), Limits::new())?;
    let mut once = || -> Result<f64> {
        let start = Instant::now();
        let mut instance = Instance::resume(snapshot)?;
        call_once(&mut instance, &input(pages))?;
        let took = start.elapsed();
        kept.push(instance);
        if kept.len() > live {
            kept.pop();
        }
        Ok(took.as_nanos() as f64)
    };
    once()?;
    let times = (0..count).map(|_| once()).collect::<Result<Vec<_>>>()?;
    Ok(median(times))
}

/// The caller of a call whose answer is not kept.
struct Unkept<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Caller for Unkept<'_> {
    fn total(&self) -> Option<u64> {
        Some(self.input.len() as u64)
    }

    fn input(&mut self, _: Option<Instant>) -> std::result::Result<&[u8], Abort> {
        Ok(self.input)
    }

    fn consume(&mut self, count: usize) {
        self.input = &self.input[count..];
    }

    fn room(&mut self, _: usize) -> std::result::Result<&mut Vec<u8>, Abort> {
        Ok(&mut self.output)
    }

    fn appended(&mut self, _: Option<Instant>) -> std::result::Result<(), Abort> {
        Ok(())
    }

    fn diagnostics(&mut self, _: &[u8]) {}

    fn function(
        &mut self,
        _: &str,
        _: &[u8],
        _: Option<Instant>,
    ) -> Option<std::result::Result<Vec<u8>, String>> {
        None
    }
}

fn call_once(instance: &mut Instance, input: &[u8]) -> Result<()> {
    let mut caller = Unkept { input, output: Vec::new() };
    match instance.call(&mut caller, &mut |_| {}, None, None) {
        End::Responded => Ok(()),
        end => Err(format!("the guest ended otherwise: {end:?}").into()),
    }
}

fn instances(snapshot: &Arc<Snapshot>, count: usize) -> Result<Vec<Instance>> {
    (0..count).map(|_| Ok(Instance::resume(snapshot)?)).collect()
}

/// Bytes that the kernel could still give out (proc(5), `/proc/meminfo`).
fn available() -> Result<f64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no MemAvailable")?.parse()?;
    Ok(kib * 1024.0)
}

/// What is available once that no longer changes: the kernel frees what ended processes had seconds later.
/// After a minute, what there is then.
fn settled() -> Result<f64> {
    let (mut first, mut alike) = (available()?, 0);
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(200));
        let now = available()?;
        alike = if (now - first).abs() < 1_048_576.0 { alike + 1 } else { 0 };
        match alike {
            0 => first = now,
            20 => break,
            _ => {}
        }
    }
    Ok(first)
}

fn idle(snapshot: &Arc<Snapshot>, count: usize) -> Result<f64> {
    let first = instances(snapshot, 8)?;
    let before = settled()?;
    let instances = instances(snapshot, count)?;
    let after = settled()?;
    drop((first, instances));
    Ok((before - after) / count as f64)
}

fn live(snapshot: &Arc<Snapshot>, pages: usize, count: usize) -> Result<f64> {
    let mut instances = instances(snapshot, count)?;
    // One is measured; the others live.
    let measured = instances.last_mut().ok_or("at least one instance")?;
    let mut once = || {
        call_once(measured, &input(pages))?;
        measured.reset()?;
        Ok(())
    };
    timed(100, &mut once)?;
    timed(1000, once)
}
