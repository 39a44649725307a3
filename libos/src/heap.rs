//! The heap: `talc` behind a lock, growing on demand into the memory that the tender set aside.
//!
//! The host backs memory when it is first touched, and an allocator writes its marks at both ends of
//! what it is given. So it is given the heap in steps, and a program that needs little costs little:
//!
//! 1. the beginning of the first large page, which the host backs in small pages;
//! 2. what follows that large page, in steps that double: the host backs it in large pages, so that
//!    large blocks cost few faults;
//! 3. when all that is used up, the rest of the first large page.

use crate::sync::Lock;
use crate::{boot, panic};
use coracle_hypercall::memory::LARGE_PAGE;
use core::alloc::{GlobalAlloc, Layout};
use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

/// How much of the first large page is given out before any other.
const SMALL_PART: usize = 256 << 10;
/// The first step by which the large part grows, and the grain of all.
const SMALLEST_STEP: usize = LARGE_PAGE as usize;
/// The largest step, unless one allocation needs more.
const LARGEST_STEP: usize = 64 << 20;

/// More than the allocator's own marks take around a block and at the ends of a part.
const MARKS: usize = 4096;

/// Bytes at the heap's start that are not the allocator's.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The size of the last request that failed.
static FAILED: AtomicUsize = AtomicUsize::new(0);

static ALLOCATOR: Lock<Talc<Growth, talc::DefaultBinning>> = Lock::new(Talc::new(Growth::NEW));

/// The program's global allocator. The attribute macro makes it so.
#[derive(Debug)]
pub struct Heap;

// SAFETY: talc gives out memory as the trait demands; what it is given is the heap's alone.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut talc = ALLOCATOR.lock();
        // SAFETY: the caller promises a size above zero.
        match unsafe { talc.allocate(layout) } {
            Some(memory) => {
                talc.source.used += layout.size();
                memory.as_ptr()
            }
            None => failed(layout.size()),
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let mut talc = ALLOCATOR.lock();
        talc.source.used -= layout.size();
        // SAFETY: the caller promises that the memory came from `alloc` with this layout.
        unsafe { talc.deallocate(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let mut talc = ALLOCATOR.lock();
        // SAFETY: the caller promises that the memory came from `alloc` with this layout, and that
        // the new size is above zero and makes a layout.
        unsafe {
            if talc.try_realloc_in_place(memory, layout, size) {
                talc.source.used = talc.source.used - layout.size() + size;
                return memory;
            }
            drop(talc);
            let larger = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !larger.is_null() {
                larger.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            larger
        }
    }
}

#[cold]
fn failed(bytes: usize) -> *mut u8 {
    FAILED.store(bytes, Ordering::Relaxed);
    *panic::EXPLAIN.lock() = Some(explain);
    core::ptr::null_mut()
}

/// How large the heap can become, in bytes.
#[must_use]
pub fn size() -> usize {
    boot::info().heap.length as usize - TAKEN.load(Ordering::Relaxed)
}

/// How many bytes the program has allocated and not freed.
#[must_use]
pub fn used() -> usize {
    ALLOCATOR.lock().source.used
}

/// Takes memory from the heap's start for good, for the time before the allocator is first used.
/// It is zero, and aligned as a page is or as what was taken before left it.
pub(crate) fn take(bytes: usize) -> *mut u8 {
    let heap = boot::info().heap;
    let taken = TAKEN.fetch_add(bytes, Ordering::Relaxed);
    if (taken + bytes) as u64 > heap.length {
        crate::process::trap();
    }
    core::ptr::with_exposed_provenance_mut(heap.address.0 as usize + taken)
}

/// How far the allocator has been given the heap.
#[derive(Debug)]
struct Growth {
    /// The part within the first large page.
    small: Part,
    /// The part behind it.
    large: Part,
    /// How much the large part grows by next.
    step: usize,
    /// Bytes that are allocated.
    used: usize,
}

/// A run of the heap of which the allocator has the beginning.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// The end of what it was given, if it was given anything.
    end: Option<NonNull<u8>>,
}

// SAFETY: what `end` points to belongs to no thread.
unsafe impl Send for Part {}

impl Growth {
    const NEW: Growth =
        Growth { small: Part { end: None }, large: Part { end: None }, step: SMALLEST_STEP, used: 0 };
}

impl Part {
    /// Gives the allocator what lies between the part's end, or `start` while it has nothing of it,
    /// and `new_end`.
    fn grow<B: Binning>(
        mut self,
        talc: &mut Talc<Growth, B>,
        start: usize,
        new_end: usize,
    ) -> Result<Part, ()> {
        if self.end.map_or(start, |end| end.addr().get()) >= new_end {
            return Err(());
        }
        // SAFETY: from the start to the new end the heap is nobody else's, and `end` is what the
        // allocator itself gave as the end of what it has.
        let end = unsafe {
            match self.end {
                Some(end) => Some(talc.extend(end, core::ptr::with_exposed_provenance_mut(new_end))),
                None => talc.claim(core::ptr::with_exposed_provenance_mut(start), new_end - start),
            }
        };
        self.end = Some(end.ok_or(())?);
        Ok(self)
    }
}

// SAFETY: `acquire` reaches the allocator only through its argument.
unsafe impl Source for Growth {
    #[cold]
    fn acquire<B: Binning>(talc: &mut Talc<Growth, B>, layout: Layout) -> Result<(), ()> {
        let heap = boot::info().heap;
        let limit = (heap.address.0 + heap.length) as usize;
        let start = heap.address.0 as usize + TAKEN.load(Ordering::Relaxed);
        let large_start = start.next_multiple_of(SMALLEST_STEP).max(heap.address.0 as usize + SMALLEST_STEP);
        // Room for the request wherever it must be aligned, and for the allocator's own marks.
        let needed = layout.size().saturating_add(layout.align()).saturating_add(MARKS);

        let small_end = (heap.address.0 as usize + SMALL_PART).min(limit);
        let (small, large) = (talc.source.small, talc.source.large);
        if small.end.is_none() && start.saturating_add(needed) <= small_end {
            talc.source.small = small.grow(talc, start, small_end)?;
            return Ok(());
        }
        let from = large.end.map_or(large_start, |end| end.addr().get());
        let wanted = from.saturating_add(needed.max(talc.source.step));
        let wanted = wanted.checked_next_multiple_of(SMALLEST_STEP).unwrap_or(limit).min(limit);
        if layout.size() <= limit.saturating_sub(from) || large.end.is_some() {
            talc.source.step = (talc.source.step * 2).min(LARGEST_STEP);
            if let Ok(grown) = large.grow(talc, large_start, wanted) {
                talc.source.large = grown;
                return Ok(());
            }
        }
        talc.source.small = small.grow(talc, start, large_start.min(limit))?;
        Ok(())
    }
}

/// Adds to the message with which `alloc` panics when a request has failed.
fn explain(message: &mut panic::Message) {
    let failed = message.text().strip_prefix("memory allocation of ");
    let failed = failed.and_then(|rest| rest.strip_suffix(" bytes failed")?.parse().ok());
    if failed != Some(FAILED.load(Ordering::Relaxed)) {
        return;
    }
    let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
    // A message too long is cut short, which is all that can go wrong.
    let _ = write!(message, ": of the heap's {} MiB ", mebibytes(size()));
    if let Some(talc) = ALLOCATOR.try_lock() {
        let _ = write!(message, "{} MiB are in use; ", mebibytes(talc.source.used));
    }
    let _ = message.write_str("give the program more with `coracle run --mem`");
}
