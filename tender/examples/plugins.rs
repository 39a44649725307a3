//! A web server whose routes are plug-ins: images with a handler, each request in a machine of its own.
//!
//! ```console
//! $ cargo build --release --manifest-path examples/Cargo.toml
//! $ cargo run --release --example plugins -- echo=examples/target/release/handler-echo
//! listening on http://127.0.0.1:…
//! $ curl --data Hello http://127.0.0.1:…/echo
//! Hello
//! $ curl http://127.0.0.1:…/echo/metrics
//! ```

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use coracle_tender::image::Image;
use coracle_tender::instance::Config;
use coracle_tender::machine::{Backend, Host};
use coracle_tender::pool::{CallError, Limits, Metrics, Pool};
use coracle_tender::snapshot::Snapshot;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// The plug-ins by name.
type Plugins = Arc<HashMap<String, Pool>>;

/// What is answered when something is wrong.
type Refusal = (StatusCode, String);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = Arc::new(Host::open(Backend::of_environment()?)?);
    let mut plugins = HashMap::new();
    for argument in std::env::args().skip(1) {
        let (name, image) = argument.split_once('=').ok_or("plug-ins are given as NAME=IMAGE")?;
        plugins.insert(name.to_owned(), load(&host, image)?);
    }
    let router = Router::new()
        .route("/{plugin}", post(call))
        .route("/{plugin}/metrics", get(metrics))
        .with_state(Arc::new(plugins));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

/// Boots an image until it is ready, once.
fn load(host: &Arc<Host>, image: &str) -> Result<Pool, Box<dyn Error>> {
    let image = Arc::new(Image::open(image.as_ref())?);
    let (snapshot, _) = Snapshot::take(host, &image, &Config::default(), Duration::from_secs(10))?;
    let pool = Pool::builder(Arc::new(snapshot));
    Ok(pool.max(32).deadline(Duration::from_millis(500)).memory(32 << 20).output(1 << 20).build()?)
}

/// A request's body is the input, the output its answer. Where the client hangs up, the future is dropped
/// and the call is cancelled.
async fn call(
    State(plugins): State<Plugins>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Vec<u8>, Refusal> {
    let output = find(&plugins, &name)?.call_async(body, Limits::new()).await.map_err(refusal)?;
    Ok(output.bytes)
}

async fn metrics(State(plugins): State<Plugins>, Path(name): Path<String>) -> Result<Json<Metrics>, Refusal> {
    Ok(Json(find(&plugins, &name)?.metrics()))
}

fn find<'a>(plugins: &'a Plugins, name: &str) -> Result<&'a Pool, Refusal> {
    plugins.get(name).ok_or_else(|| (StatusCode::NOT_FOUND, "no such plug-in\n".to_owned()))
}

fn refusal(error: CallError) -> Refusal {
    let status = match &error {
        CallError::Failed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        CallError::Overran(_) => StatusCode::GATEWAY_TIMEOUT,
        CallError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        CallError::Host(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    };
    (status, format!("{error}\n"))
}
