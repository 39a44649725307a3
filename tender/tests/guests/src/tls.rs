//! Thread-local variables, made in assembly because stable Rust without `std` has none.

/// Makes two symbols in thread-local storage, of `$size` bytes each at a multiple of `$align`, of which
/// the first begins with `$value`, and a function that gives their addresses.
#[macro_export]
macro_rules! thread_locals {
    ($align:literal, $size:literal, $value:literal) => {
        core::arch::global_asm!(
            ".section .tdata,\"awT\",@progbits",
            ".balign {align}",
            "thread_local_value: .quad {value}",
            ".zero {size} - 8",
            ".section .tbss,\"awT\",@nobits",
            ".balign {align}",
            "thread_local_zeros: .zero {size}",
            ".text",
            align = const $align,
            size = const $size,
            value = const $value,
        );

        fn thread_locals() -> [*mut u8; 2] {
            let (value, zeros);
            // SAFETY: FS points to the thread control block, which begins with its own address.
            unsafe {
                core::arch::asm!(
                    "mov {0}, fs:[0]",
                    "lea {1}, [{0} + thread_local_zeros@tpoff]",
                    "lea {0}, [{0} + thread_local_value@tpoff]",
                    out(reg) value,
                    out(reg) zeros,
                );
            }
            [value, zeros]
        }
    };
}

/// Checks that both are aligned, hold what they are to hold, and can be written.
pub fn check([value, zeros]: [*mut u8; 2], align: usize, size: usize, first: u64) {
    assert_eq!((value.addr() % align, zeros.addr() % align), (0, 0), "{value:?}, {zeros:?}");
    // SAFETY: both have `size` bytes, are aligned, and belong to this thread.
    let (value, zeros) = unsafe {
        assert_eq!(value.cast::<u64>().read(), first);
        (core::slice::from_raw_parts_mut(value, size), core::slice::from_raw_parts_mut(zeros, size))
    };
    assert!(value[8..].iter().all(|byte| *byte == 0));
    assert!(zeros.iter().all(|byte| *byte == 0));
    value.fill(1);
    zeros.fill(2);
    assert!(value.iter().all(|byte| *byte == 1));
}
