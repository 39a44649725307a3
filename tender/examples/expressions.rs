//! Evaluates expressions that nobody has looked at: each in a virtual machine of its own, which is gone
//! when its time or its memory is.
//!
//! ```console
//! $ cargo build --release --manifest-path examples/Cargo.toml --package handler-expressions
//! $ cargo run --release --example expressions -- examples/target/release/handler-expressions
//! $ cargo run --release --example expressions -- examples/target/release/handler-expressions '1 + 2'
//! ```

use coracle_tender::image::Image;
use coracle_tender::instance::Config;
use coracle_tender::machine::{Backend, Host};
use coracle_tender::pool::{CallError, Limits, Pool};
use coracle_tender::snapshot::Snapshot;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Good ones and bad ones.
const EXPRESSIONS: [&str; 8] = [
    "1 + 2 * (3 - 5 / 5) - 6",
    "fib(n) = if(n < 2, n, fib(n - 1) + fib(n - 2)); fib(20)",
    "3 * price(2)",
    "price(99)",
    "1 + (2 * 3",
    // Recursion without end, work without end, and an expression that is itself too much.
    "f(x) = f(x + 1); f(0)",
    "fib(n) = if(n < 2, n, fib(n - 1) + fib(n - 2)); fib(80)",
    "open(1)",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().ok_or("which image? See the first lines of this example.")?;
    let given: Vec<String> = arguments.collect();

    let host = Arc::new(Host::open(Backend::of_environment()?)?);
    let image = Arc::new(Image::open(Path::new(&image))?);
    let (snapshot, _) = Snapshot::take(&host, &image, &Config::default(), Duration::from_secs(10))?;
    let pool = Pool::builder(Arc::new(snapshot))
        .deadline(Duration::from_millis(250))
        .memory(16 << 20)
        .output(1024)
        .function("price", |[item]: [f64; 1]| match item {
            1.0 => Ok(9.75),
            2.0 => Ok(2.5),
            _ => Err("no price is known"),
        })
        .build()?;

    let chosen = if given.is_empty() { EXPRESSIONS.map(str::to_owned).to_vec() } else { given };
    for expression in chosen {
        let begin = Instant::now();
        let result = pool.call(expression.as_bytes(), Limits::new());
        let took = begin.elapsed();
        match result {
            Ok(output) => {
                println!("{expression} = {} ({took:.0?})", String::from_utf8_lossy(&output.bytes));
            }
            Err(CallError::Failed { reason, .. }) => println!("{expression}: wrong: {reason} ({took:.0?})"),
            Err(error) => println!("{expression}: refused: {error} ({took:.0?})"),
        }
    }
    Ok(())
}
