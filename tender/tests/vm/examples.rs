//! The examples: what each prints and how it ends, however it is built.

use crate::lane::{beyond_bochs, times};
use crate::scratch::Scratch;
use crate::support::{coracle, example, fed, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const PROFILES: [&str; 3] = ["debug", "release", "stripped"];

/// Runs an example of every profile.
fn each(name: &str, arguments: &[&str], check: impl Fn(&str, &Output)) {
    if no_kvm() {
        return;
    }
    for profile in PROFILES {
        check(profile, &output(run(&["--timeout", "60s"], example(profile, name), arguments)));
    }
}

/// The same with input.
fn each_given(name: &str, input: &[u8], check: impl Fn(&str, &Output)) {
    if no_kvm() {
        return;
    }
    for profile in PROFILES {
        check(profile, &fed(run::<&str>(&["--timeout", "60s"], example(profile, name), &[]), input));
    }
}

#[test]
fn hello_prints_one_line() {
    each("hello", &[], |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}");
        assert_eq!(stdout(ended), "Hello from a virtual machine of my own!\n", "{profile}");
        assert_eq!(stderr(ended), "", "{profile}");
    });
}

#[test]
fn args_prints_its_arguments() {
    each("args", &["one", "two words", "ü"], |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}");
        let expected = "argument 1: one\nargument 2: two words\nargument 3: \\xc3\\xbc\n";
        assert!(stdout(ended).ends_with(expected), "{profile}: {}", stdout(ended));
    });
}

#[test]
fn cat_of_nothing_is_nothing() {
    each("cat", &[], |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}");
        assert!(ended.stdout.is_empty(), "{profile}");
    });
}

#[test]
fn clock_shows_a_time_a_sleep_and_what_a_look_costs() {
    each("clock", &[], |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}");
        let text = stdout(ended);
        let lines: Vec<_> = text.lines().collect();
        let [time, sleep, look] = lines[..] else { panic!("{profile}: {text}") };
        assert!(time.starts_with("20") && time.ends_with(" UTC"), "{profile}: {time}");
        let slept = sleep.strip_prefix("a sleep of 50 ms took ").and_then(|rest| rest.strip_suffix(" ms"));
        let slept: f64 = slept.and_then(|number| number.parse().ok()).expect("a time in ms");
        assert!((50.0..10_000.0).contains(&slept), "{profile}: {sleep}");
        assert!(look.starts_with("one look at the clock takes "), "{profile}: {look}");
    });
}

#[test]
fn allocate_fills_half_of_the_heap_and_gives_it_back() {
    each("allocate", &[], |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}: {}", stderr(ended));
        let text = stdout(ended);
        assert!(text.contains("hold what was put into them: true\n"), "{profile}: {text}");
        assert!(text.ends_with("\n0 bytes are in use after all is freed\n"), "{profile}: {text}");
    });
}

#[test]
fn allocate_without_end_panics_and_names_the_option_that_helps() {
    each("allocate", &["exhaust"], |profile, ended| {
        assert_eq!(ended.status.code(), Some(exit::PANIC.into()), "{profile}");
        assert!(stderr(ended).contains("coracle run --mem"), "{profile}: {}", stderr(ended));
    });
}

#[test]
fn more_memory_is_more_heap() {
    if no_kvm() {
        return;
    }
    // It is filled: on a lane, that of a large machine takes minutes.
    let sizes = times(3, 1) as usize;
    for (memory, least) in [("16M", 8), ("256M", 200), ("1G", 900)].into_iter().take(sizes) {
        let ended = output(run(&["--mem", memory], example("release", "allocate"), &[""; 0]));
        assert_eq!(ended.status.code(), Some(0), "{memory}: {}", stderr(&ended));
        let text = stdout(&ended);
        let size = text.strip_prefix("the heap can grow to ").and_then(|rest| rest.split(' ').next());
        let size: u64 = size.and_then(|size| size.parse().ok()).expect("a size");
        assert!(size >= least, "{memory}: {size} MiB");
    }
}

/// How each way to crash ends.
const CRASHES: &[(&str, u8)] = &[
    ("null-read", exit::BAD_ACCESS),
    ("null-write", exit::BAD_ACCESS),
    ("write-constant", exit::BAD_ACCESS),
    ("write-code", exit::BAD_ACCESS),
    ("execute-data", exit::BAD_ACCESS),
    ("execute-stack", exit::BAD_ACCESS),
    ("jump-unmapped", exit::BAD_ACCESS),
    ("non-canonical", exit::BAD_ACCESS),
    ("stack-overflow", exit::BAD_ACCESS),
    ("nested", exit::BAD_ACCESS),
    ("illegal-instruction", exit::ILLEGAL_INSTRUCTION),
    ("privileged", exit::ILLEGAL_INSTRUCTION),
    ("syscall", exit::ILLEGAL_INSTRUCTION),
    ("division", exit::ARITHMETIC),
    ("breakpoint", exit::TRAP),
    ("panic", exit::PANIC),
    ("unwrap", exit::PANIC),
    ("index", exit::PANIC),
    ("panic-in-display", exit::PANIC),
    ("panic-in-panic", exit::PANIC),
];

#[test]
fn each_crash_ends_with_the_status_for_its_kind() {
    for (name, status) in CRASHES {
        each("crash", &[name], |profile, ended| {
            assert_eq!(ended.status.code(), Some((*status).into()), "{name}, {profile}: {}", stderr(ended));
            assert!(!stdout(ended).contains("still here"), "{name}, {profile}");
            assert!(!stderr(ended).is_empty(), "{name}, {profile}");
        });
    }
}

#[test]
fn crash_lists_every_way_to_crash() {
    each("crash", &[], |profile, ended| {
        let text = stdout(ended);
        let listed: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        for (name, _) in CRASHES {
            assert!(listed.contains(name), "{profile}: {name}");
        }
        // An overflow is found in dev builds only.
        assert_eq!(listed.len(), CRASHES.len() + 1, "{profile}");
    });
}

#[test]
fn an_overflow_panics_in_a_dev_build_and_wraps_in_others() {
    each("crash", &["overflow"], |profile, ended| {
        let status = if profile == "debug" { exit::PANIC } else { 0 };
        assert_eq!(ended.status.code(), Some(status.into()), "{profile}");
    });
}

#[test]
fn mandelbrot_is_the_same_picture_with_whatever_arithmetic_and_however_often() {
    if no_kvm() {
        return;
    }
    let expected = picture(96, 64, 200);
    for profile in PROFILES {
        for kernel in ["best", "best", "avx512", "avx2", "scalar"] {
            let ended = output(run(&[], example(profile, "mandelbrot"), &["96", "64", "200", kernel]));
            // A machine without this arithmetic says so.
            if ended.status.code() == Some(2) && kernel.starts_with("avx") {
                continue;
            }
            assert_eq!(ended.status.code(), Some(0), "{profile}, {kernel}");
            assert!(ended.stdout == expected, "{profile}, {kernel}: another picture");
        }
    }
}

#[test]
fn handler_echo_gives_back_what_it_was_given() {
    each_given("handler-echo", b"Hello\0\xff", |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}: {}", stderr(ended));
        assert_eq!(ended.stdout, b"Hello\0\xff", "{profile}");
    });
}

#[test]
fn handler_resize_makes_thumbnails_of_jpeg_and_png() {
    if beyond_bochs("decodes a photo in minutes") {
        return;
    }
    let photo = include_bytes!("../../../examples/handler-resize/picture.jpg");
    each_given("handler-resize", photo, |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}: {}", stderr(ended));
        assert_eq!(size(&ended.stdout), (128, 85), "{profile}");
        let command = run(&["--timeout", "60s"], example(profile, "handler-resize"), &["40"]);
        let smaller = fed(command, &ended.stdout);
        assert_eq!(size(&smaller.stdout), (40, 26), "{profile}: {}", stderr(&smaller));
    });
    each_given("handler-resize", b"no picture", |profile, ended| {
        assert_eq!(ended.status.code(), Some(1), "{profile}");
        assert!(stderr(ended).contains("neither a JPEG nor a sound PNG file"), "{}", stderr(ended));
    });
}

/// Width and height of a PNG picture.
fn size(file: &[u8]) -> (u32, u32) {
    assert!(file.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "{:?}", file.get(..16));
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn handler_template_renders_a_page_from_json() {
    let values = br#"{"title": "Boats & <b>", "items": [{"name": "Coracle", "price": 120, "sold": true},
        {"name": "Dinghy", "price": 80.5}]}"#;
    each_given("handler-template", values, |profile, ended| {
        assert_eq!(ended.status.code(), Some(0), "{profile}: {}", stderr(ended));
        let expected = "<!doctype html>\n<title>Boats &amp; &lt;b&gt;</title>\n<h1>Boats &amp; &lt;b&gt;</h1>\n\
                        <p><b>Coracle</b>: 120 (sold)</p>\n<p><b>Dinghy</b>: 80.5</p>\n";
        assert_eq!(stdout(ended), expected, "{profile}");
    });
    each_given("handler-template", b"{\"items\": []}", |profile, ended| {
        let expected = "<!doctype html>\n<title></title>\n<h1></h1>\n<p>Nothing here today.</p>\n";
        assert_eq!(stdout(ended), expected, "{profile}");
    });
    each_given("handler-template", b"{", |profile, ended| {
        assert_eq!(ended.status.code(), Some(1), "{profile}");
        assert!(stderr(ended).contains("EOF while parsing"), "{profile}: {}", stderr(ended));
    });
}

/// The picture, computed here.
fn picture(width: u32, height: u32, iterations: u32) -> Vec<u8> {
    let mut picture = format!("P6\n{width} {height}\n255\n").into_bytes();
    let step = 3.0 / f64::from(width);
    let (left, top) = (-0.75 - step * f64::from(width) / 2.0, step * f64::from(height) / 2.0);
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (left + step * f64::from(column), top - step * f64::from(row));
            let (mut re, mut im, mut count) = (0.0, 0.0, 0);
            while count < iterations && re * re + im * im <= 4.0 {
                let product = re * im;
                (re, im) = (re * re - im * im + x, product + product + y);
                count += 1;
            }
            let wave = |phase: u32| {
                let position = (count * 8 + phase) % 512;
                position.min(511 - position) as u8
            };
            let inside = count == iterations;
            picture.extend(if inside { [0; 3] } else { [wave(0), wave(40), wave(120)] });
        }
    }
    picture
}

/// An image that Linux itself starts.
fn native(image: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(image);
    command.args(arguments).stdin(Stdio::null()).env_remove("CORACLE");
    command
}

#[test]
fn an_image_started_by_linux_boots_itself_with_its_arguments() {
    if no_kvm() {
        return;
    }
    let arguments = ["a", "", "--help", "--", "-x", "two words"];
    for profile in PROFILES {
        let mut command = native(example(profile, "args"), &arguments);
        let ended = command.env("CORACLE", coracle()).output().expect("the image starts");
        assert_eq!(ended.status.code(), Some(0), "{profile}: {}", stderr(&ended));
        let image = example(profile, "args");
        let expected = stdout(&output(run(&[], image.canonicalize().expect("a path"), &arguments)));
        assert_eq!(stdout(&ended), expected, "{profile}");
        assert!(expected.ends_with("argument 5: -x\nargument 6: two words\n"), "{expected}");
    }
}

#[test]
fn an_image_started_by_linux_finds_the_tender_beside_itself_and_in_the_path() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let hello = std::fs::read(example("stripped", "hello")).expect("hello");
    let image = scratch.program("hello", &hello);
    let by_path = native(image.clone(), &[])
        .env("PATH", coracle().parent().expect("a folder"))
        .output()
        .expect("the image starts");
    assert_eq!(by_path.status.code(), Some(0), "{}", stderr(&by_path));
    std::os::unix::fs::symlink(coracle(), scratch.path().join("coracle")).expect("a link");
    let beside = native(image, &[]).env_remove("PATH").output().expect("the image starts");
    assert_eq!(beside.status.code(), Some(0), "{}", stderr(&beside));
    assert_eq!(stdout(&beside), "Hello from a virtual machine of my own!\n");
}

#[test]
fn an_image_started_by_linux_without_a_tender_says_how_to_get_one() {
    let scratch = Scratch::new();
    let hello = std::fs::read(example("stripped", "hello")).expect("hello");
    let image = scratch.program("hello", &hello);
    let mut command = native(image, &[]);
    // Without a path to look in, a tender in the current folder is not taken either.
    command.env("PATH", "").current_dir(coracle().parent().expect("a folder"));
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    assert!(stdout(&ended).is_empty());
    let words = stderr(&ended);
    assert!(words.contains("cargo install --locked --path tender") && words.contains("CORACLE="), "{words}");
}

#[test]
fn an_image_started_by_linux_whose_tender_is_not_there_names_it() {
    let mut command = native(example("stripped", "hello"), &[]);
    let ended = command.env("CORACLE", "/nonexistent/coracle").output().expect("the image starts");
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    assert!(stderr(&ended).contains("/nonexistent/coracle"), "{}", stderr(&ended));
}
