//! How a guest calls the tender.
//!
//! # The entry page
//!
//! The guest does not carry the instruction that leaves it. The tender maps one page, readable and
//! executable, and puts its address into the [boot information](crate::boot::BootInfo::entry). At
//! that address stands a function with the C calling convention of the System V ABI for AMD64
//! (section 3.2.3), which the guest calls as any other:
//!
//! ```text
//!             number  a0      a1      a2      a3
//! i64 entry(  rdi,    rsi,    rdx,    rcx,    r8  )   result in rax
//! ```
//!
//! The page holds whatever leaves the guest on the backend at hand, so that one image suits all of
//! them. A call preserves every register that the ABI calls preserved (rbx, rbp, rsp, r12 to r15),
//! all x87, SSE and AVX state, the FS and GS bases, and the red zone of the caller. It may change
//! rax, rcx, rdx, rsi, rdi, r8 to r11 and the arithmetic flags. The stack may be unaligned, and the
//! tender never writes to it.
//!
//! # Results
//!
//! A result of zero or more is the call's answer. A negative result is the negated code of a
//! [`CallError`](crate::error::CallError). A call that fails has had no effect unless its
//! description says otherwise. Arguments that a call does not name are ignored.
//!
//! # Buffers
//!
//! Where a call names a buffer, the whole of it must be memory that the guest itself may read (or
//! write, where the tender fills it) at the time of the call; else the call fails with
//! [`BadAddress`](crate::error::CallError::BadAddress). A buffer of length zero may have any address.

/// The type of the function on the entry page: `entry(number, a0, a1, a2, a3)`.
pub type Entry = extern "C" fn(number: u64, a0: u64, a1: u64, a2: u64, a3: u64) -> i64;

/// The largest number of bytes that one call moves, so that none takes long. A console call does as
/// if it were given no more; any other refuses a longer buffer with
/// [`TooLong`](crate::error::CallError::TooLong).
pub const MAX_BYTES: u64 = 64 << 20;

/// The longest text (panic message, log message, target, file name) that the tender takes, in
/// bytes; it cuts a longer one short.
pub const MAX_TEXT: u64 = 64 * 1024;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)+) => {
        /// The calls by number. Numbers are never used again for something else.
        #[repr(u64)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Call { $($(#[$doc])* $name = $number,)+ }

        impl Call {
            /// All calls in the order of their numbers.
            pub const ALL: &[Call] = &[$(Call::$name,)+];

            /// The call with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u64) -> Option<Call> {
                match number { $($number => Some(Call::$name),)+ _ => None }
            }

            /// The name used in statistics and messages.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Call::$name => $label,)+ }
            }
        }
    };
}

calls! {
    /// `nothing()` answers 0. It exists to measure what a call costs.
    Nothing = 0, "nothing";
    /// `exit(status)` ends the guest with the low eight bits of `status`. It does not return.
    Exit = 1, "exit";
    /// `panic(report: *const PanicReport)` ends the guest with [`exit::PANIC`](crate::exit::PANIC)
    /// after the tender has printed the [report](crate::panic::PanicReport) and a backtrace that
    /// starts at the caller. It does not return: what cannot be read of the report is left out.
    Panic = 2, "panic";
    /// `console_write(stream, slices: *const GuestSlice, count)` writes up to
    /// [`MAX_SLICES`](crate::console::MAX_SLICES) buffers, one after the other, to a
    /// [stream](crate::console::Stream) and answers how many bytes were taken: fewer than given
    /// where the stream takes no more now, never zero unless all buffers are empty. It waits until
    /// it can write something.
    ConsoleWrite = 3, "console write";
    /// `console_read(buffer, length)` waits for console input and answers how many bytes it put
    /// into the buffer; 0 says that the input has ended.
    ConsoleRead = 4, "console read";
    /// `clock(tsc)` brings the [clock page](crate::clock::ClockPage) up to date. `tsc` is the time
    /// stamp counter as the guest read it just before the call.
    Clock = 5, "clock";
    /// `wait(sources, deadline)` waits until one of the [event sources](crate::event::EventSources)
    /// is ready, or until the monotonic clock reads `deadline` nanoseconds
    /// ([`NO_DEADLINE`](crate::event::NO_DEADLINE): for ever). It answers the set of those that are
    /// ready, 0 when the deadline passed first. Unknown sources are refused with
    /// [`BadArgument`](crate::error::CallError::BadArgument).
    Wait = 6, "wait";
    /// `entropy(buffer, length)` fills the buffer with random bytes fit for keys and answers 0.
    Entropy = 7, "entropy";
    /// `log(record: *const LogRecord)` hands a [log record](crate::log::LogRecord) to the tender
    /// and answers 0.
    Log = 8, "log";
    /// `memory_rights(address, length, rights)` gives the pages of a range new
    /// [rights](crate::memory::Rights) and answers for how many bytes of it, from its start, it did:
    /// a long range may take several calls. Address and length are multiples of 4 KiB; the range
    /// lies within the stack or within the heap. Write and execute together are refused,
    /// and execute at all unless the image's [permissions note](crate::note::Permissions) says that
    /// it makes code at run time, both with [`Denied`](crate::error::CallError::Denied).
    MemoryRights = 9, "memory rights";
    /// `ready(invocation: *mut Invocation)` says that the program is initialised, fills in the
    /// [invocation](crate::invocation::Invocation) and answers 0. What follows may run many times,
    /// each time in a machine that no other run has touched. A second time it is refused with
    /// [`Denied`](crate::error::CallError::Denied). (1.1)
    Ready = 10, "ready";
    /// `input(buffer, length)` waits for more of the invocation's input and answers how many bytes
    /// of it are in the buffer; 0 says that it has ended. (1.1)
    Input = 11, "input";
    /// `output(slices: *const GuestSlice, count)` hands over a part of the output: up to
    /// [`MAX_SLICES`](crate::console::MAX_SLICES) buffers, one after the other. It answers how many
    /// bytes were taken: fewer than given where not more is taken now, never zero unless all are
    /// empty. [`Closed`](crate::error::CallError::Closed) says that nobody wants it any more. (1.1)
    Output = 12, "output";
    /// `respond(outcome, slices: *const GuestSlice, count)` hands over the last part of the output,
    /// all of it at once, and ends the guest with an [outcome](crate::invocation::Outcome). It does
    /// not return, unless an argument is wrong. (1.1)
    Respond = 13, "respond";
    /// `host(request: *mut HostRequest)` calls a [function of the
    /// host](crate::invocation::HostRequest) and answers 0 when it succeeded, 1 when it failed;
    /// [`NoSuchFunction`](crate::error::CallError::NoSuchFunction) when the host does not offer
    /// it. (1.1)
    Host = 14, "host";
    /// `host_reply(offset, buffer, length)` copies a part of the reply of the last `host` call and
    /// answers how many bytes it was, 0 beyond its end. (1.1)
    HostReply = 15, "host reply";
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn every_call_is_found_by_its_number_and_no_other_number_is_a_call() {
        for (index, &call) in Call::ALL.iter().enumerate() {
            assert_eq!(call as u64, index as u64);
            assert_eq!(Call::from_number(call as u64), Some(call));
        }
        assert_eq!(Call::from_number(Call::ALL.len() as u64), None);
        assert_eq!(Call::from_number(u64::MAX), None);
    }
}
