//! The argument block that a new process finds on its stack.

use core::ffi::{c_char, c_int};

/// Where the parts of the argument block are. It lies on the stack above all frames and stays.
pub(crate) struct ArgumentBlock {
    pub(crate) count: usize,
    /// `count` pointers to C strings, then null.
    pub(crate) arguments: *const *const c_char,
    /// Pointers to C strings, then null.
    pub(crate) environment: *const *const c_char,
    auxiliary: *const [u64; 2],
}

impl ArgumentBlock {
    /// # Safety
    /// `argv` points into a block laid out by the System V ABI for AMD64, section 3.4.1, with
    /// `argc` arguments.
    pub(super) unsafe fn new(argc: c_int, argv: *const *const c_char) -> ArgumentBlock {
        let count = argc as usize;
        // SAFETY: the environment follows the arguments and their null, and ends with a null of its
        // own, which the auxiliary vector follows.
        unsafe {
            let environment = argv.add(count + 1);
            let mut end = environment;
            while !(*end).is_null() {
                end = end.add(1);
            }
            ArgumentBlock { count, arguments: argv, environment, auxiliary: end.add(1).cast() }
        }
    }

    /// The value of the auxiliary vector's entry of this type.
    pub(super) fn auxiliary(&self, wanted: u64) -> Option<u64> {
        let mut entry = self.auxiliary;
        loop {
            // SAFETY: the vector ends with an entry of type 0, which ends the loop.
            match unsafe { *entry } {
                [0, _] => return None,
                [kind, value] if kind == wanted => return Some(value),
                // SAFETY: that was not the last entry.
                _ => entry = unsafe { entry.add(1) },
            }
        }
    }
}
