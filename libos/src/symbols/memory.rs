//! `memcpy` and its kin, which compilers call on their own.
//!
//! They are written in assembly because a compiler turns a loop that copies bytes into a call of
//! `memcpy`. Sizes up to 128 bytes are done without a loop, by loads and stores that overlap in the
//! middle; larger ones by a loop of 64 bytes; still larger ones by the string instructions, whose
//! microcode is the fastest way once its start has paid off.

mod compare;
mod copy;
mod fill;
mod length;
