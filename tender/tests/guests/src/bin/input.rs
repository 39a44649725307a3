//! Reads its input in the way that its argument names, and prints what it got.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use coracle::io::{BufRead, Error, Read, stdin};
use coracle::{ExitCode, env, println};

#[coracle::main]
fn main() -> Result<ExitCode, Error> {
    match env::args().nth(1).as_deref() {
        Some("lines") => {
            for line in stdin().lines() {
                match line {
                    Ok(line) => println!("{} {line:?}", line.len()),
                    Err(error) => println!("{error}"),
                }
            }
        }
        Some("line") => {
            let mut line = String::from("> ");
            let length = stdin().read_line(&mut line)?;
            println!("{length} {line:?}");
        }
        Some("end") => {
            let mut bytes = Vec::from(*b"begin");
            let length = stdin().read_to_end(&mut bytes)?;
            assert_eq!(bytes.len(), 5 + length);
            assert!(bytes.starts_with(b"begin"));
            println!("{length} {}", sum(&bytes[5..]));
        }
        Some("text") => {
            let mut text = String::from("> ");
            match stdin().read_to_string(&mut text) {
                Ok(length) => println!("{length} {text:?}"),
                Err(error) => println!("{error}, {text:?}"),
            }
        }
        // A part by each way, one after the other.
        Some("mixed") => {
            let mut input = stdin().lock();
            let (mut line, mut four, mut rest) = (String::new(), [0; 4], Vec::new());
            input.read_line(&mut line)?;
            input.read_exact(&mut four).expect("four bytes");
            let held = input.fill_buf()?[0];
            input.consume(1);
            input.read_to_end(&mut rest)?;
            assert_eq!(input.read(&mut four)?, 0);
            println!("{line:?} {four:?} {held} {:?}", String::from_utf8_lossy(&rest));
        }
        _ => return Ok(ExitCode::from(2)),
    }
    Ok(ExitCode::SUCCESS)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}
