//! The configuration's file, and what it and the command line say together.

use super::options::{LogFormat, Options};
use super::routes::{Route, RouteError};
use super::value;
use crate::confine::Confinement;
use crate::machine::Chosen;
use hyper::header::HeaderValue;
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read it: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file says what nobody understands.
    #[error("{}: {error}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The reason, with the line.
        error: String,
    },
    /// A route is none.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Nothing to serve.
    #[error("nothing to serve: name an image or a snapshot, or a --config with a [[function]] in it")]
    Nothing,
    /// Two functions for one route.
    #[error("the route {0} leads to two functions: give each a route of its own, as in /name=PROGRAM")]
    Twice(String),
    /// A number that makes no sense.
    #[error("{name} is {value}: it is {range}")]
    Range {
        /// What it is called in the file.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// No program after the `=`.
    #[error("\"{0}\" names no program: say ROUTE=PROGRAM, as in /name=target/release/program")]
    NoProgram(String),
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    listen: Vec<SocketAddr>,
    threads: Option<u16>,
    log: Option<LogFormat>,
    per_client: Option<u32>,
    connections: Option<u32>,
    #[serde(deserialize_with = "duration")]
    receive: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    drain: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    fresh_layout: Option<Duration>,
    function: Vec<FileFunction>,
}

/// A function of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileFunction {
    route: String,
    program: PathBuf,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default, deserialize_with = "size")]
    mem: Option<u64>,
    #[serde(default, deserialize_with = "duration")]
    deadline: Option<Duration>,
    #[serde(default, deserialize_with = "size")]
    body: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    output: Option<u64>,
    #[serde(default, deserialize_with = "field")]
    content_type: Option<HeaderValue>,
    instances: Option<u32>,
    queue: Option<u32>,
}

/// A number, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a text with a unit, as in \"5s\" or \"16M\"")]
enum Value {
    Number(u64),
    Fraction(f64),
    Text(String),
}

impl Value {
    fn read<'de, D: Deserializer<'de>, T>(
        from: D,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::Number(number) => number.to_string(),
            Value::Fraction(number) => number.to_string(),
            Value::Text(text) => text,
        };
        parse(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Value::read(from, value::size)
}

fn field<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HeaderValue>, D::Error> {
    let text = String::deserialize(from)?;
    HeaderValue::try_from(text).map(Some).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    Value::read(from, value::duration)
}

/// What is served, and how.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) threads: Option<u16>,
    pub(super) log: LogFormat,
    pub(super) quiet: bool,
    pub(super) backend: Chosen,
    pub(super) confinement: Confinement,
    pub(super) per_client: Option<u32>,
    pub(super) connections: Option<u32>,
    pub(super) receive: Duration,
    pub(super) drain: Duration,
    pub(super) fresh_layout: Option<Duration>,
    pub(super) functions: Vec<FunctionSettings>,
}

/// One function.
#[derive(Debug, Clone)]
pub(super) struct FunctionSettings {
    pub(super) route: Route,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) memory: Option<u64>,
    pub(super) deadline: Duration,
    pub(super) body: u64,
    pub(super) output: u64,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) instances: u32,
    pub(super) queue: u32,
}

impl Settings {
    /// What file and command line say together.
    pub(super) fn new(options: Options) -> Result<Settings, ConfigError> {
        let (file, directory) = match &options.config {
            Some(path) => (read(path)?, path.parent().map(Path::to_owned).unwrap_or_default()),
            None => (File::default(), PathBuf::new()),
        };
        let mut functions = Vec::new();
        for function in file.function {
            let route = function.route.parse()?;
            // A program lies where the file says, seen from the file.
            let program = directory.join(&function.program);
            functions.push(FileFunction { program, ..function }.settings(route, &options));
        }
        let named = named(&options.programs)?;
        // What the command line says about a route takes the place of what the file says.
        functions
            .retain(|function: &FunctionSettings| named.iter().all(|(route, _)| *route != function.route));
        for (route, program) in named {
            let function = FileFunction { program, ..FileFunction::default() };
            functions.push(function.settings(route, &options));
        }
        if functions.is_empty() {
            return Err(ConfigError::Nothing);
        }
        for (index, function) in functions.iter().enumerate() {
            if functions.iter().skip(index + 1).any(|other| other.route == function.route) {
                return Err(ConfigError::Twice(function.route.to_string()));
            }
        }
        for function in &functions {
            function.check()?;
        }
        let listen = [options.listen, file.listen].into_iter().find(|addresses| !addresses.is_empty());
        let settings = Settings {
            listen: listen.unwrap_or_else(|| vec![(Ipv4Addr::LOCALHOST, 8080).into()]),
            threads: options.threads.or(file.threads),
            quiet: options.quiet,
            backend: options.backend,
            confinement: options.confinement,
            log: options.log.or(file.log).unwrap_or(LogFormat::Text),
            per_client: options.per_client.or(file.per_client),
            connections: options.connections.or(file.connections),
            receive: options.receive.or(file.receive).unwrap_or(Duration::from_secs(30)),
            drain: options.drain.or(file.drain).unwrap_or(Duration::from_secs(30)),
            fresh_layout: options.fresh_layout.or(file.fresh_layout),
            functions,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Whether its numbers make sense together with what the clock can count.
    fn check(&self) -> Result<(), ConfigError> {
        within("threads", &self.threads, "1 to 1024", |threads| (1..=1024).contains(threads))?;
        within("per-client", &self.per_client, "1 or more", |count| *count > 0)?;
        within("connections", &self.connections, "1 or more", |count| *count > 0)?;
        time("receive", Some(self.receive))?;
        time("drain", Some(self.drain).filter(|drain| !drain.is_zero()))?;
        time("fresh-layout", self.fresh_layout)
    }
}

impl FunctionSettings {
    fn check(&self) -> Result<(), ConfigError> {
        within("instances", &Some(self.instances), "1 to 100000", |count| (1..=100_000).contains(count))?;
        time("deadline", Some(self.deadline))
    }
}

fn within<T: Display>(
    name: &'static str,
    value: &Option<T>,
    range: &'static str,
    fits: impl Fn(&T) -> bool,
) -> Result<(), ConfigError> {
    match value {
        Some(value) if !fits(value) => Err(ConfigError::Range { name, value: value.to_string(), range }),
        _ => Ok(()),
    }
}

/// Times shorter than a call takes, or longer than anybody waits, are mistakes.
fn time(name: &'static str, value: Option<Duration>) -> Result<(), ConfigError> {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    match value {
        Some(value) if !(SHORTEST..=LONGEST).contains(&value) => {
            Err(ConfigError::Range { name, value: format!("{value:?}"), range: "1ms to 168h" })
        }
        _ => Ok(()),
    }
}

impl Default for FileFunction {
    fn default() -> FileFunction {
        FileFunction {
            route: String::new(),
            program: PathBuf::new(),
            arguments: Vec::new(),
            mem: None,
            deadline: None,
            body: None,
            output: None,
            content_type: None,
            instances: None,
            queue: None,
        }
    }
}

impl FileFunction {
    fn settings(self, route: Route, options: &Options) -> FunctionSettings {
        FunctionSettings {
            route,
            program: self.program,
            arguments: self.arguments,
            memory: options.mem.or(self.mem),
            deadline: options.deadline.or(self.deadline).unwrap_or(Duration::from_secs(10)),
            body: options.body.or(self.body).unwrap_or(16 << 20),
            output: options.output.or(self.output).unwrap_or(64 << 20),
            content_type: options.content_type.clone().or(self.content_type),
            instances: options.instances.or(self.instances).unwrap_or(64),
            queue: options.queue.or(self.queue).unwrap_or(256),
        }
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        error: error.to_string().trim_end().to_owned(),
    })
}

/// The programs of the command line with their routes.
fn named(programs: &[String]) -> Result<Vec<(Route, PathBuf)>, ConfigError> {
    let alone = programs.len() == 1;
    let one = |text: &String| {
        let (route, program) = match text.split_once('=') {
            Some((route, program)) => (route.parse()?, program),
            None if alone => (Route::everything(), text.as_str()),
            None => {
                let name = Path::new(text).file_stem().unwrap_or_default().to_string_lossy();
                (format!("/{name}").parse()?, text.as_str())
            }
        };
        if program.is_empty() {
            return Err(ConfigError::NoProgram(text.clone()));
        }
        Ok((route, PathBuf::from(program)))
    };
    programs.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, File, Settings};
    use crate::serve::Options;
    use clap::{Args, Command, FromArgMatches};
    use std::time::Duration;

    fn settings(arguments: &[&str]) -> Result<Settings, ConfigError> {
        let command = Options::augment_args(Command::new("serve").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).expect("sound arguments");
        Settings::new(Options::from_arg_matches(&matches).expect("sound arguments"))
    }

    #[test]
    fn a_program_has_the_route_that_is_named_or_that_of_its_name() {
        let routes = |arguments: &[&str]| -> Vec<String> {
            let settings = settings(arguments).expect("settings");
            settings.functions.iter().map(|function| function.route.to_string()).collect()
        };
        assert_eq!(routes(&["target/release/echo"]), ["/"]);
        assert_eq!(routes(&["a/echo", "b/page.snapshot"]), ["/echo", "/page"]);
        assert_eq!(routes(&["/a=echo", "example.org/b=page"]), ["/a", "example.org/b"]);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serve.toml");
        let text = "listen = [\"127.0.0.1:1\"]\ndrain = \"5s\"\n\
            [[function]]\nroute = \"/a\"\nprogram = \"one\"\ndeadline = \"1s\"\nbody = 5\nqueue = 7\n\
            [[function]]\nroute = \"/b\"\nprogram = \"/two\"\ndeadline = 2\nmem = \"32M\"\n";
        std::fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("a path");
        let all = settings(&["--config", path, "--body", "1K", "/b=three"]).expect("settings");
        assert_eq!(all.listen, ["127.0.0.1:1".parse().expect("an address")]);
        assert_eq!(all.drain, Duration::from_secs(5));
        let [one, three] = &all.functions[..] else { panic!("{all:?}") };
        assert_eq!(one.program, directory.path().join("one"));
        assert_eq!((one.deadline, one.body, one.queue), (Duration::from_secs(1), 1024, 7));
        assert_eq!((three.program.to_str(), three.memory), (Some("three"), None));
        assert_eq!(three.deadline, Duration::from_secs(10));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_wherever_they_come_from() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serve.toml");
        let function = "[[function]]\nroute = \"/\"\nprogram = \"p\"";
        for (text, name) in [
            (format!("threads = 0\n{function}"), "threads"),
            (format!("connections = 0\n{function}"), "connections"),
            (format!("per-client = 0\n{function}"), "per-client"),
            (format!("fresh-layout = 0\n{function}"), "fresh-layout"),
            (format!("receive = \"9999999h\"\n{function}"), "receive"),
            (format!("{function}\ninstances = 0"), "instances"),
            (format!("{function}\ndeadline = 0"), "deadline"),
        ] {
            std::fs::write(&path, &text).expect("a file");
            let error = settings(&["--config", path.to_str().expect("a path")]).expect_err(&text);
            assert!(matches!(error, ConfigError::Range { name: named, .. } if named == name), "{error}");
        }
        assert!(matches!(settings(&["p", "--deadline", "0"]), Err(ConfigError::Range { .. })));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(matches!(settings(&[]), Err(ConfigError::Nothing)));
        assert!(matches!(settings(&["/a=one", "/a=two"]), Err(ConfigError::Twice(_))));
        assert!(matches!(settings(&["/a="]), Err(ConfigError::NoProgram(_))));
        assert!(matches!(settings(&["/a b=one"]), Err(ConfigError::Route(_))));
        assert!(matches!(settings(&["--config", "/nowhere"]), Err(ConfigError::Read { .. })));
        let error = toml::from_str::<File>("lissen = []").expect_err("an unknown field");
        assert!(error.to_string().contains("lissen"), "{error}");
        let text = "[[function]]\nroute = \"/\"\nprogram = \"p\"\nbody = \"5X\"";
        let error = toml::from_str::<File>(text).expect_err("an unknown unit");
        assert!(error.to_string().contains("not a unit of size"), "{error}");
        let error = toml::from_str::<File>("receive = []").expect_err("no time");
        assert!(error.to_string().contains("a number, or a text with a unit"), "{error}");
    }
}
