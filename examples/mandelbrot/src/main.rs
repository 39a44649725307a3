//! Draws the Mandelbrot set as a picture in PPM format on standard output.
//!
//! The arithmetic is chosen at run time: AVX-512, AVX2 or plain, whatever the machine has. All give
//! the same picture to the last bit, for they do the same operations in the same order.
//!
//! ```console
//! $ cargo run --release -- 1200 800 1000 > mandelbrot.ppm
//! $ cargo run --release -- 1200 800 1000 scalar > the-same.ppm
//! ```
#![no_std]
#![no_main]

extern crate alloc;

mod cpu;
mod points;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use coracle::io::{Error, Write, stdout};
use coracle::{ExitCode, env, eprintln};
use points::{Kernel, Row};

#[coracle::main]
fn main() -> Result<ExitCode, Error> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let Some((width, height, iterations)) = size(&arguments) else {
        eprintln!("give the picture's width, its height, and the iterations for each point");
        return Ok(ExitCode::from(2));
    };
    let wanted = arguments.get(3).map_or("best", |name| &**name);
    let Some(kernel) = Kernel::named(wanted) else {
        eprintln!(
            "this machine has no {wanted:?}: there is {}",
            Kernel::names().collect::<Vec<_>>().join(", ")
        );
        return Ok(ExitCode::from(2));
    };

    let mut output = stdout().lock();
    let mut header = String::new();
    let _ = core::fmt::write(&mut header, format_args!("P6\n{width} {height}\n255\n"));
    output.write_all(header.as_bytes())?;

    // The picture shows 3 units of the plane across, around -0.75.
    let step = 3.0 / f64::from(width);
    let left = -0.75 - step * f64::from(width) / 2.0;
    let top = step * f64::from(height) / 2.0;
    let mut counts = vec![0; width as usize];
    let mut line = vec![0; width as usize * 3];
    for y in 0..height {
        let row = Row { left, step, y: top - step * f64::from(y), iterations };
        kernel.count(&row, &mut counts);
        for (pixel, &count) in line.chunks_exact_mut(3).zip(&counts) {
            pixel.copy_from_slice(&colour(count, iterations));
        }
        output.write_all(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn size(arguments: &[impl AsRef<str>]) -> Option<(u32, u32, u32)> {
    let number = |index: usize, default| match arguments.get(index) {
        None => Some(default),
        Some(text) => text.as_ref().parse().ok().filter(|number| (1..=1 << 20).contains(number)),
    };
    Some((number(0, 800)?, number(1, 600)?, number(2, 256)?))
}

/// Black inside, from blue over white to brown outside.
fn colour(count: u32, iterations: u32) -> [u8; 3] {
    if count == iterations {
        return [0; 3];
    }
    let wave = |phase: u32| {
        let position = (count * 8 + phase) % 512;
        position.min(511 - position) as u8
    };
    [wave(0), wave(40), wave(120)]
}
