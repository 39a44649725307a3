//! One-shot execution: snapshots, their instances, what a call leaves behind, and the files.

mod backends;
mod calls;
mod carried;
mod cut;
mod descriptors;
mod elsewhere;
mod files;
mod forged;
mod forging;
mod fresh;
mod likeness;
mod pages;
mod sharing;
mod tables;
mod tables_forged;
mod traces;
mod watched;
