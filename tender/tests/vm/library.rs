//! Guests that this process itself runs, through the library.

use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::Host;
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// An image and what runs it.
pub(crate) struct Machine {
    host: Host,
    image: Arc<Image>,
}

impl Machine {
    /// Opens an image.
    pub(crate) fn open(image: PathBuf) -> Machine {
        let host = crate::support::host();
        Machine { host, image: Arc::new(Image::open(&image).expect("a good image")) }
    }

    /// Makes a VM whose exits are counted.
    pub(crate) fn boot(&self, arguments: &[&str]) -> Instance {
        let name = OsString::from("guest");
        let config = Config {
            arguments: std::iter::once(name).chain(arguments.iter().map(OsString::from)).collect(),
            statistics: true,
            ..Config::default()
        };
        Instance::boot(&self.host, &self.image, &config).expect("the guest boots")
    }

    /// Runs a VM to its end with no input, and answers what it wrote, which a pipe must hold.
    pub(crate) fn run(&self, instance: &mut Instance, limit: Option<Duration>) -> (End, String) {
        let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
        let (output, writer) = std::io::pipe().expect("a pipe");
        let console = Console::new(null.as_fd(), writer.as_fd(), null.as_fd());
        let end = instance.run(&console, &mut |_| {}, limit);
        drop(writer);
        (end, text(output))
    }
}

fn text(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).expect("output is text");
    text
}

/// Runs `test` in a process where no other test runs, for what is true of a whole process. `name` is
/// the test that calls this.
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "CORACLE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "there is no test {name}");
}
