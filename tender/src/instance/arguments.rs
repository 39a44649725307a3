//! The argument block on the guest's stack (System V ABI for AMD64, section 3.4.1).

use super::Config;
use crate::image::Image;
use crate::layout::{Physical, Places};
use crate::memory::{Memory, OutOfMemory};
use coracle_hypercall::boot::AT_CORACLE;
use coracle_hypercall::memory::PAGE;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Why arguments cannot be handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// They take more than a quarter of the stack.
    #[error(
        "arguments and environment take {length} bytes, and {limit} is the most that this guest's stack takes: pass fewer, or a larger --mem"
    )]
    TooLong {
        /// What they take.
        length: u64,
        /// What they may take.
        limit: u64,
    },
    /// One holds a NUL byte.
    #[error("an argument or environment variable contains a NUL byte")]
    Nul,
    /// The block lies outside of memory.
    #[error("cannot write the argument block: {0}")]
    Memory(String),
}

impl From<OutOfMemory> for ArgumentError {
    fn from(error: OutOfMemory) -> ArgumentError {
        ArgumentError::Memory(error.to_string())
    }
}

/// Types of the auxiliary vector (Linux, include/uapi/linux/auxvec.h).
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_ENTRY: u64 = 9;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// Writes the block and answers the guest-virtual address that the stack pointer starts with.
pub(super) fn write(
    memory: &Memory,
    image: &Image,
    physical: &Physical,
    places: &Places,
    config: &Config,
    random: &[u8; 16],
) -> Result<u64, ArgumentError> {
    let strings = strings(config)?;
    let count = config.arguments.len() + config.environment.len();
    let bytes = random.len() as u64 + strings.iter().map(|string| string.len() as u64).sum::<u64>();
    let mut vector =
        vec![(AT_PAGESZ, PAGE), (AT_ENTRY, image.entry().wrapping_add(places.bias)), (AT_SECURE, 0)];
    if let Some(headers) = image.program_headers() {
        vector.push((AT_PHDR, headers.address.wrapping_add(places.bias)));
        vector.push((AT_PHENT, u64::from(headers.entry_size)));
        vector.push((AT_PHNUM, u64::from(headers.count)));
    }
    vector.push((AT_CORACLE, places.boot));

    // argc, the pointers with their two ends, the vector with three more entries.
    let words = 1 + count as u64 + 2 + 2 * (vector.len() as u64 + 3);
    let limit = physical.stack.length / 4;
    let length = words * 8 + bytes;
    if length > limit {
        return Err(ArgumentError::TooLong { length, limit });
    }
    let top = places.stack.end() - places.stack_skip;
    let strings_at = top - bytes;
    let start = (strings_at - words * 8) & !15;

    let random_at = strings_at;
    let mut at = random_at + random.len() as u64;
    let mut text = random.to_vec();
    let mut pointers = Vec::with_capacity(count);
    for string in &strings {
        pointers.push(at);
        at += string.len() as u64;
        text.extend_from_slice(string);
    }
    vector.push((AT_RANDOM, random_at));
    vector.push((AT_EXECFN, pointers.first().copied().unwrap_or(0)));
    vector.push((0, 0));

    let (arguments, environment) = pointers.split_at(config.arguments.len());
    let mut block = vec![config.arguments.len() as u64];
    block.extend_from_slice(arguments);
    block.push(0);
    block.extend_from_slice(environment);
    block.push(0);
    block.extend(vector.into_iter().flat_map(|(kind, value)| [kind, value]));
    let block: Vec<u8> = block.into_iter().flat_map(u64::to_le_bytes).collect();

    let to_physical = |address: u64| physical.stack.start + (address - places.stack.start);
    memory.write(to_physical(start), &block)?;
    memory.write(to_physical(strings_at), &text)?;
    Ok(start)
}

/// All strings in the order of their pointers, each with its NUL.
fn strings(config: &Config) -> Result<Vec<Vec<u8>>, ArgumentError> {
    let environment = config.environment.iter().map(|(key, value)| {
        let mut pair = key.clone();
        pair.push("=");
        pair.push(value);
        pair
    });
    config.arguments.iter().cloned().chain(environment).map(|string| with_nul(&string)).collect()
}

fn with_nul(string: &OsStr) -> Result<Vec<u8>, ArgumentError> {
    let bytes = string.as_bytes();
    if bytes.contains(&0) {
        return Err(ArgumentError::Nul);
    }
    Ok([bytes, &[0]].concat())
}
