//! What the libos gives a program. Guests check it from within; here stands what they are given, and
//! what is to come out.

use crate::lane::times;
use crate::support::{fed, guest, no_kvm, output, run, stderr, stdout};
use std::process::Output;

/// Runs a guest that checks everything itself.
fn checks_itself(options: &[&str], name: &str) {
    let ended = output(run::<&str>(options, guest(name), &[]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "all as it should be\n");
}

#[test]
fn thread_local_variables_are_aligned_and_hold_what_they_should() {
    if no_kvm() {
        return;
    }
    checks_itself(&[], "tls_small");
    checks_itself(&[], "tls_large");
}

#[test]
fn copying_filling_and_comparing_are_right_at_every_size() {
    if no_kvm() {
        return;
    }
    checks_itself(&[], "memory_functions");
}

#[test]
fn the_heap_keeps_alignment_and_contents_and_can_be_used_up_again_and_again() {
    if no_kvm() {
        return;
    }
    for memory in ["24M", "64M"].into_iter().take(times(2, 1) as usize) {
        checks_itself(&["--mem", memory], "heap");
    }
}

/// Gives the guest `input` this input.
fn given(way: &str, input: &[u8]) -> Output {
    fed(run(&[], guest("input"), &[way]), input)
}

#[test]
fn lines_come_one_by_one_without_their_ends() {
    if no_kvm() {
        return;
    }
    let long = "x".repeat(200_000);
    for (input, expected) in [
        (String::new(), String::new()),
        ("one\n\ntwo\r\nthree".into(), "3 \"one\"\n0 \"\"\n3 \"two\"\n5 \"three\"\n".into()),
        ("\r\n\n".into(), "0 \"\"\n0 \"\"\n".into()),
        (format!("a\n{long}\nb\n"), format!("1 \"a\"\n200000 \"{long}\"\n1 \"b\"\n")),
    ] {
        let ended = given("lines", input.as_bytes());
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert!(stdout(&ended) == expected, "{input:.40}: {:.200}", stdout(&ended));
    }
    let ended = given("lines", b"good\nbad \xff\ngood again\n");
    assert_eq!(stdout(&ended), "4 \"good\"\nthe input is not UTF-8\n10 \"good again\"\n");
    assert_eq!(stdout(&given("line", b"one\r\ntwo")), "5 \"> one\\r\\n\"\n");
    assert_eq!(stdout(&given("line", b"")), "0 \"> \"\n");
}

#[test]
fn all_input_up_to_its_end_can_be_read_at_once() {
    if no_kvm() {
        return;
    }
    for length in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        let input: Vec<u8> = (0..length).map(|place: u32| (place ^ place >> 9) as u8).collect();
        let sum = input.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let ended = given("end", &input);
        assert_eq!(stdout(&ended), format!("{length} {sum}\n"), "{}", stderr(&ended));
    }
    assert_eq!(stdout(&given("text", "zwölf".as_bytes())), "6 \"> zwölf\"\n");
    assert_eq!(stdout(&given("text", b"\xff")), "the input is not UTF-8, \"> \"\n");
    let ended = given("mixed", b"line\nfour!rest\nand more");
    assert_eq!(stdout(&ended), "\"line\\n\" [102, 111, 117, 114] 33 \"rest\\nand more\"\n");
}

#[test]
fn environment_variables_are_found_by_their_whole_names() {
    if no_kvm() {
        return;
    }
    let options = ["--env", "A=1", "--env", "AB=two=2", "--env", "EMPTY=", "--env", "ODD=ü"];
    let ended = output(run(&options, guest("variables"), &["A", "AB", "EMPTY", "ODD", "B", ""]));
    let expected = "A: Some(\"1\")\nAB: Some(\"two=2\")\nEMPTY: Some(\"\")\nODD: Some(\"ü\")\n\
                    B: None\n: None\n4 in all\n";
    assert_eq!(stdout(&ended), expected, "{}", stderr(&ended));
}

#[test]
fn the_log_lets_through_what_rust_log_says() {
    if no_kvm() {
        return;
    }
    let records = [
        "ERROR log_levels: an error\n",
        "WARN  log_levels: a warning\n",
        "INFO  elsewhere: a number: 3\n",
        "DEBUG log_levels: a detail\n",
        "TRACE log_levels: a step\n",
    ];
    let filters =
        [("off", 0), ("error", 1), ("warn", 2), ("info", 3), ("debug", 4), ("trace", 5), ("WARN", 2)];
    for (filter, count) in filters.into_iter().chain([("nonsense", 1), ("", 1)]) {
        let variable = format!("RUST_LOG={filter}");
        let ended = output(run::<&str>(&["--env", &variable], guest("log_levels"), &[]));
        assert_eq!(ended.status.code(), Some(0));
        assert_eq!(stderr(&ended), records[..count].concat(), "{variable}");
        assert_eq!(stdout(&ended), "");
    }
    let ended = output(run::<&str>(&[], guest("log_levels"), &[]));
    assert_eq!(stderr(&ended), records[0], "without RUST_LOG");
}

#[test]
fn random_bytes_come_from_the_libos_the_c_function_and_the_crate() {
    if no_kvm() {
        return;
    }
    let printed = [(); 2].map(|()| {
        let ended = output(run::<&str>(&[], guest("random_bytes"), &[]));
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        stdout(&ended)
    });
    assert_eq!(printed[0].len(), 33);
    assert_ne!(printed[0], printed[1], "two runs of a program got the same bytes");
}
