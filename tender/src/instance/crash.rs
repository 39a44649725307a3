//! The report of a guest that ended badly.

use super::{End, Instance};
use crate::guest::Guest;
use crate::image::Image;
use crate::report::{Cause, GuestMemory, Report, Scene, describe};
use crate::snapshot::memory_file;
use coracle_hypercall::memory::Rights;
use std::path::Path;

impl GuestMemory for Guest<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.try_read(address, buffer)
    }

    fn rights(&self, address: u64) -> Option<Rights> {
        Guest::rights(self, address)
    }
}

impl Instance {
    /// Finds out what happened to the guest, with names from its image or from `symbols`, the image
    /// as it was before it was stripped. `None` for an end that is no crash.
    #[must_use]
    pub fn report(&self, end: &End, symbols: Option<&Path>) -> Option<Report> {
        let cause = match end {
            End::Faulted(fault) => Cause::Fault(fault),
            End::Port { port, width, write, registers } => {
                Cause::Port { port: *port, width: *width, write: *write, registers: *registers }
            }
            End::Panicked(text, registers) => Cause::Panic {
                message: text.message.clone(),
                file: text.file.clone(),
                line: text.line,
                column: text.column,
                registers: *registers,
            },
            End::Exited(_)
            | End::TimedOut
            | End::Asked(_)
            | End::Dead(_)
            | End::Ready(_)
            | End::Responded
            | End::Failed(_)
            | End::Aborted(_)
            | End::Paused => return None,
        };
        let image = self.image();
        // Without an image the report says that there is none to take names from.
        let nothing = if image.is_none() { memory_file(c"coracle-nothing").ok() } else { None };
        let scene = Scene {
            image_path: self.name(),
            image_file: image.map(Image::file).or(nothing.as_ref())?,
            symbols,
            build_id: image.and_then(Image::build_id),
            places: &self.places,
            memory: &self.guest(),
        };
        Some(describe(cause, scene))
    }
}
