//! Checks that so many calls as its argument says preserve what they are to preserve.
#![no_std]
#![no_main]

use coracle::{ExitCode, env};
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::arch::{asm, naked_asm};
use guests::boot::info;

/// What `xsave` writes.
#[repr(C, align(64))]
struct State([u8; 4096]);

/// Makes `calls` calls of the number 0 with the registers loaded from `load`; stores them before
/// the first and after the last. The general registers and the memory below the stack that the
/// call itself does not use are compared after each; 0 when they were always the same.
#[unsafe(naked)]
unsafe extern "C" fn make_calls(
    load: &State,
    before: &mut State,
    after: &mut State,
    calls: u64,
    entry: u64,
    components: u64,
) -> u64 {
    naked_asm!(
        "push rbx; push rbp; push r12; push r13; push r14; push r15",
        "push r8; push rcx; push rdx; push r9",
        "mov rax, r9",
        "mov rdx, r9",
        "shr rdx, 32",
        "test r9, r9",
        "jz 2f",
        "xrstor64 [rdi]",
        "xsave64 [rsi]",
        "jmp 3f",
        "2: fxrstor64 [rdi]",
        "fxsave64 [rsi]",
        "3: mov rbx, 0x1b1b1b1b",
        "mov rbp, 0x2b2b2b2b",
        "mov r12, 0x3c3c3c3c",
        "mov r13, 0x4d4d4d4d",
        "mov r14, 0x5e5e5e5e",
        "mov r15, rsp",
        // The memory from 16 bytes below the stack pointer on; the 8 in between are the return address.
        "4: mov ecx, 15",
        "5: mov [rsp + rcx * 8 - 136], rcx",
        "dec ecx",
        "jns 5b",
        "xor edi, edi",
        "call qword ptr [rsp + 24]",
        "test rax, rax",
        "jnz 8f",
        "mov ecx, 15",
        "6: cmp [rsp + rcx * 8 - 136], rcx",
        "jne 8f",
        "dec ecx",
        "jns 6b",
        "cmp rbx, 0x1b1b1b1b",
        "jne 8f",
        "cmp rbp, 0x2b2b2b2b",
        "jne 8f",
        "cmp r12, 0x3c3c3c3c",
        "jne 8f",
        "cmp r13, 0x4d4d4d4d",
        "jne 8f",
        "cmp r14, 0x5e5e5e5e",
        "jne 8f",
        "cmp r15, rsp",
        "jne 8f",
        "dec qword ptr [rsp + 16]",
        "jnz 4b",
        "xor ecx, ecx",
        "jmp 9f",
        "8: mov ecx, 1",
        "9: pop rax",
        "mov rdx, rax",
        "shr rdx, 32",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "xsave64 [rdi]",
        "jmp 3f",
        "2: fxsave64 [rdi]",
        "3: fninit",
        "mov dword ptr [rsp], 0x1f80",
        "ldmxcsr [rsp]",
        "pop rax; pop rax",
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
        "mov eax, ecx",
        "ret",
    )
}

/// x87, SSE, AVX, and the three of AVX-512: a process may see more.
const WITH_PATTERN: u64 = 0xe7;

/// Values for all registers that `components` names: x87, MMX, SSE, AVX, AVX-512.
fn pattern(components: u64) -> State {
    let mut state = State([0; 4096]);
    let bytes = &mut state.0;
    // Control words with other roundings than usual, all exceptions masked; all x87 registers in use.
    bytes[0..2].copy_from_slice(&0x0f7f_u16.to_le_bytes());
    bytes[4] = 0xff;
    bytes[24..28].copy_from_slice(&0x7f80_u32.to_le_bytes());
    for register in 0..8 {
        fill(&mut bytes[32 + register * 16..][..10]);
    }
    fill(&mut bytes[160..416]);
    if components != 0 {
        bytes[512..520].copy_from_slice(&components.to_le_bytes());
    }
    for component in (2..32).filter(|component| components & 1 << component != 0) {
        let place = __cpuid_count(0xd, component);
        fill(&mut bytes[place.ebx as usize..][..place.eax as usize]);
    }
    state
}

fn fill(bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (index as u8).wrapping_mul(7).wrapping_add(1);
    }
}

/// The state components that there are; none without XSAVE. Where the host's XCR0 shows, there may
/// be more in that.
fn components() -> u64 {
    if __cpuid(1).ecx & 1 << 27 == 0 {
        return 0;
    }
    let all = __cpuid_count(0xd, 0);
    (u64::from(all.edx) << 32 | u64::from(all.eax)) & WITH_PATTERN
}

fn bases() -> (u64, u64) {
    let (fs, gs);
    // SAFETY: reading them has no effect.
    unsafe { asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs) };
    (fs, gs)
}

#[coracle::main]
fn main() -> ExitCode {
    let calls = env::args().nth(1).and_then(|number| number.parse().ok());
    let Some(calls) = calls else { return ExitCode::from(2) };
    let entry = info().entry.0;

    let components = components();
    let (mut before, mut after) = (State([0; 4096]), State([0; 4096]));
    // SAFETY: nothing here uses the GS base.
    unsafe { asm!("wrgsbase {}", in(reg) 0x1234_5678_9000_u64) };
    let bases_before = bases();
    // SAFETY: the entry page's function is called as the contract says; the areas are large enough.
    let changed =
        unsafe { make_calls(&pattern(components), &mut before, &mut after, calls, entry, components) };
    assert_eq!(changed, 0, "a general register or the red zone changed");
    assert!(before.0[160..416].iter().any(|byte| *byte != 0), "nothing was loaded");
    assert!(before.0 == after.0, "the state of x87, SSE or AVX changed");
    assert_eq!(bases(), bases_before);
    assert_eq!(bases_before.1, 0x1234_5678_9000);
    ExitCode::SUCCESS
}
