#![no_std]
//! The guest side of Coracle.
