//! Programs with a handler, and programs that say when they are ready, run as ordinary ones: standard
//! input is the input, standard output the output.

use crate::lane::beyond_bochs;
use crate::support::{fed, guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::fs::File;
use std::process::Output;

/// Gives a guest this input.
fn given(name: &str, input: &[u8]) -> Output {
    fed(run::<&str>(&[], guest(name), &[]), input)
}

#[test]
fn a_handler_of_bytes_takes_inputs_of_any_length() {
    if no_kvm() {
        return;
    }
    for length in [0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 3 << 20] {
        let mut bytes: Vec<u8> = (0..length).map(|place: u32| (place ^ place >> 9) as u8).collect();
        let ended = given("handler_bytes", &bytes);
        bytes.reverse();
        assert_eq!(ended.status.code(), Some(0), "{length}: {}", stderr(&ended));
        assert!(ended.stdout == bytes, "{length}: {} bytes", ended.stdout.len());
    }
}

#[test]
fn an_output_longer_than_one_call_takes_is_handed_over_in_parts() {
    if no_kvm() || beyond_bochs("moves 64 MiB in minutes") {
        return;
    }
    let image = std::fs::read(guest("handler_bytes")).expect("a guest");
    let bytes: Vec<u8> = image.into_iter().cycle().take((64 << 20) + 5).collect();
    let ended = fed(run::<&str>(&["--mem", "512M"], guest("handler_bytes"), &[]), &bytes);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(ended.stdout.iter().eq(bytes.iter().rev()), "{} bytes", ended.stdout.len());
}

#[test]
fn an_input_that_does_not_fit_into_memory_fails_the_run() {
    if no_kvm() {
        return;
    }
    let ended = fed(run::<&str>(&["--mem", "24M"], guest("handler_bytes"), &[]), &vec![0; 24 << 20]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("the input does not fit into memory"), "{}", stderr(&ended));
}

#[test]
fn a_handler_whose_reader_is_gone_ends_quietly() {
    if no_kvm() {
        return;
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = run::<&str>(&[], guest("handler_http"), &[]);
    let scratch = crate::scratch::Scratch::new();
    let request = scratch.program("request", b"GET /generate?9 HTTP/1.1\r\n\r\n");
    command.stdin(File::open(request).expect("a file")).stdout(writer).stderr(std::process::Stdio::piped());
    let ended = command.spawn().expect("coracle starts").wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(exit::CLOSED_OUTPUT.into()));
    assert_eq!(stderr(&ended), "");
}

#[test]
fn a_handler_of_values_takes_and_gives_json_and_has_what_init_made() {
    if no_kvm() {
        return;
    }
    let ended = given("handler_values", b" {\"item\": \"rope\", \"count\": 3}\n");
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "open\n{\"number\":42,\"text\":\"3 times rope\"}");
}

#[test]
fn a_handler_that_fails_says_why_and_the_run_ends_with_1() {
    if no_kvm() {
        return;
    }
    for (input, reason) in [
        ("{\"item\": \"rope\", \"count\": 0}", "an order of nothing\n"),
        ("{\"item\": 7}", "the input is not what the handler takes: invalid type: integer `7`"),
        ("", "the input is not what the handler takes: EOF while parsing a value"),
    ] {
        let ended = given("handler_values", input.as_bytes());
        assert_eq!(ended.status.code(), Some(1), "{input}");
        assert_eq!(stdout(&ended), "open\n", "{input}");
        assert!(stderr(&ended).contains(reason), "{input}: {}", stderr(&ended));
    }
}

/// Sends the guest a request to this path with this body.
fn requested(path: &str, body: &[u8]) -> Output {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: here\r\nAccept: a/b\r\n\r\n").into_bytes();
    request.extend_from_slice(body);
    given("handler_http", &request)
}

/// The response to that.
fn response(path: &str, body: &[u8]) -> Vec<u8> {
    let ended = requested(path, body);
    assert_eq!(ended.status.code(), Some(0), "{path}: {}", stderr(&ended));
    ended.stdout
}

#[test]
fn a_handler_of_requests_sees_their_heads_and_answers_with_its_own() {
    if no_kvm() {
        return;
    }
    let head = response("/head?a=b?c", b"");
    let expected =
        "HTTP/1.1 200 \r\n\r\nPOST /head Some(\"a=b?c\")\nHost = 4\nAccept = 3\nSome(\"a/b\") None\n";
    assert_eq!(String::from_utf8_lossy(&head), expected);
    let text = response("/text", "größe".as_bytes());
    assert_eq!(String::from_utf8_lossy(&text), "HTTP/1.1 200 \r\nX-Kind: text\r\n\r\nGRÖSSE");
    let missing = "HTTP/1.1 404 \r\nContent-Type: text/plain\r\n\r\nnot here\n";
    assert_eq!(response("/nowhere", b""), missing.as_bytes());
}

#[test]
fn bodies_go_through_a_handler_whole_and_in_pieces() {
    if no_kvm() {
        return;
    }
    for length in [0, 1, 65_400, 65_536, 1 << 20] {
        let body: Vec<u8> = (0..length).map(|place: u32| (place ^ place >> 9) as u8).collect();
        let content = |path| response(path, &body).split_off(b"HTTP/1.1 200 \r\n\r\n".len());
        assert!(content("/echo") == body, "{length}");
        assert!(content("/pieces") == body.to_ascii_uppercase(), "{length}");
        let sum = body.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        assert_eq!(String::from_utf8_lossy(&content("/count")), format!("None ({length}, {sum})"));
    }
}

#[test]
fn a_body_larger_than_the_memory_goes_out_piece_by_piece() {
    if no_kvm() {
        return;
    }
    let request = b"GET /generate?400 HTTP/1.1\r\n\r\n";
    let ended = fed(run::<&str>(&["--mem", "24M"], guest("handler_http"), &[]), request);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let content = &ended.stdout[b"HTTP/1.1 200 \r\n\r\n".len()..];
    assert_eq!(content.len(), 40_000_000);
    let pieces = content.chunks(100_000).zip((b'a'..=b'z').cycle());
    assert!(pieces.into_iter().all(|(piece, letter)| piece.iter().all(|byte| *byte == letter)));
}

#[test]
fn a_head_longer_than_the_first_input_is_read_to_its_end() {
    if no_kvm() {
        return;
    }
    let request = |length| {
        let value = "v".repeat(length);
        let mut request = String::from("GET /head HTTP/1.1\r\n");
        (0..100).for_each(|number| request.push_str(&format!("Field-{number}: {value}\r\n")));
        given("handler_http", (request + "\r\n").as_bytes())
    };
    let ended = request(2000);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stdout(&ended).matches(" = 2000\n").count(), 100);
    let ended = request(20_000);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("its head is longer than 1 MiB"), "{}", stderr(&ended));
}

#[test]
fn what_is_no_request_and_what_is_no_response_fails_the_run() {
    if no_kvm() {
        return;
    }
    for (input, reason) in [
        ("", "it ends within its head"),
        ("GET / HTTP/1.1\r\n", "it ends within its head"),
        ("GET / HTTP/1.1\r\nno field\r\n\r\n", "the name of a field"),
        ("GET /status HTTP/1.1\r\n\r\n", "99 is not a status"),
        ("GET /name HTTP/1.1\r\n\r\n", "\"not a name\" cannot be the name of a field"),
        ("GET /value HTTP/1.1\r\n\r\n", "the value of the field \"X-Name\" has a control character"),
        ("GET /text HTTP/1.1\r\n\r\nü", "the request's body is not UTF-8"),
    ] {
        let mut input = input.as_bytes().to_vec();
        if reason.contains("UTF-8") {
            input.pop();
        }
        let ended = given("handler_http", &input);
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(ended.stdout.is_empty());
        assert!(stderr(&ended).contains(reason), "{}", stderr(&ended));
    }
    let ended = requested("/generate?13", b"");
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("out of pieces"), "{}", stderr(&ended));
}

#[test]
fn a_program_that_is_ready_runs_its_hooks_in_order_and_has_what_is_fresh() {
    if no_kvm() {
        return;
    }
    let identities = [(); 2].map(|()| {
        let ended = output(run::<&str>(&[], guest("resume"), &[]));
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let text = stdout(&ended);
        text.strip_prefix("before, after: 123\n").expect("the hooks' order").to_owned()
    });
    assert_eq!(identities[0].len(), 33);
    assert_ne!(identities[0], identities[1], "two runs have one identity");
}

#[test]
fn a_program_that_is_ready_a_second_time_panics() {
    if no_kvm() {
        return;
    }
    let ended = output(run(&[], guest("resume"), &["again"]));
    assert_eq!(ended.status.code(), Some(exit::PANIC.into()));
    assert!(stderr(&ended).contains("has it done so before?"), "{}", stderr(&ended));
}

#[test]
fn a_host_that_offers_no_functions_says_so() {
    if no_kvm() {
        return;
    }
    let ended = given("host_functions", b"anything");
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "Err(NoSuchFunction)\n".repeat(5));
}
