//! What a guest keeps across calls.

use super::machine::Ran;
use crate::support::no_kvm;
use coracle_tender::instance::End;
use coracle_tender::layout::Placement;

#[test]
fn ten_thousand_calls_preserve_registers_vector_state_bases_and_red_zone() {
    if no_kvm() {
        return;
    }
    let ran = Ran::of("keep_state", &["10000"], Placement::Random);
    assert!(matches!(ran.end, End::Exited(0)), "{:x?}", ran.end);
}
