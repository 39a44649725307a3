//! Request ids: what a log's entry, a guest's log and a client's complaint have in common.

use hyper::header::HeaderValue;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The field that carries it, both ways.
pub(super) const FIELD: &str = "x-request-id";
/// No id of a client's is longer.
const LONGEST: usize = 128;

/// The id that a client has given if it is a sane one, else a new one.
pub(super) fn of(given: Option<&HeaderValue>) -> HeaderValue {
    match given {
        Some(given) if is_sane(given.as_bytes()) => given.clone(),
        _ => new(),
    }
}

/// Whether an id may stand in logs and fields as it is.
fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

/// An id that no other request of this or another server has. It is no secret.
fn new() -> HeaderValue {
    static SERVER: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:016x}-{:x}", *SERVER, NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::{HeaderValue, of};

    #[test]
    fn a_sane_id_is_kept_and_all_else_gets_a_new_one() {
        let given = |id: &'static str| of(Some(&HeaderValue::from_static(id)));
        assert_eq!(given("ab:1-2_3.4/5+6=@7"), "ab:1-2_3.4/5+6=@7");
        for id in ["", "a b", "a\"b", "a;b", "a".repeat(129).leak()] {
            assert_ne!(given(id), id);
        }
        assert_ne!(of(None), of(None));
    }
}
