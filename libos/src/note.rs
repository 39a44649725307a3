//! The notes that make a program an image.

use coracle_hypercall::note::AbiNote;

/// Says which version of the contract this libos speaks.
#[used]
#[unsafe(link_section = ".note.coracle")]
static ABI: AbiNote = AbiNote::CURRENT;

/// Asks the tender for permissions beyond the ordinary, named as in
/// [`Permissions`](coracle_hypercall::note::Permissions).
///
/// ```no_run
/// # #![no_std]
/// coracle::permissions!(CODE_AT_RUN_TIME);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! permissions {
    ($first:ident $(| $more:ident)* $(,)?) => {
        const _: () = {
            use $crate::hypercall::note::{Permissions, ValueNote};
            #[used]
            #[unsafe(link_section = ".note.coracle")]
            static PERMISSIONS: ValueNote =
                ValueNote::permissions(Permissions::$first$(.union(Permissions::$more))*);
        };
    };
}
