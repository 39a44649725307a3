//! Files, snapshots and options.

use super::client::Server;
use crate::lane::times;
use crate::scratch::Scratch;
use crate::support::{coracle, example, guest, host, no_kvm, stderr};
use coracle_hypercall::exit;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

#[test]
fn functions_come_from_a_file_and_lie_beside_it() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    std::fs::copy(example("release", "handler-echo"), scratch.path().join("echo")).expect("a copy");
    let text = format!(
        "[[function]]\nroute = \"/echo\"\nprogram = \"echo\"\nbody = \"1K\"\n\
         [[function]]\nroute = \"example.org\"\nprogram = {:?}\n",
        guest("serve_http")
    );
    let file = scratch.path().join("serve.toml");
    std::fs::write(&file, text).expect("a file");
    let server = Server::start(&["--config".as_ref(), file.as_os_str()]);
    assert_eq!(server.request("/echo", "", b"Hello").body, b"Hello");
    assert_eq!(server.request("/echo", "", &[0; 1025]).status, 413);
    assert_eq!(server.get("/").status, 404);
}

#[test]
fn a_fresh_layout_is_taken_while_requests_are_answered() {
    if no_kvm() {
        return;
    }
    let program = guest("serve_http").into_os_string().into_string().expect("a path of ours");
    let server = Server::start(&["--fresh-layout", "10ms", &program]);
    for number in 0..times(300, 30) {
        let body = format!("request {number}");
        assert_eq!(server.request("/", "", body.as_bytes()).text(), body);
    }
}

#[test]
fn health_and_metrics_are_the_servers_own() {
    if no_kvm() {
        return;
    }
    let server = Server::start(&[guest("serve_http")]);
    assert_eq!(server.get("/-/health").text(), "ok\n");
    assert_eq!((server.get("/").status, server.get("/panic").status), (200, 502));
    let count =
        |status: u16| server.metric(&format!("coracle_requests_total{{function=\"/\",status=\"{status}\"}}"));
    while (count(200), count(502)) != (Some(1.0), Some(1.0)) {
        std::thread::yield_now();
    }
    assert_eq!(server.metric("coracle_request_seconds_count{function=\"/\"}"), Some(2.0));
    assert_eq!(server.get("/-/else").status, 404);
}

fn refused(arguments: &[&str]) -> Output {
    let output = Command::new(coracle()).arg("serve").args(arguments).output().expect("coracle starts");
    assert_eq!(output.status.code(), Some(exit::TENDER.into()), "{}", stderr(&output));
    output
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason_and_the_way_out() {
    assert!(stderr(&refused(&[])).contains("nothing to serve"));
    assert!(stderr(&refused(&["/-/x=a"])).contains("the server's own"));
    assert!(stderr(&refused(&["--config", "/nowhere"])).contains("/nowhere: cannot read it"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = taken.local_addr().expect("an address").to_string();
    let words = stderr(&refused(&["--listen", &address, "program"]));
    assert!(words.contains(&address) && words.contains("choose another with --listen"), "{words}");
    if no_kvm() {
        return;
    }
    assert!(stderr(&refused(&["--listen", "127.0.0.1:0", "/nowhere"])).contains("`/nowhere`"));
}

#[test]
fn more_instances_than_there_are_descriptors_for_are_refused_with_the_way_out() {
    if no_kvm() {
        return;
    }
    let instances = 50;
    let of_instance = host().descriptors_per_instance();
    // What the server takes besides, and those that are being given back.
    let needed = (instances + 16) * of_instance + 100 + 64;
    let serve = |limit: u64| {
        let mut command = Command::new(coracle());
        let program = guest("serve_http");
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--instances", &instances.to_string()])
            .arg(program);
        // SAFETY: between fork and exec this only changes a limit.
        unsafe { command.pre_exec(move || limit_descriptors(limit)) };
        command
    };
    let output = serve(needed - 1).output().expect("coracle starts");
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(exit::TENDER.into()), "{words}");
    assert!(words.contains(&format!("need {needed} descriptors")) && words.contains("ulimit -n"), "{words}");
    let server = Server::of(serve(needed));
    assert_eq!(server.get("/").status, 200);
}

fn limit_descriptors(count: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the limit is a local.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
