//! Machine code for the guest `run_code`, written as assembly in the test.

use super::machine::Ran;
use coracle_tender::layout::Placement;
use std::fmt::Write;

/// The room that each piece of code has.
pub(super) const ROOM: usize = 128;

/// The address of a piece of code, with which `run_code` is made to run it.
pub(super) type Code = unsafe extern "C" fn();

/// Assembles instructions into a piece of code that ends in `ud2`: so a guest that comes to its end
/// shows its registers.
macro_rules! code {
    ($($line:literal),+ $(,)?) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn code() {
            core::arch::naked_asm!("20:", $($line,)+ "ud2", ".org 20b + 128, 0xcc")
        }
        code as $crate::rights::code::Code
    }};
}
pub(super) use code;

/// The bytes of a piece of code.
pub(super) fn bytes(code: Code) -> Vec<u8> {
    let start = (code as *const ()).cast::<[u8; ROOM]>();
    // SAFETY: `code!` fills exactly so many bytes.
    unsafe { start.read() }.to_vec()
}

/// Code as an argument of `run_code`.
pub(super) fn hexadecimal(code: &[u8]) -> String {
    code.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// Runs a piece of code in a guest.
pub(super) fn run(code: Code) -> Ran {
    run_bytes(&bytes(code))
}

/// Runs bytes as code in a guest.
pub(super) fn run_bytes(code: &[u8]) -> Ran {
    Ran::of("run_code", &[&hexadecimal(code)], Placement::Random)
}

/// Runs bytes as code at an offset in a page.
pub(super) fn run_at(offset: u64, code: &[u8]) -> Ran {
    Ran::of("run_code", &[&hexadecimal(code), &offset.to_string()], Placement::Random)
}
