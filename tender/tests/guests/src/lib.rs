//! What several test guests share.
#![no_std]

pub mod boot;
pub mod flight;
pub mod hostile;
pub mod random;
pub mod tls;
