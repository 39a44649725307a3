//! A server, and what a client sends to it.

use crate::support::coracle;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// More than anything that a test waits for takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `coracle serve`. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    log: Log,
}

/// What it has logged.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<String>, Condvar)>);

impl Server {
    /// Starts one, and returns when it listens.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Server {
        let mut command = Command::new(coracle());
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        Server::of(command)
    }

    /// The same of a command that is ready to be started.
    pub(crate) fn of(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("coracle starts");
        let log = Log::default();
        let (mut error, theirs) = (BufReader::new(child.stderr.take().expect("a pipe")), log.clone());
        std::thread::spawn(move || {
            let mut line = String::new();
            while error.read_line(&mut line).is_ok_and(|length| length > 0) {
                theirs.0.0.lock().expect("no panic").push_str(&line);
                theirs.0.1.notify_all();
                line.clear();
            }
        });
        let text = log.until("listening on http://");
        let address = text.split("http://").nth(1).expect("an address").lines().next().expect("a line");
        let address = address.trim_end_matches(|end: char| !end.is_ascii_digit());
        let address = address.split('"').next().expect("an address").parse().expect("an address");
        Server { child, address, log }
    }

    /// Waits until its log has these words, and answers all of it.
    pub(super) fn log_until(&self, words: &str) -> String {
        self.log.until(words)
    }

    /// A connection to it.
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Sends a request on a connection of its own, and answers the response.
    pub(super) fn request(&self, path: &str, fields: &str, body: &[u8]) -> Reply {
        let mut stream = self.connect();
        send(&mut stream, path, fields, body);
        Reply::read(&mut BufReader::new(stream))
    }

    /// The response to a request without fields of its own.
    pub(super) fn get(&self, path: &str) -> Reply {
        self.request(path, "", b"")
    }

    /// A line of its metrics without the name that it begins with.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/-/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|number| number.parse().expect("a number"))
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: i32) {
        // SAFETY: the process is a child that has not been waited for, so that its number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for its end.
    pub(super) fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn until(&self, words: &str) -> String {
        let (text, changed) = &*self.0;
        let missing = |text: &mut String| !text.contains(words);
        let waited = changed.wait_timeout_while(text.lock().expect("no panic"), PATIENCE, missing);
        let (text, timeout) = waited.expect("no panic");
        assert!(!timeout.timed_out(), "the log never says {words:?}:\n{text}");
        text.clone()
    }
}

/// Sends a request.
pub(super) fn send(stream: &mut TcpStream, path: &str, fields: &str, body: &[u8]) {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    // One that does not read all of it has answered why.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// All lines of its head, in lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Reads one, which must be whole.
    pub(super) fn read(stream: &mut impl BufRead) -> Reply {
        Reply::read_if_any(stream).expect("a whole response")
    }

    /// Reads one; nothing where the connection ends before it does.
    pub(super) fn read_if_any(stream: &mut impl BufRead) -> Option<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut reply = Reply { status, head, body: Vec::new() };
        match reply.field("content-length") {
            Some(length) => {
                reply.body = vec![0; length.parse().ok()?];
                stream.read_exact(&mut reply.body).ok()?;
            }
            None => {
                while let Some(chunk) = chunk(stream)? {
                    reply.body.extend(chunk);
                }
            }
        }
        Some(reply)
    }

    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The next chunk; nothing inside when there are no more, nothing at all when the connection ends.
pub(super) fn chunk(stream: &mut impl BufRead) -> Option<Option<Vec<u8>>> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    Some((length > 0).then_some(bytes))
}
