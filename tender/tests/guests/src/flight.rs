//! A computation that has its state in registers and in thread-local memory all the time, while it makes calls and
//! is interrupted. The test beside the guests runs it too, as it is: both must come to the same bits.

use core::arch::{global_asm, naked_asm};

/// What it works with, and what comes of it.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Flight {
    /// What everything is multiplied with, and what is added then.
    factor: [f64; 8],
    term: [f64; 8],
    /// The vector registers.
    vectors: [[f64; 8]; 32],
    /// Those of the x87, in its own form at the end.
    x87: [u64; 8],
    /// Its control word, and MXCSR.
    control: [u32; 2],
    /// General registers, flags of the masks, and the thread-local word.
    mixed: u64,
    masks: u64,
    thread: u64,
}

/// How many bytes it has.
pub const LENGTH: usize = core::mem::offset_of!(Flight, thread) + 8;

/// Which vectors: of SSE2, AVX or AVX-512. These have to be there.
pub const KINDS: [&str; 3] = ["sse2", "avx", "avx512"];

impl Flight {
    /// One that has not begun.
    pub fn new() -> Flight {
        let mut flight = Flight {
            factor: [0.999_999; 8],
            term: [0.0; 8],
            vectors: [[0.0; 8]; 32],
            x87: [0; 8],
            control: [0; 2],
            mixed: 0x9e37_79b9_7f4a_7c15,
            masks: 0xb5,
            thread: 0,
        };
        for (lane, term) in flight.term.iter_mut().enumerate() {
            *term = 1e-5 * (lane as f64 + 1.0) / 3.0;
        }
        for (register, vector) in flight.vectors.iter_mut().enumerate() {
            for (lane, value) in vector.iter_mut().enumerate() {
                *value = (register as f64 + 1.0) / (lane as f64 + 7.0);
            }
        }
        for (register, value) in flight.x87.iter_mut().take(4).enumerate() {
            *value = (1.0 / (register as f64 + 3.0)).to_bits();
        }
        // All precision, rounding up; rounding down, exceptions masked, as they are everywhere here.
        flight.control = [0x0b7f, 0x3f80];
        flight
    }

    /// Goes so many rounds with vectors of a kind. Every so often it makes the call `nothing`, and waits a little,
    /// through the function at `entry`, unless that is 0.
    ///
    /// # Safety
    /// The CPU has these vectors, and `entry` is the tender's.
    pub unsafe fn go(&mut self, kind: usize, rounds: u64, entry: u64) {
        let kernel = match kind {
            0 => sse2,
            1 => avx,
            _ => avx512,
        };
        // SAFETY: the caller's promise; the code keeps to the C calling convention.
        unsafe { kernel(self, rounds, entry) }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: there is no padding before the last field: all are words, and half words in pairs.
        unsafe { core::slice::from_raw_parts((&raw const *self).cast(), LENGTH) }
    }
}

impl Default for Flight {
    fn default() -> Flight {
        Flight::new()
    }
}

global_asm!(".section .tbss,\"awT\",@nobits", ".balign 8", "flight_thread: .zero 8", ".text",);

/// The function that goes through all rounds, with its own way to load, step and store vectors.
macro_rules! kernel {
    ($name:ident, [$($load:literal),+], [$($step:literal),+], [$($store:literal),+]) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(flight: &mut Flight, rounds: u64, entry: u64) {
            naked_asm!(
                "push rbx; push rbp; push r12; push r13; push r14; push r15",
                "sub rsp, 24",
                "fnstcw [rsp]",
                "stmxcsr [rsp + 8]",
                "mov rbx, rdi",
                "mov r12, rsi",
                "mov r13, rdx",
                "mov r15, [rbx + {mixed}]",
                "xor ebp, ebp",
                "mov qword ptr fs:[flight_thread@tpoff], 0",
                "fninit",
                "fldcw [rbx + {control}]",
                "ldmxcsr [rbx + {control} + 4]",
                "fld qword ptr [rbx + {x87} + 24]",
                "fld qword ptr [rbx + {x87} + 16]",
                "fld qword ptr [rbx + {x87} + 8]",
                "fld qword ptr [rbx + {x87}]",
                $($load,)+
                "2:",
                $($step,)+
                "fmul qword ptr [rbx + {factor}]",
                "fadd qword ptr [rbx + {term}]",
                "fxch st(3)",
                "fxch st(2)",
                "fxch st(1)",
                "rol r15, 7",
                "add r15, r12",
                "add qword ptr fs:[flight_thread@tpoff], r15",
                "test r12d, 0xfff",
                "jnz 4f",
                "test r13, r13",
                "jz 4f",
                // A word below the stack pointer is the function's own.
                "mov [rsp - 64], r15",
                "xor edi, edi",
                "call r13",
                "cmp [rsp - 64], r15",
                "jne 5f",
                "test r12d, 0xffff",
                "jnz 4f",
                // Until half a millisecond after the last time, if that is still to come.
                "add rbp, 500000",
                "mov edi, {wait}",
                "xor esi, esi",
                "mov rdx, rbp",
                "call r13",
                "4: dec r12",
                "jnz 2b",
                "jmp 6f",
                "5: mov qword ptr fs:[flight_thread@tpoff], 0",
                "6:",
                $($store,)+
                "mov [rbx + {mixed}], r15",
                "mov rax, fs:[flight_thread@tpoff]",
                "mov [rbx + {thread}], rax",
                "fstp tbyte ptr [rbx + {x87}]",
                "fstp tbyte ptr [rbx + {x87} + 16]",
                "fstp tbyte ptr [rbx + {x87} + 32]",
                "fstp tbyte ptr [rbx + {x87} + 48]",
                "stmxcsr [rbx + {control} + 4]",
                "fldcw [rsp]",
                "ldmxcsr [rsp + 8]",
                "add rsp, 24",
                "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
                "ret",
                factor = const core::mem::offset_of!(Flight, factor),
                term = const core::mem::offset_of!(Flight, term),
                x87 = const core::mem::offset_of!(Flight, x87),
                control = const core::mem::offset_of!(Flight, control),
                mixed = const core::mem::offset_of!(Flight, mixed),
                thread = const core::mem::offset_of!(Flight, thread),
                wait = const WAIT,
            )
        }
    };
}

/// The number of the call `wait`.
const WAIT: u64 = 6;

kernel!(
    sse2,
    [".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "movupd xmm\\n, [rbx + 128 + 64 * \\n]", ".endr"],
    [
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "mulpd xmm\\n, [rbx]",
        "addpd xmm\\n, [rbx + 64]",
        ".endr"
    ],
    [".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "movupd [rbx + 128 + 64 * \\n], xmm\\n", ".endr"]
);

kernel!(
    avx,
    [".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "vmovupd ymm\\n, [rbx + 128 + 64 * \\n]", ".endr"],
    [
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmulpd ymm\\n, ymm\\n, [rbx]",
        "vaddpd ymm\\n, ymm\\n, [rbx + 64]",
        ".endr"
    ],
    [
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovupd [rbx + 128 + 64 * \\n], ymm\\n",
        ".endr",
        "vzeroupper"
    ]
);

// The mask decides which lanes are added to, and is another one in each round.
kernel!(
    avx512,
    [
        "kmovw k1, [rbx + 2256]",
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovupd zmm\\n, [rbx + 128 + 64 * \\n]",
        ".endr"
    ],
    [
        "kmovw eax, k1",
        "rol al, 1",
        "kmovw k1, eax",
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmulpd zmm\\n, zmm\\n, [rbx]",
        "vaddpd zmm\\n {{k1}}, zmm\\n, [rbx + 64]",
        ".endr"
    ],
    [
        "kmovw [rbx + 2256], k1",
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovupd [rbx + 128 + 64 * \\n], zmm\\n",
        ".endr",
        "vzeroupper"
    ]
);

// What the kernels name by numbers.
const _: () =
    assert!(core::mem::offset_of!(Flight, vectors) == 128 && core::mem::offset_of!(Flight, masks) == 2256);
