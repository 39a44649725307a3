//! The host side of Coracle.

pub mod layout;
pub mod registers;
pub mod report;
