//! The ChaCha20 block function (RFC 8439, section 2.3): from one seed as many as one likes.

/// The first half of the block with this key and counter.
pub(super) fn derive(key: &[u8; 32], counter: u64) -> [u8; 32] {
    let mut input = [0; 16];
    input[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for (word, bytes) in input[4..12].iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    input[12] = counter as u32;
    input[13] = (counter >> 32) as u32;

    let mut state = input;
    for _ in 0..10 {
        for column in 0..4 {
            quarter_round(&mut state, [column, column + 4, column + 8, column + 12]);
        }
        for diagonal in 0..4 {
            let at = |row: usize| 4 * row + (diagonal + row) % 4;
            quarter_round(&mut state, [at(0), at(1), at(2), at(3)]);
        }
    }
    let mut output = [0; 32];
    for (bytes, (word, before)) in output.as_chunks_mut::<4>().0.iter_mut().zip(state.iter().zip(input)) {
        *bytes = word.wrapping_add(before).to_le_bytes();
    }
    output
}

fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (left, right) in [(16, 12), (8, 7)] {
        state[a] = state[a].wrapping_add(state[b]);
        state[d] = (state[d] ^ state[a]).rotate_left(left);
        state[c] = state[c].wrapping_add(state[d]);
        state[b] = (state[b] ^ state[c]).rotate_left(right);
    }
}
