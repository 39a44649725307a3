//! What happens at a panic: the message goes to the tender, which ends the program with it.
//!
//! Nothing here allocates, so that a panic for want of memory can be told.

use crate::sync::Lock;
use crate::{call, io};
use coracle_hypercall::panic::PanicReport;
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// A longer message is cut short.
const LONGEST: usize = 2048;

/// Whether a panic is being told already.
static PANICKING: AtomicBool = AtomicBool::new(false);

struct MessageRoom(UnsafeCell<Message>);

// SAFETY: only the first thread to set `PANICKING` uses it.
unsafe impl Sync for MessageRoom {}

static MESSAGE: MessageRoom = MessageRoom(UnsafeCell::new(Message { bytes: [0; LONGEST], length: 0 }));

/// What can say more about a panic than its message does. It is set by what has failed, so that a
/// program without heap does not carry the heap's words.
pub(crate) static EXPLAIN: Lock<Option<fn(&mut Message)>> = Lock::new(None);

/// Reports the panic and ends the program. The attribute macro makes this the panic handler.
#[doc(hidden)]
pub fn report(info: &PanicInfo<'_>) -> ! {
    if PANICKING.swap(true, Ordering::Relaxed) {
        tell("the program panicked again while it told of a panic", info);
    }
    // SAFETY: only one gets past the swap, and never comes back.
    let message = unsafe { &mut *MESSAGE.0.get() };
    // The only error is that of a `Display` that fails: what it wrote before is told.
    let _ = write!(message, "{}", info.message());
    if let Some(explain) = EXPLAIN.try_lock().and_then(|explain| *explain) {
        explain(message);
    }
    io::stdout::flush_at_panic();
    tell(message.text(), info)
}

fn tell(message: &str, info: &PanicInfo<'_>) -> ! {
    let (file, line, column) = info.location().map_or(("", 0, 0), |at| (at.file(), at.line(), at.column()));
    call::panic(&PanicReport { message: call::text(message), file: call::text(file), line, column })
}

/// Text that ends with an ellipsis where it became too long.
pub(crate) struct Message {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Message {
    pub(crate) fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        // SAFETY: only whole characters are ever added.
        unsafe { core::str::from_utf8_unchecked(bytes) }
    }

    fn append(&mut self, text: &str, limit: usize) -> bool {
        let fits = text.floor_char_boundary(limit.saturating_sub(self.length));
        if let Some(room) = self.bytes.get_mut(self.length..self.length + fits) {
            room.copy_from_slice(&text.as_bytes()[..fits]);
            self.length += fits;
        }
        fits == text.len()
    }
}

impl Write for Message {
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const ELLIPSIS: &str = "…";
        if self.append(text, LONGEST - ELLIPSIS.len()) {
            return Ok(());
        }
        self.append(ELLIPSIS, LONGEST);
        Err(fmt::Error)
    }
}
