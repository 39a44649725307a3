//! Takes a picture, JPEG or PNG, and gives a thumbnail of it, a PNG picture, whose longer side has 128
//! pixels or as many as the first argument says.
//!
//! ```console
//! $ cargo run --release < picture.jpg > thumbnail.png
//! $ coracle invoke target/release/handler-resize --input picture.jpg -- 256 > larger.png
//! ```
#![no_std]
#![no_main]

extern crate alloc;

mod decode;
mod encode;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use coracle::env;
use resize::Pixel::RGBA8P;
use resize::Type::Lanczos3;
use rgb::{FromSlice, RGBA8};

/// Rows from the top, each pixel as red, green, blue and opacity.
struct Picture {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// What was found out before the first picture comes.
struct Setup {
    longer_side: usize,
}

fn setup() -> Setup {
    let side = env::args().nth(1).map_or(Ok(128), |side| side.parse());
    Setup { longer_side: side.ok().filter(|side| (1..=4096).contains(side)).expect("1 to 4096 pixels") }
}

#[coracle::handler(init = setup)]
fn thumbnail(setup: &Setup, input: &[u8]) -> Result<Vec<u8>, String> {
    let picture = decode::decode(input)?;
    let (width, height) = fitting(picture.width, picture.height, setup.longer_side);
    let mut smaller = vec![RGBA8::default(); width * height];
    resize::new(picture.width, picture.height, width, height, RGBA8P, Lanczos3)
        .and_then(|mut resizer| resizer.resize(picture.bytes.as_rgba(), &mut smaller))
        .map_err(|error| error.to_string())?;
    let bytes = rgb::bytemuck::cast_slice(&smaller).to_vec();
    Ok(encode::png(&Picture { width, height, bytes }))
}

/// Width and height in the same proportion, of which the longer is `side` at most.
fn fitting(width: usize, height: usize, side: usize) -> (usize, usize) {
    let longer = width.max(height);
    let side = side.min(longer);
    ((width * side / longer).max(1), (height * side / longer).max(1))
}
