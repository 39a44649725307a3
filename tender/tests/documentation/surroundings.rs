// What the examples in the documentation of the library need of their surroundings. They take it in by
// `include!`.

/// The path of an example's image.
#[allow(dead_code)]
fn image(name: &str) -> std::path::PathBuf {
    let Some(directory) = std::env::var_os("CORACLE_TEST_DIR") else {
        panic!("CORACLE_TEST_DIR is not set: these examples are run by `cargo xtask test`");
    };
    std::path::Path::new(&directory).join("examples/release").join(name)
}

/// A snapshot of an example.
#[allow(dead_code)]
fn snapshot(name: &str) -> std::sync::Arc<coracle_tender::snapshot::Snapshot> {
    use coracle_tender::machine::{Backend, Host};
    use coracle_tender::{image::Image, instance::Config, snapshot::Snapshot};
    let image = std::sync::Arc::new(Image::open(&image(name)).expect("a good image"));
    let host = Host::open(Backend::of_environment().expect("a backend")).expect("guests can be run");
    let limit = std::time::Duration::from_secs(60);
    let taken = Snapshot::take(&std::sync::Arc::new(host), &image, &Config::default(), limit);
    std::sync::Arc::new(taken.expect("it becomes ready").0)
}
