//! The host side of Coracle.

pub mod image;
pub mod layout;
pub mod registers;
