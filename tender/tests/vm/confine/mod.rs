//! The tender locks itself in.

mod dumps;
mod files;
mod kills;
mod option;
mod pool;
mod rules;
mod tracer;

/// What becomes of a child of this process, as wait(2) says it.
fn in_a_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes system calls and ends within this function.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            let status = child();
            // SAFETY: nothing of the parent's is to be run at the end of the child.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the status is a local.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status
        }
    }
}
