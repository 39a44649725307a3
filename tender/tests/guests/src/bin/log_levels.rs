//! Logs a record of each level.
#![no_std]
#![no_main]

#[coracle::main]
fn main() {
    log::error!("lost before there is a logger");
    coracle::log::init();
    log::error!("an error");
    log::warn!("a warning");
    log::info!(target: "elsewhere", "a number: {}", 3);
    log::debug!("a detail");
    log::trace!("a step");
}
