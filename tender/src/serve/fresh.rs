//! New snapshots, for new layouts.

use super::function::Function;
use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// Starts the thread that boots each function anew once in `period`. It ends with the process.
pub(super) fn start(functions: &[Arc<Function>], period: Duration) -> io::Result<()> {
    let functions: Vec<Weak<Function>> = functions.iter().map(Arc::downgrade).collect();
    let renew = move || {
        loop {
            thread::sleep(period);
            for function in &functions {
                let Some(function) = function.upgrade() else { return };
                function.renew();
            }
        }
    };
    thread::Builder::new().name("coracle-fresh".to_owned()).spawn(renew).map(drop)
}
