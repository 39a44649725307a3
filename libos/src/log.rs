//! The `log` facade: records go to the tender.
//!
//! Call [`init`] once at the start of `main`. `RUST_LOG` then says what is let through: `off`,
//! `error` (as when it is not set), `warn`, `info`, `debug` or `trace`.

use crate::{call, env};
use alloc::borrow::Cow;
use alloc::string::ToString;
use coracle_hypercall::log::Level;
use core::str::FromStr;
use log::{LevelFilter, Log, Metadata, Record};

struct ToTender;

impl Log for ToTender {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        let message = record.args().as_str().map_or_else(|| record.args().to_string().into(), Cow::Borrowed);
        // The output so far comes first. A record that the tender refuses has nowhere else to go.
        crate::io::stdout::flush_before_waiting();
        let _ = call::log(level, record.target(), &message);
    }

    fn flush(&self) {}
}

/// Makes the tender the program's logger, with `RUST_LOG` as filter. Where a logger has been set
/// before, that one stays.
pub fn init() {
    let filter = env::var("RUST_LOG").and_then(|name| LevelFilter::from_str(&name).ok());
    if log::set_logger(&ToTender).is_ok() {
        log::set_max_level(filter.unwrap_or(LevelFilter::Error));
    }
}
