//! Crashes in the way that its argument names, to see what the tender reports.
//!
//! ```console
//! $ cargo run                  # lists the names
//! $ cargo run -- null-read
//! ```
#![no_std]
#![no_main]

use coracle::{ExitCode, env, eprintln, println};
use core::arch::asm;
use core::hint::black_box;

type Crash = (&'static str, &'static str, fn());

const CRASHES: &[Crash] = &[
    ("null-read", "reads where nothing is ever mapped", null_read),
    ("null-write", "writes where nothing is ever mapped", null_write),
    ("write-constant", "writes to a constant", write_constant),
    ("write-code", "writes to its own code", write_code),
    ("execute-data", "jumps into a variable", execute_data),
    ("execute-stack", "jumps into its stack", execute_stack),
    ("jump-unmapped", "jumps to where nothing is mapped", jump_unmapped),
    ("non-canonical", "reads at an address that no address can be", non_canonical),
    ("stack-overflow", "calls itself for ever", stack_overflow),
    ("illegal-instruction", "executes an instruction that no CPU has", illegal_instruction),
    ("privileged", "executes an instruction that the guest may not", privileged),
    ("syscall", "calls a kernel that is not there", syscall),
    ("division", "divides by zero, past the compiler's check", division),
    ("breakpoint", "executes a breakpoint", breakpoint),
    ("panic", "panics with a message", panic),
    ("unwrap", "unwraps an error", unwrap),
    ("index", "reads beyond the end of an array", index),
    ("overflow", "overflows an integer (in dev builds)", overflow),
    ("nested", "fails five functions deep", nested),
    ("panic-in-display", "panics while it prints", panic_in_display),
    ("panic-in-panic", "panics while a panic's message is made", panic_in_panic),
];

#[coracle::main]
fn main() -> ExitCode {
    let Some(name) = env::args().nth(1) else {
        println!("Say how to crash:");
        for (name, description, _) in CRASHES {
            println!("  {name:20} {description}");
        }
        return ExitCode::SUCCESS;
    };
    match CRASHES.iter().find(|(known, _, _)| *known == name) {
        Some((name, _, crash)) => {
            println!("now crashing: {name}");
            crash();
            println!("still here");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("there is no crash named {name:?}");
            ExitCode::from(2)
        }
    }
}

fn null_read() {
    // SAFETY: none, and that is the point, here and in the others: the machine catches it.
    black_box(unsafe { black_box(0x10 as *const u64).read_volatile() });
}

fn null_write() {
    // SAFETY: see `null_read`.
    unsafe { black_box(0x10 as *mut u64).write_volatile(1) };
}

static CONSTANT: u64 = 42;

fn write_constant() {
    // SAFETY: see `null_read`.
    unsafe { black_box((&raw const CONSTANT).cast_mut()).write_volatile(1) };
}

fn write_code() {
    // SAFETY: see `null_read`.
    unsafe { black_box(write_code as *mut u8).write_volatile(0xc3) };
}

static mut VARIABLE: [u8; 16] = [0xc3; 16];

fn execute_data() {
    jump(&raw const VARIABLE as usize);
}

fn execute_stack() {
    let code = [0xc3_u8; 16];
    jump(black_box(&code).as_ptr() as usize);
}

fn jump_unmapped() {
    jump(0xdead_0000);
}

fn jump(address: usize) {
    // SAFETY: see `null_read`.
    unsafe { asm!("call {}", in(reg) black_box(address), clobber_abi("C")) };
}

fn non_canonical() {
    // SAFETY: see `null_read`.
    black_box(unsafe { black_box(0x1234_5678_9abc_def0 as *const u64).read_volatile() });
}

fn stack_overflow() {
    black_box(deeper(black_box(0)));
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + room[depth as usize % 64] }
}

fn illegal_instruction() {
    // SAFETY: see `null_read`.
    unsafe { asm!("ud2") };
}

fn privileged() {
    // SAFETY: see `null_read`.
    unsafe { asm!("hlt") };
}

fn syscall() {
    // SAFETY: see `null_read`. On a Linux it would be getpid.
    unsafe { asm!("syscall", inlateout("rax") 39_u64 => _, out("rcx") _, out("r11") _) };
}

fn division() {
    // SAFETY: see `null_read`.
    unsafe {
        asm!("div {0:r}", in(reg) black_box(0_u64), inlateout("rax") 1_u64 => _, inlateout("rdx") 0_u64 => _)
    };
}

fn breakpoint() {
    // SAFETY: see `null_read`.
    unsafe { asm!("int3") };
}

fn panic() {
    panic!("this is what a panic's message looks like");
}

fn unwrap() {
    let result: Result<u32, _> = black_box("forty-two").parse::<u32>();
    black_box(result.unwrap());
}

fn index() {
    let array = [1, 2, 3];
    black_box(black_box(&array[..])[black_box(7)]);
}

fn overflow() {
    black_box(black_box(u8::MAX) + black_box(1));
}

fn nested() {
    first(black_box(5));
}

#[inline(never)]
fn first(left: u32) {
    second(black_box(left) - 1);
    black_box(left);
}

#[inline(never)]
fn second(left: u32) {
    if left > 2 {
        first(black_box(left))
    } else {
        third()
    }
    black_box(left);
}

#[inline(never)]
fn third() {
    null_write();
    black_box(());
}

struct Rude;

impl core::fmt::Display for Rude {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        panic!("this value does not want to be printed");
    }
}

fn panic_in_display() {
    println!("the value is {Rude}");
}

fn panic_in_panic() {
    panic!("{Rude}");
}
