//! The first program of a machine that `cargo xtask test --on` boots.
//!
//! It is alone with the kernel: it mounts what programs expect, loads KVM, runs each test in a process
//! of its own, and switches the machine off.

mod machine;
mod test;

use lane_init::{Event, PLAN, Plan};
use std::fs::File;
use std::io::{self, Write};

/// Where events go.
const EVENTS: &str = "/dev/ttyS0";

/// Tells the other side.
struct Line(File);

impl Line {
    fn open() -> io::Result<Line> {
        let port = File::options().write(true).open(EVENTS)?;
        machine::raw(&port)?;
        Ok(Line(port))
    }

    fn tell(&mut self, event: &Event) {
        let Ok(mut text) = serde_json::to_string(event) else { return };
        text.push('\n');
        // Where the other side does not listen any more, there is nobody to tell.
        let _ = self.0.write_all(text.as_bytes());
    }
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("lane-init is the first program of a machine: cargo xtask test --on LANE");
        std::process::exit(2);
    }
    if let Err(reason) = machine::mount() {
        println!("lane-init: {reason}");
        machine::power_off();
    }
    match Line::open() {
        Ok(mut line) => {
            if let Err(reason) = run(&mut line) {
                line.tell(&Event::Broken(reason));
            }
        }
        Err(reason) => println!("lane-init: {EVENTS}: {reason}"),
    }
    machine::power_off();
}

/// Does what the plan says.
fn run(line: &mut Line) -> Result<(), String> {
    let plan = std::fs::read(PLAN).map_err(|reason| format!("{PLAN}: {reason}"))?;
    let plan: Plan = serde_json::from_slice(&plan).map_err(|reason| format!("{PLAN}: {reason}"))?;
    std::fs::metadata(&plan.program).map_err(|reason| format!("{}: {reason}", plan.program))?;
    machine::load(&plan.modules)?;
    machine::open_kvm_to_its_group()?;
    line.tell(&Event::Ready(machine::description()));
    for name in &plan.tests {
        line.tell(&Event::Begin(name.clone()));
        let (outcome, fewer) = test::run(&plan, name);
        fewer.into_iter().for_each(|fewer| line.tell(&Event::Fewer(fewer)));
        line.tell(&Event::End(outcome));
    }
    line.tell(&Event::Done(machine::complaints()));
    Ok(())
}
