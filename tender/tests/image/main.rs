//! Images: what is taken, what is refused and why, and that no file does harm. None of this needs
//! KVM. The files are made byte by byte, see `builder`.

mod builder;
mod features;
mod inspection;
mod largest;
mod refusals;
mod robustness;
