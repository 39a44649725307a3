//! Requests in clean instances, against servers that do the same in other ways.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::printed_number;
use crate::bench::programs::Programs;
use crate::here::Backend;
use crate::shell::{Context, Failure, Result};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

pub(super) fn experiments(programs: &Programs, quick: bool) -> Vec<Experiment<'_>> {
    vec![
        experiment("serve", Place::Anywhere, programs, quick),
        experiment("serve-apart", Place::Apart, programs, quick),
    ]
}

/// Where server and clients run.
#[derive(Clone, Copy)]
enum Place {
    /// On all CPUs, where clients take time from the server.
    Anywhere,
    /// The server on the first CPU and its clients on the second.
    Apart,
}

impl Place {
    fn server(self, command: Command) -> Command {
        self.on("0", command)
    }

    fn clients(self, command: Command) -> Command {
        self.on("1", command)
    }

    fn on(self, cpu: &str, command: Command) -> Command {
        match self {
            Place::Anywhere => command,
            Place::Apart => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", cpu]).arg(command.get_program()).args(command.get_args());
                pinned
            }
        }
    }
}

fn experiment<'a>(name: &'static str, place: Place, programs: &'a Programs, quick: bool) -> Experiment<'a> {
    let (turns, seconds) = if quick { (1, "0.5") } else { (9, "3") };
    let mut serve = Experiment::new(name, turns);

    let load = move |server: Result<Server>| {
        let server = server?;
        printed_number(place.clients(programs.http(&["load", &server.port, seconds])))
    };
    let yardstick = move |arguments: &[&str]| load(yardstick(place.server(programs.http(arguments))));
    let what = match place {
        Place::Anywhere => "requests, 64 connections",
        Place::Apart => "requests, clients on a CPU of their own",
    };
    let processes =
        serve.subject("hyper with a process for each request", Unit::EventsPerSecond, move || {
            yardstick(&["spawn", "cat"])
        });
    let native =
        serve.subject("hyper alone, no isolation", Unit::EventsPerSecond, move || yardstick(&["native"]));
    for &backend in &programs.backends {
        let ours = serve.subject("coracle serve", Unit::EventsPerSecond, move || {
            load(Server::start(place.server(programs.serve(backend)), |child| {
                child.stderr.take().map(|pipe| Box::new(pipe) as _)
            }))
        });
        let (spinning_goal, processes_goal) = match backend {
            Backend::Kvm => (Goal::AtLeast(0.85), Goal::AtLeast(5.0)),
            Backend::Process => (Goal::None, Goal::None),
        };
        let spinning =
            serve.subject("hyper that spins as long as a clean call", Unit::EventsPerSecond, move || {
                // How long a call takes without HTTP, measured just now.
                let call = printed_number(programs.call(backend, "call", &[1, 2000]))?;
                yardstick(&["spin", &format!("{call:.0}")])
            });
        serve.row(backend, what, ours, Measure::RatioTo(spinning), spinning_goal);
        serve.row(backend, what, ours, Measure::RatioTo(processes), processes_goal);
        serve.row(backend, what, ours, Measure::RatioTo(native), Goal::None);
    }
    serve
}

/// A server of the bench's own.
fn yardstick(command: Command) -> Result<Server> {
    Server::start(command, |child| child.stdout.take().map(|pipe| Box::new(pipe) as _))
}

/// A server that runs until this is dropped.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    /// Starts one that tells its port at the end of a line: in which stream, `stream` says.
    fn start(
        mut command: Command,
        stream: impl FnOnce(&mut Child) -> Option<Box<dyn Read + Send>>,
    ) -> Result<Server> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context(|| "starting a server".to_owned())?;
        let stream =
            stream(&mut child).ok_or_else(|| Failure::new("a server without a stream".to_owned()))?;
        let mut server = Server { child, port: String::new() };
        let mut lines = BufReader::new(stream).lines();
        for line in lines.by_ref() {
            let line = line.context(|| "reading what a server says".to_owned())?;
            let digits = line.rsplit(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
            let tells = line.contains("listening on http") || digits == line;
            if tells && !digits.is_empty() {
                digits.clone_into(&mut server.port);
                // What it says later is read, so that it never waits for that.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
        }
        Err(Failure::new("a server ended before it listened".to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
