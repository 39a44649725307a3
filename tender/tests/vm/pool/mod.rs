//! Calls in clean instances, through the library.

mod answers;
mod cancelling;
mod embedding;
mod errors;
mod fork;
mod functions;
mod limits;
mod nesting;
mod room;
mod shrinking;
mod signals;
mod soak;
mod streams;
mod thousand;
mod turns;

use crate::support::guest;
use coracle_tender::image::Image;
use coracle_tender::instance::Config;
use coracle_tender::pool::{Builder, Limits, Output, Pool};
use coracle_tender::snapshot::Snapshot;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// No limits but those of the pool.
const NONE: Limits = Limits::new();

/// Longer than anything takes that is to end.
const LONG: Duration = Duration::from_secs(60);

/// A guest as it was when it was ready.
fn snapshot(image: &Path, arguments: &[&str]) -> Arc<Snapshot> {
    snapshot_with(image, arguments, Config::default().memory)
}

/// The same of one that has so much memory.
fn snapshot_with(image: &Path, arguments: &[&str], memory: u64) -> Arc<Snapshot> {
    let host = Arc::new(crate::support::host());
    let image = Arc::new(Image::open(image).expect("a good image"));
    let arguments = std::iter::once(&"guest").chain(arguments).map(OsString::from).collect();
    let config = Config { arguments, memory, ..Config::default() };
    let (snapshot, _) = Snapshot::take(&host, &image, &config, LONG).expect("it becomes ready");
    Arc::new(snapshot)
}

/// A pool to be set up, of the guest that does what its input says.
fn obedient() -> Builder {
    Pool::builder(snapshot(&guest("on_command"), &[])).deadline(LONG)
}

/// Such a pool of at most so many instances.
fn pool_of(instances: usize) -> Pool {
    obedient().max(instances).build().expect("a pool")
}

/// A call's answer as text.
fn text(output: Output) -> String {
    String::from_utf8(output.bytes).expect("output is text")
}

/// Returns when this is so.
#[track_caller]
fn wait_until(what: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !what() {
        assert!(begin.elapsed() < LONG, "it does not come to that");
        std::thread::yield_now();
    }
}
