//! Waits for an event that never comes.
#![no_std]
#![no_main]

use coracle::event::{EventSources, wait};

#[coracle::main]
fn main() {
    loop {
        let _ = wait(EventSources::empty(), None);
    }
}
