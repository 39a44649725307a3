// What the examples in the documentation of the library need of their surroundings. They take it in by
// `include!`.

/// The path of an example's image. None where there is no KVM: then the example says so and runs nothing.
#[allow(dead_code)]
fn image(name: &str) -> Option<std::path::PathBuf> {
    if let Err(reason) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        let line = format!("an example of the documentation\tno usable /dev/kvm: {reason}");
        eprintln!("NOT RUN: {line}");
        if let Some(log) = std::env::var_os("CORACLE_NOT_RUN_LOG") {
            use std::io::Write;
            let log = std::fs::File::options().append(true).create(true).open(log);
            let written = log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes()));
            written.expect("the file that CORACLE_NOT_RUN_LOG names can be written");
        }
        return None;
    }
    let Some(directory) = std::env::var_os("CORACLE_TEST_DIR") else {
        panic!("CORACLE_TEST_DIR is not set: these examples are run by `cargo xtask test`");
    };
    Some(std::path::Path::new(&directory).join("examples/release").join(name))
}

/// A snapshot of an example.
#[allow(dead_code)]
fn snapshot(name: &str) -> Option<std::sync::Arc<coracle_tender::snapshot::Snapshot>> {
    use coracle_tender::{image::Image, instance::Config, machine::Host, snapshot::Snapshot};
    let image = std::sync::Arc::new(Image::open(&image(name)?).expect("a good image"));
    let host = std::sync::Arc::new(Host::open().expect("KVM can be used"));
    let limit = std::time::Duration::from_secs(60);
    let taken = Snapshot::take(&host, &image, &Config::default(), limit);
    Some(std::sync::Arc::new(taken.expect("it becomes ready").0))
}
