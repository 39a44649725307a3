//! Says that it is ready, keeps all that it finds when it goes on, and then does what its input says:
//! words of eight bytes, each order followed by what it works on. The answer is words too.
//!
//! With the argument `split`, all large pages of its block are split when it is ready; with `heap`, its
//! invocation and its input lie in the block.
#![no_std]
#![no_main]

extern crate alloc;

use coracle::call::{self, Bytes};
use coracle::env;
use coracle::event::EventSources;
use coracle::hypercall::call::Call;
use coracle::hypercall::console::Stream;
use coracle::hypercall::error::CallError;
use coracle::hypercall::invocation::{Invocation, Outcome};
use coracle::hypercall::log::Level;
use coracle::hypercall::memory::GuestSlice;
use coracle::memory::{LARGE_PAGE, PAGE, Rights, set_rights};
use core::alloc::Layout;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::arch::{asm, naked_asm};
use core::hint::black_box;
use core::mem::offset_of;
use core::ptr::with_exposed_provenance_mut;
use guests::boot::info;

coracle::permissions!(CODE_AT_RUN_TIME);

/// The block of the heap that orders work on: so many large pages.
const BLOCK: usize = 6 * LARGE_PAGE as usize;

/// Where the invocation lies in the block, and a page behind it the input, if they are to be there.
const INVOCATION_IN_BLOCK: usize = 4 * LARGE_PAGE as usize + PAGE as usize;

/// What `xsave` writes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Area([u8; 4096]);

/// What the program finds when it goes on.
#[repr(C, align(64))]
struct Found {
    area: Area,
    /// rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, flags, the base of FS, that of GS.
    registers: [u64; 19],
    /// DS, ES, FS, GS.
    selectors: [u16; 4],
    /// The state components that there are.
    components: u64,
}

static mut FOUND: Found =
    Found { area: Area([0; 4096]), registers: [0; 19], selectors: [0; 4], components: 0 };
/// How many words of input there may be.
const WORDS: usize = 512;
static mut INPUT: [u64; WORDS] = [0; WORDS];
static mut ZEROS: [u64; 2048] = [0; 2048];
static mut CONSTANTS: [u64; 512] = [0x0123_4567_89ab_cdef; 512];
static mut INVOCATION: Invocation =
    Invocation { buffer: GuestSlice::new(0, 0), length: 0, total: 0, identity: [0; 16], seed: [0; 32] };

/// Makes the call that says that the program is ready, with all registers set to something, and keeps
/// what is in them afterwards.
#[unsafe(naked)]
unsafe extern "C" fn ready(invocation: u64, entry: u64, components: u64, load: &Area) {
    naked_asm!(
        "push rbx; push rbp; push r12; push r13; push r14; push r15",
        "sub rsp, 8",
        "mov [rip + {found} + {components}], rdx",
        "mov r10, rsi",
        "mov rsi, rdi",
        "mov rax, rdx",
        "shr rdx, 32",
        "test eax, eax",
        "jz 2f",
        "xrstor64 [rcx]",
        "jmp 3f",
        "2: fxrstor64 [rcx]",
        "3: mov edi, {ready}",
        "mov ebx, 0x1b1b1b1b",
        "mov ecx, 0x2c2c2c2c",
        "mov edx, 0x3d3d3d3d",
        "mov ebp, 0x4e4e4e4e",
        "mov r8d, 0x5f5f5f5f",
        "mov r9d, 0x60606060",
        "mov r11d, 0x71717171",
        "mov r12d, 0x82828282",
        "mov r13d, 0x93939393",
        "mov r14d, 0xa4a4a4a4",
        "mov r15d, 0xb5b5b5b5",
        "call r10",
        "mov [rip + {found} + {registers} + 0], rax",
        "mov [rip + {found} + {registers} + 8], rbx",
        "mov [rip + {found} + {registers} + 16], rcx",
        "mov [rip + {found} + {registers} + 24], rdx",
        "mov [rip + {found} + {registers} + 32], rsi",
        "mov [rip + {found} + {registers} + 40], rdi",
        "mov [rip + {found} + {registers} + 48], rsp",
        "mov [rip + {found} + {registers} + 56], rbp",
        "mov [rip + {found} + {registers} + 64], r8",
        "mov [rip + {found} + {registers} + 72], r9",
        "mov [rip + {found} + {registers} + 80], r10",
        "mov [rip + {found} + {registers} + 88], r11",
        "mov [rip + {found} + {registers} + 96], r12",
        "mov [rip + {found} + {registers} + 104], r13",
        "mov [rip + {found} + {registers} + 112], r14",
        "mov [rip + {found} + {registers} + 120], r15",
        "pushfq",
        "pop qword ptr [rip + {found} + {registers} + 128]",
        "rdfsbase rax",
        "mov [rip + {found} + {registers} + 136], rax",
        "rdgsbase rax",
        "mov [rip + {found} + {registers} + 144], rax",
        "mov word ptr [rip + {found} + {selectors} + 0], ds",
        "mov word ptr [rip + {found} + {selectors} + 2], es",
        "mov word ptr [rip + {found} + {selectors} + 4], fs",
        "mov word ptr [rip + {found} + {selectors} + 6], gs",
        "mov rax, [rip + {found} + {components}]",
        "mov rdx, rax",
        "shr rdx, 32",
        "test eax, eax",
        "jz 4f",
        "xsave64 [rip + {found}]",
        "jmp 5f",
        "4: fxsave64 [rip + {found}]",
        // What else the program's functions reckon with.
        "5: fninit",
        "mov dword ptr [rsp], 0x1f80",
        "ldmxcsr [rsp]",
        "add rsp, 8",
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
        "ret",
        found = sym FOUND,
        components = const offset_of!(Found, components),
        registers = const offset_of!(Found, registers),
        selectors = const offset_of!(Found, selectors),
        ready = const Call::Ready as u32,
    )
}

/// Puts the value into all registers but the stack pointer, the bases of FS and GS, and into flags, lets
/// DS, ES, FS and GS hold a null selector, and then ends as `how` says.
#[unsafe(naked)]
unsafe extern "C" fn fill_registers(value: u64, entry: u64, components: u64, load: &Area, how: u64) -> ! {
    naked_asm!(
        "mov r10, rsi",
        "mov rbx, rdi",
        "mov rax, rdx",
        "shr rdx, 32",
        "test eax, eax",
        "jz 2f",
        "xrstor64 [rcx]",
        "jmp 3f",
        "2: fxrstor64 [rcx]",
        "3: mov eax, 3",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        // A base is an address of the lower half.
        "mov rax, rbx",
        "shl rax, 20",
        "shr rax, 20",
        "wrfsbase rax",
        "wrgsbase rax",
        // Carry, parity, auxiliary carry, zero, sign, direction, overflow, alignment check, ID.
        "pushfq",
        "or qword ptr [rsp], 0x240cd5",
        "popfq",
        "mov rax, r8",
        "mov rbp, rbx; mov r8, rbx; mov r9, rbx; mov r11, rbx; mov r12, rbx; mov r13, rbx",
        "mov r14, rbx; mov r15, rbx; mov rcx, rbx; mov rdx, rbx; mov rsi, rbx; mov rdi, rbx",
        "cmp eax, 1",
        "je 4f",
        "cmp eax, 2",
        "je 5f",
        "cmp eax, 3",
        "je 6f",
        "cmp eax, 4",
        "je 7f",
        "cmp eax, 5",
        "je 9f",
        // Responds with nothing.
        "mov edi, {respond}",
        "xor esi, esi",
        "xor ecx, ecx",
        "xor edx, edx",
        "and rsp, -16",
        "call r10",
        "ud2",
        // Runs on, its counter in the one register that stays.
        "4: mov rax, rbx",
        "jmp 4b",
        "5: ud2",
        "6: mov edi, {exit}",
        "mov esi, 7",
        "and rsp, -16",
        "call r10",
        "ud2",
        // Makes calls for ever.
        "7: and rsp, -16",
        "8: xor edi, edi",
        "call r10",
        "jmp 8b",
        // Reads strings from a port, which KVM does not complete before it leaves.
        "9: mov edx, 0x10",
        "mov ecx, 4",
        "lea rdi, [rip + {constants}]",
        "cld",
        "rep insb",
        "ud2",
        constants = sym CONSTANTS,
        respond = const Call::Respond as u32,
        exit = const Call::Exit as u32,
    )
}

/// The state components that there are; none without XSAVE.
fn components() -> u64 {
    if __cpuid(1).ecx & 1 << 27 == 0 {
        return 0;
    }
    /// x87, SSE, AVX, and the three of AVX-512: a process may see more.
    const WITH_ROOM: u64 = 0xe7;
    let all = __cpuid_count(0xd, 0);
    (u64::from(all.edx) << 32 | u64::from(all.eax)) & WITH_ROOM
}

/// State to load: the value in all registers of x87 and vectors, control words that mask all faults
/// and differ from those of the start.
fn state_with(value: u64, components: u64) -> Area {
    let mut area = Area([0; 4096]);
    let mut put = |at: usize, bytes: &[u8]| area.0[at..at + bytes.len()].copy_from_slice(bytes);
    // x87: rounds up. Rounds towards zero; all faults have been seen.
    put(0, &0x0b7f_u16.to_le_bytes());
    put(24, &0xffbf_u32.to_le_bytes());
    for register in 0..8 {
        put(32 + 16 * register, &value.to_le_bytes());
        put(32 + 16 * register + 8, &(value as u16).to_le_bytes());
    }
    for half in 0..32 {
        put(160 + 8 * half, &value.to_le_bytes());
    }
    put(512, &components.to_le_bytes());
    for component in (2..9).filter(|component| components & 1 << component != 0) {
        let place = __cpuid_count(0xd, component);
        for at in (place.ebx..place.ebx + place.eax).step_by(8) {
            put(at as usize, &value.to_le_bytes());
        }
    }
    area
}

/// Words of the input, one after the other.
struct Orders(usize);

impl Orders {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        // SAFETY: nothing writes the input any more.
        unsafe { (&raw const INPUT).cast::<u64>().add(self.0 - 1).read_volatile() }
    }
}

fn at(address: u64) -> *mut u64 {
    with_exposed_provenance_mut(address as usize)
}

/// How often the complement of the word is found in the range, and where first. The word that is looked
/// for never lies in memory itself.
fn search(complement: u64, start: u64, length: u64) -> [u64; 2] {
    let (mut count, mut first) = (0, 0);
    for address in (start..start + length).step_by(8) {
        // SAFETY: the range is one that the program may read.
        let word = unsafe { at(address).read_volatile() };
        if black_box(!word) == complement {
            count += 1;
            first = if first == 0 { address } else { first };
        }
    }
    [count, first]
}

/// 0, or the number of the error.
fn number(result: Result<(), CallError>) -> u64 {
    result.map_or_else(|error| error.to_result() as u64, |()| 0)
}

/// A function that returns its first argument plus one: `lea rax, [rdi + 1]`, `ret`.
const CODE: [u8; 8] = [0x48, 0x8d, 0x47, 0x01, 0xc3, 0xcc, 0xcc, 0xcc];

/// How many words of an invocation no other has: identity and seed.
const OWN_WORDS: u64 = 6;
const _: () = assert!(size_of::<Invocation>() - offset_of!(Invocation, identity) == 8 * OWN_WORDS as usize);

/// Words to answer with, in memory of which the heap knows nothing.
struct Answer(usize);

static mut ANSWER: [u64; 1024] = [0; 1024];

impl Answer {
    fn push(&mut self, word: u64) {
        assert!(self.0 < 1024);
        // SAFETY: nothing else uses the words, and there are so many.
        unsafe { (&raw mut ANSWER).cast::<u64>().add(self.0).write(word) };
        self.0 += 1;
    }

    fn extend(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.push(*word));
    }

    fn respond(self) -> ! {
        // SAFETY: so many bytes were written, and nothing writes them any more.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const ANSWER).cast::<u8>(), self.0 * 8) };
        panic!("cannot respond: {}", call::respond(Outcome::Done, &[Bytes::from(bytes)]));
    }
}

fn obey(block: u64, invocation: u64) -> Answer {
    let mut answer = Answer(0);
    let mut orders = Orders(0);
    loop {
        match orders.next() {
            0 => return answer,
            // Fill ADDRESS LENGTH VALUE
            1 => {
                let (start, length, value) = (orders.next(), orders.next(), orders.next());
                for address in (start..start + length).step_by(8) {
                    // SAFETY: the range is one that the program does without.
                    unsafe { at(address).write_volatile(value) };
                }
            }
            // Change rights ADDRESS LENGTH RIGHTS: the result
            2 => {
                let (start, length) = (orders.next(), orders.next() as usize);
                let rights = Rights::from_bits_retain(orders.next());
                // SAFETY: as above.
                answer.push(number(unsafe { set_rights(at(start).cast(), length, rights) }));
            }
            // Fill registers COMPLEMENT HOW
            3 => {
                let (value, how) = (!orders.next(), orders.next());
                let area = state_with(value, components());
                // SAFETY: the program ends there.
                unsafe { fill_registers(value, info().entry.0, components(), &area, how) }
            }
            // Search COMPLEMENT ADDRESS LENGTH: how often, where first
            4 => answer.extend(&search(orders.next(), orders.next(), orders.next())),
            // What was found
            5 => {
                // SAFETY: it is written before the program goes on, and lies there in whole words.
                let found = unsafe { &*(&raw const FOUND).cast::<[u64; size_of::<Found>() / 8]>() };
                answer.extend(found);
            }
            // Say COMPLEMENT, to the log and on both streams
            6 => {
                let bytes = (!orders.next()).to_ne_bytes().map(|byte| b'a' + byte % 26);
                let text = core::str::from_utf8(&bytes).unwrap();
                call::log(Level::Error, text, text).unwrap();
                call::console_write(Stream::Error, &[Bytes::from(text.as_bytes())]).unwrap();
                call::output(&[Bytes::from(text.as_bytes())]).unwrap();
            }
            // Subscribe to interrupts: what there is
            7 => {
                let found = call::wait(EventSources::INTERRUPT, 0).unwrap();
                answer.push(found.bits());
            }
            // Read ADDRESS
            // SAFETY: the machine says whether it may be read.
            8 => answer.push(unsafe { at(orders.next()).read_volatile() }),
            // Have the host's function reply: how long that is
            9 => answer.push(call::host("reply", &[], &mut []).unwrap().1 as u64),
            // What there is of a reply: its length
            10 => answer.push(call::host_reply(0, &mut [0; 64]).unwrap() as u64),
            // Read more input: its length
            11 => answer.push(call::input(&mut [0; 64]).unwrap() as u64),
            // Make code ADDRESS: what it returns
            12 => {
                let page = at(orders.next());
                // SAFETY: the page is one that the program does without; the code is a function.
                answer.push(unsafe {
                    page.write_volatile(u64::from_le_bytes(CODE));
                    set_rights(page.cast(), PAGE as usize, Rights::READ | Rights::EXECUTE).unwrap();
                    core::mem::transmute::<*mut u64, extern "C" fn(u64) -> u64>(page)(41)
                });
            }
            // Have the clock page written: its sequence
            13 => {
                call::clock(0).unwrap();
                // SAFETY: the tender keeps a clock page there.
                answer.push(u64::from(unsafe { at(info().clock.0).cast::<u32>().read_volatile() }));
            }
            // Where things are: block, zeros, constants, thread-local storage
            14 => {
                let base: u64;
                // SAFETY: reading it has no effect.
                unsafe { asm!("rdfsbase {}", out(reg) base) };
                let statics =
                    [(&raw const ZEROS).expose_provenance(), (&raw const CONSTANTS).expose_provenance()];
                answer.extend(&[block, statics[0] as u64, statics[1] as u64, base]);
            }
            // Panic, exit STATUS, fail
            15 => panic!("as it was told to"),
            16 => call::exit(orders.next() as u8),
            17 => panic!("{}", call::respond(Outcome::Failed, &[b"as it was told to"[..].into()])),
            // Is ready once more: the result
            18 => {
                let again = (&raw const INVOCATION).expose_provenance() as u64;
                // SAFETY: the tender refuses it, or fills in an invocation that is not used any more.
                answer.push(unsafe { call::raw(Call::Ready as u64, again, 0, 0, 0) } as u64);
            }
            // Hand over as output ADDRESS LENGTH: the result
            19 => {
                let list = [GuestSlice::new(orders.next(), orders.next())];
                let list = (&raw const list).expose_provenance() as u64;
                // SAFETY: the tender only reads.
                answer.push(unsafe { call::raw(Call::Output as u64, list, 1, 0, 0) } as u64);
            }
            // Copy what the invocation brought all over ADDRESS LENGTH: its words
            20 => {
                let (start, length) = (orders.next(), orders.next());
                let own = invocation + offset_of!(Invocation, identity) as u64;
                // SAFETY: the tender has written them, and writes them no more.
                let word = |index: u64| unsafe { at(own + 8 * (index % OWN_WORDS)).read_volatile() };
                for index in 0..length / 8 {
                    // SAFETY: the range is one that the program does without.
                    unsafe { at(start + 8 * index).write_volatile(word(index)) };
                }
                (0..OWN_WORDS).for_each(|index| answer.push(word(index)));
            }
            order => panic!("unknown order {order}"),
        }
    }
}

#[coracle::main]
fn main() {
    let layout = Layout::from_size_align(BLOCK, LARGE_PAGE as usize).unwrap();
    // SAFETY: the size is not zero.
    let block = unsafe { alloc::alloc::alloc(layout) };
    assert!(!block.is_null());
    // Some of it is not zero when the program is ready.
    for page in (0..2 * LARGE_PAGE as usize).step_by(PAGE as usize * 3) {
        // SAFETY: the block is the program's own.
        unsafe { block.add(page).cast::<usize>().write_volatile(page + 1) };
    }
    let argument = env::args().nth(1);
    let is = |word| argument.as_deref() == Some(word);
    // One of its large pages is split, or all of them.
    let split = if is("split") { BLOCK } else { LARGE_PAGE as usize };
    for large in (0..split).step_by(LARGE_PAGE as usize) {
        // SAFETY: the page is not used for anything else.
        unsafe { set_rights(block.add(large + PAGE as usize), PAGE as usize, Rights::READ) }.unwrap();
    }

    let mut input = (&raw mut INPUT).cast::<u64>();
    let mut invocation = &raw mut INVOCATION;
    if is("heap") {
        // SAFETY: both lie in the block, where nothing else uses these pages.
        unsafe {
            invocation = block.add(INVOCATION_IN_BLOCK).cast();
            input = block.add(INVOCATION_IN_BLOCK + PAGE as usize).cast();
        }
    }
    let buffer = GuestSlice::new(input.expose_provenance() as u64, WORDS as u64 * 8);
    let invocation_address = invocation.expose_provenance() as u64;
    // SAFETY: nothing else uses either; the entry page's function is called as the contract says.
    unsafe {
        (&raw mut (*invocation).buffer).write(buffer);
        let area = state_with(0x5a5a_1234_5678_9abc, components());
        ready(invocation_address, info().entry.0, components(), &area);
        asm!("cld");
        if is("heap") {
            // From here on the orders may take the pages away.
            input.copy_to_nonoverlapping((&raw mut INPUT).cast(), WORDS);
        }
    }
    obey(block.expose_provenance() as u64, invocation_address).respond()
}
