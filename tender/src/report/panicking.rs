//! Which frames of a panic say nothing about the program: those between the function that panicked
//! and the call that told the tender. Rust's own short backtraces leave them out too.

use super::Line;

/// How many frames into a trace a panic's own are looked for.
const NEAR: usize = 24;

/// How many lines at the start of a panic's trace are the panic's own. None where names are not
/// known, or where nothing else would be left.
pub(super) fn own_lines(trace: &[Line]) -> usize {
    let is_own = |line: &Line| outermost(line).is_some_and(is_machinery);
    // What comes before the first of them was called by it.
    let Some(first) = trace.iter().take(NEAR).position(is_own) else { return 0 };
    let more = trace.iter().skip(first).take_while(|line| is_own(line)).count();
    Some(first + more).filter(|own| *own < trace.len()).unwrap_or(0)
}

/// The function that a frame was made for; others may be inlined into it.
fn outermost(line: &Line) -> Option<&str> {
    match line {
        Line::Frame { functions, .. } => functions.last().map(|function| function.name.as_str()),
        Line::Repeated { .. } | Line::LeftOut { .. } => None,
    }
}

/// Whether a function of this name does nothing but panic: the panic handler, and what `core` and
/// `alloc` call to get there.
fn is_machinery(name: &str) -> bool {
    let path = name.split('<').next().unwrap_or_default();
    let mut segments = path.split("::");
    match segments.next() {
        Some("core" | "alloc" | "std") => segments.any(|segment| {
            matches!(segment, "panicking" | "handle_alloc_error" | "handle_error" | "capacity_overflow")
                || segment.starts_with("panic_")
                || segment.ends_with("_fail")
                || segment.ends_with("_failed")
        }),
        _ => matches!(
            path.rsplit("::").next(),
            Some(
                "rust_begin_unwind"
                    | "__rust_alloc_error_handler"
                    | "__rdl_alloc_error_handler"
                    | "__rdl_oom"
            )
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_machinery, own_lines};
    use crate::report::{Function, Hex, Line};

    fn trace(names: &[&[&str]]) -> Vec<Line> {
        let function = |name: &&str| Function { name: (*name).to_owned(), ..Function::default() };
        let frame = |(number, names): (usize, &&[&str])| Line::Frame {
            number,
            address: Hex(0),
            place: "image+0x0".to_owned(),
            functions: names.iter().map(function).collect(),
        };
        names.iter().enumerate().map(frame).collect()
    }

    #[test]
    fn the_frames_between_the_call_and_the_function_that_panicked_are_the_panics_own() {
        let dev: [&[&str]; 8] = [
            &["coracle::call::raw"],
            &["coracle::call::panic"],
            &["coracle::panic::report"],
            &["__rustc::rust_begin_unwind"],
            &["core::panicking::panic_fmt"],
            &["core::result::unwrap_failed"],
            &["core::result::Result<u8, app::Error>::unwrap", "app::inner"],
            &["app::main"],
        ];
        assert_eq!(own_lines(&trace(&dev)), 6);
        let release: [&[&str]; 3] = [
            &["coracle::panic::tell", "coracle::panic::report"],
            &["__rustc::rust_begin_unwind", "core::panicking::panic_fmt"],
            &["app::inner", "app::main"],
        ];
        assert_eq!(own_lines(&trace(&release)), 2);
    }

    #[test]
    fn a_panic_while_another_is_told_begins_at_the_inner_one() {
        let names: [&[&str]; 6] = [
            &["coracle::call::panic"],
            &["core::panicking::panic_fmt"],
            &["<app::Text as core::fmt::Display>::fmt"],
            &["__rustc::rust_begin_unwind"],
            &["core::panicking::panic_fmt"],
            &["app::main"],
        ];
        assert_eq!(own_lines(&trace(&names)), 2);
    }

    #[test]
    fn without_names_or_a_panic_in_the_program_all_frames_stay() {
        assert_eq!(own_lines(&trace(&[&[], &[], &[]])), 0);
        assert_eq!(own_lines(&trace(&[&["coracle::call::panic"], &["app::main"]])), 0);
        assert_eq!(own_lines(&trace(&[&["coracle::call::panic"], &["core::panicking::panic_fmt"]])), 0);
    }

    #[test]
    fn what_only_panics_is_known_by_its_name() {
        for name in [
            "core::panicking::assert_failed::<i32, i32>",
            "core::option::expect_failed",
            "core::slice::index::slice_index_fail::do_panic::runtime",
            "core::cell::panic_already_borrowed",
            "alloc::alloc::handle_alloc_error::rt_error",
            "alloc::raw_vec::handle_error",
            "__rustc::__rdl_alloc_error_handler",
        ] {
            assert!(is_machinery(name), "{name}");
        }
        for name in
            ["app::panicking::run", "core::fmt::write", "app::check_failed", "alloc::vec::Vec<T>::push"]
        {
            assert!(!is_machinery(name), "{name}");
        }
    }
}
