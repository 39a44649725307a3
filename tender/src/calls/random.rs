//! Random bytes for one run after the other, drawn from the host's kernel for many runs at once.

use std::io;

/// The bytes that one run takes: its identity and its seed.
pub(crate) const RUN: usize = 16 + 32;
/// For how many runs are drawn at once.
const RUNS: usize = 64;

/// Bytes that nobody has seen yet. What is given out is wiped.
#[derive(Default)]
pub struct Random {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Random {
    /// Bytes for one run.
    pub(super) fn draw(&mut self) -> io::Result<[u8; RUN]> {
        if self.bytes.len() < RUN {
            self.bytes.resize(RUN * RUNS, 0);
            // SAFETY: the buffer has that length. A signal may cut so long a request short.
            let drawn = unsafe { libc::getrandom(self.bytes.as_mut_ptr().cast(), self.bytes.len(), 0) };
            if drawn < RUN as isize {
                self.bytes.clear();
                return Err(io::Error::last_os_error());
            }
            self.bytes.truncate(drawn as usize);
        }
        let rest = self.bytes.len() - RUN;
        let mut run = [0; RUN];
        if let Some(last) = self.bytes.get_mut(rest..) {
            run.copy_from_slice(last);
            last.fill(0);
        }
        self.bytes.truncate(rest);
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::{RUN, RUNS, Random};
    use std::collections::HashSet;

    #[test]
    fn no_run_gets_the_bytes_of_another() {
        let mut random = Random::default();
        let drawn: HashSet<[u8; RUN]> = (0..3 * RUNS).map(|_| random.draw().expect("bytes")).collect();
        assert_eq!(drawn.len(), 3 * RUNS);
    }
}
