//! A handler of values, with a state that was made before: keeps a till of orders.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use coracle::println;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order<'a> {
    item: &'a str,
    count: u32,
}

#[derive(Serialize)]
struct Receipt {
    number: u32,
    text: String,
}

fn open() -> u32 {
    println!("open");
    41
}

#[coracle::handler(init = open)]
fn sell(last: &mut u32, order: Order<'_>) -> Result<Receipt, &'static str> {
    if order.count == 0 {
        return Err("an order of nothing");
    }
    *last += 1;
    Ok(Receipt { number: *last, text: format!("{} times {}", order.count, order.item) })
}
