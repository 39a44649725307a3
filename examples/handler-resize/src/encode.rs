//! Pictures into PNG files.

use crate::Picture;
use alloc::vec::Vec;
use miniz_oxide::deflate::compress_to_vec_zlib;

/// A file with the picture.
pub(crate) fn png(picture: &Picture) -> Vec<u8> {
    // Before each row stands how it differs from what it is: here, by the pixel to the left.
    const SUB: u8 = 1;
    let mut rows = Vec::with_capacity(picture.bytes.len() + picture.height);
    for row in picture.bytes.chunks_exact(picture.width * 4) {
        rows.push(SUB);
        rows.extend_from_slice(&row[..4]);
        rows.extend(row[4..].iter().zip(row).map(|(byte, left)| byte.wrapping_sub(*left)));
    }

    let mut header = Vec::new();
    header.extend_from_slice(&(picture.width as u32).to_be_bytes());
    header.extend_from_slice(&(picture.height as u32).to_be_bytes());
    // Eight bits for each of four channels; the usual compression, filters, and order of rows.
    header.extend_from_slice(&[8, 6, 0, 0, 0]);

    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &compress_to_vec_zlib(&rows, 6));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    file.extend_from_slice(&(content.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(name);
    file.extend_from_slice(content);
    let sum = checksum(&file[start..]);
    file.extend_from_slice(&sum.to_be_bytes());
}

/// CRC-32 as PNG has it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
