//! Guests whose time is up.

use crate::support::{guest, no_kvm, output, run};
use coracle_hypercall::exit;

#[test]
fn a_guest_that_waits_for_ever_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&["--timeout", "200ms"], guest("wait_forever"), &[]));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
}
