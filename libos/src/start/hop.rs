//! The hop: an image that Linux itself started replaces itself by the tender, which then boots it.
//!
//! That makes plain `cargo run` and `./program` boot a virtual machine without any configuration: the
//! process becomes `coracle run PROGRAM -- ARGUMENTS…` with the same environment. The tender is
//! looked for at `$CORACLE`, then beside the program, then in the folder above (Cargo puts examples and
//! tests with a harness of their own into folders beside its programs), then in `PATH`.

use super::arguments::ArgumentBlock;
use super::linux;
use super::path::Path;
use coracle_hypercall::exit;
use core::ffi::{CStr, c_char};

const COMMAND: &[u8] = b"coracle";

/// Becomes the tender, or says why not and ends with the status of a tender that cannot start.
pub(super) fn hop(block: &ArgumentBlock) -> ! {
    let mut image = Path::new();
    if let Err(errno) = image.read_link(c"/proc/self/exe") {
        fail(&[b"cannot find out where this program lies (/proc/self/exe): ", errno.words().as_bytes()]);
    }
    if was_taken_for_the_tender(block, &image) {
        fail(&[
            image.bytes(),
            b" is a Coracle image itself, but was found where the `coracle` command should be",
        ]);
    }
    let arguments = tender_arguments(block, &image);
    let attempt = |tender: &[&[u8]]| {
        // SAFETY: both lists are of C strings and end with null.
        unsafe { linux::execute(Path::joined(tender).as_ptr(), arguments, block.environment) }
    };

    if let Some(chosen) = variable(block, b"CORACLE=") {
        let errno = attempt(&[chosen]);
        fail(&[b"cannot start the tender that CORACLE names, ", chosen, b": ", errno.words().as_bytes()]);
    }
    let folder = image.folder();
    attempt(&[folder, b"/", COMMAND]);
    attempt(&[folder, b"/../", COMMAND]);
    if let Some(path) = variable(block, b"PATH=") {
        for folder in path.split(|&byte| byte == b':') {
            // An empty entry stands for the current folder.
            let folder = if folder.is_empty() { b"." } else { folder };
            attempt(&[folder, b"/", COMMAND]);
        }
    }
    fail(&[
        image.bytes(),
        b" runs as a virtual machine, and there is no `coracle` command to start it.\n\
          Get it with `cargo install coracle-tender` or, from a clone of Coracle's repository,\n\
          `cargo install --locked --path tender`; or say where it is: CORACLE=/path/to/coracle\n\
          (looked for beside the program, in the folder above, and in PATH)",
    ])
}

/// Whether this process is already the result of a hop: then what was taken for a tender is this
/// very image, and another hop would lead here again, for ever.
#[inline(never)]
fn was_taken_for_the_tender(block: &ArgumentBlock, image: &Path) -> bool {
    block.count >= 3 && argument(block, 1) == b"run" && argument(block, 2) == image.bytes()
}

/// `coracle run IMAGE -- ARGUMENTS…` as a list that ends with null.
#[inline(never)]
fn tender_arguments(block: &ArgumentBlock, image: &Path) -> *const *const c_char {
    let own = [c"coracle".as_ptr(), c"run".as_ptr(), image.as_ptr(), c"--".as_ptr()];
    // One for each of ours, those after the program's name, and null.
    let length = own.len() + block.count + 1;
    let list: *mut *const c_char = match linux::map(length * size_of::<*const c_char>()) {
        Ok(memory) => memory.cast(),
        Err(_) => fail(&[b"there is no memory for its arguments"]),
    };
    // SAFETY: the list is fresh, has room for `own` and for `count` more, and is all null.
    unsafe {
        list.copy_from_nonoverlapping(own.as_ptr(), own.len());
        for index in 1..block.count {
            list.add(own.len() + index - 1).write(*block.arguments.add(index));
        }
    }
    list
}

/// An argument, empty where there is none.
#[inline(never)]
fn argument(block: &ArgumentBlock, index: usize) -> &[u8] {
    if index >= block.count {
        return b"";
    }
    // SAFETY: there are `count` arguments, all C strings.
    unsafe { CStr::from_ptr(*block.arguments.add(index)) }.to_bytes()
}

/// The value of the environment variable whose name and equals sign are given, unless it is empty.
#[inline(never)]
fn variable<'a>(block: &'a ArgumentBlock, name: &[u8]) -> Option<&'a [u8]> {
    let mut entry = block.environment;
    loop {
        // SAFETY: the list is of C strings and ends with null, which ends the loop.
        let text = unsafe {
            if (*entry).is_null() {
                return None;
            }
            CStr::from_ptr(*entry).to_bytes()
        };
        match text.strip_prefix(name) {
            Some(value) if !value.is_empty() => return Some(value),
            // SAFETY: that was not the last entry.
            _ => entry = unsafe { entry.add(1) },
        }
    }
}

/// Says why the hop failed and ends the process.
#[inline(never)]
fn fail(parts: &[&[u8]]) -> ! {
    linux::write_error(b"coracle: ");
    for part in parts {
        linux::write_error(part);
    }
    linux::write_error(b"\n");
    linux::exit(exit::TENDER)
}
