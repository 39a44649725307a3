//! The unwinder's symbols, which precompiled `alloc` names. A program that aborts on panic never
//! calls them.

/// Would decide where an unwinding panic lands.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {
    crate::process::trap()
}

/// Would go on with an unwinding panic after a destructor.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::process::trap()
}
