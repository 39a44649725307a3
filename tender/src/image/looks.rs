//! What a file that is not ELF looks like, to tell the person who took it for a program.

use crate::snapshot;
use std::fmt;

/// What a file begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Looks {
    /// It has no bytes.
    Empty,
    /// It begins with `#!`.
    Script,
    /// It begins with `MZ`.
    Windows,
    /// It begins as programs for macOS do.
    Mac,
    /// It is a snapshot, which is run but is no image.
    Snapshot,
    /// It is a WebAssembly module.
    WebAssembly,
    /// It is a static library.
    Archive,
    /// It is compressed, or an archive of compressed files.
    Compressed,
    /// All of its beginning is text.
    Text,
    /// None of these.
    Unknown,
}

impl Looks {
    /// Judges by the first bytes of a file.
    pub(super) fn at(head: &[u8]) -> Looks {
        const BEGINNINGS: &[(&[u8], Looks)] = &[
            (b"#!", Looks::Script),
            (b"MZ", Looks::Windows),
            (b"\xcf\xfa\xed\xfe", Looks::Mac),
            (b"\xca\xfe\xba\xbe", Looks::Mac),
            (&snapshot::format::MAGIC, Looks::Snapshot),
            (b"\0asm", Looks::WebAssembly),
            (b"!<arch>\n", Looks::Archive),
            (b"\x1f\x8b", Looks::Compressed),
            (b"PK\x03\x04", Looks::Compressed),
            (b"\xfd7zXZ", Looks::Compressed),
            (b"\x28\xb5\x2f\xfd", Looks::Compressed),
        ];
        if head.is_empty() {
            return Looks::Empty;
        }
        if let Some((_, looks)) = BEGINNINGS.iter().find(|(beginning, _)| head.starts_with(beginning)) {
            return *looks;
        }
        // The head may end within a character, so bytes beyond ASCII count as text too.
        let text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
        if head.iter().all(text) && head.iter().any(u8::is_ascii) { Looks::Text } else { Looks::Unknown }
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Looks::Empty => "an empty file",
            Looks::Script => "a script",
            Looks::Windows => "a Windows program",
            Looks::Mac => "a macOS program",
            Looks::Snapshot => "a snapshot of a program",
            Looks::WebAssembly => "a WebAssembly module",
            Looks::Archive => "a static library",
            Looks::Compressed => "a compressed file",
            Looks::Text => "a text file",
            Looks::Unknown => "a file of an unknown kind",
        })
    }
}
