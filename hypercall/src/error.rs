//! What a refused call answers.

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)+) => {
        /// Why a call was refused. On the wire it is the negated code.
        #[repr(i64)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum CallError { $($(#[$doc])* $name = $code,)+ }

        impl CallError {
            /// All errors in the order of their codes.
            pub const ALL: &[CallError] = &[$(CallError::$name,)+];

            const fn from_code(code: i64) -> CallError {
                match code { $($code => CallError::$name,)+ _ => CallError::Unknown }
            }

            const fn words(self) -> &'static str {
                match self { $(CallError::$name => $words,)+ }
            }
        }
    };
}

errors! {
    /// There is no call with this number.
    NoSuchCall = 1, "no such call";
    /// A buffer is not, or not wholly, memory with the rights that the call needs.
    BadAddress = 2, "bad address";
    /// An argument has a value that the call does not take.
    BadArgument = 3, "bad argument";
    /// A buffer is longer than [`MAX_BYTES`](crate::call::MAX_BYTES), or a list longer than its bound.
    TooLong = 4, "too long";
    /// The tender's rules forbid it.
    Denied = 5, "not permitted";
    /// The other end of the stream is closed; nothing will ever be taken.
    Closed = 6, "stream is closed";
    /// The host could not read or write. The tender says why in its log, each cause once.
    Io = 7, "input/output error on the host";
    /// A blocking call was ended because an event that the guest has subscribed to is ready.
    Interrupted = 8, "interrupted by an event";
    /// The host offers no function of this name. (1.1)
    NoSuchFunction = 9, "the host offers no such function";
    /// An error of a newer tender.
    Unknown = 0x7fff, "unknown error";
}

impl CallError {
    /// The result register's value for this error.
    #[must_use]
    pub const fn to_result(self) -> i64 {
        -(self as i64)
    }

    /// Splits a result register into an answer or an error.
    ///
    /// # Errors
    /// The error that a negative result stands for.
    pub const fn check(result: i64) -> Result<u64, CallError> {
        if result < 0 { Err(CallError::from_code(result.wrapping_neg())) } else { Ok(result as u64) }
    }
}

impl core::fmt::Display for CallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.words())
    }
}

impl core::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::CallError;

    #[test]
    fn every_error_survives_the_result_register() {
        for &error in CallError::ALL {
            assert_eq!(CallError::check(error.to_result()), Err(error));
        }
    }

    #[test]
    fn results_that_no_error_has_are_unknown_errors_or_answers() {
        assert_eq!(CallError::check(i64::MIN), Err(CallError::Unknown));
        assert_eq!(CallError::check(-0x1234), Err(CallError::Unknown));
        assert_eq!(CallError::check(0), Ok(0));
        assert_eq!(CallError::check(i64::MAX), Ok(i64::MAX as u64));
    }
}
