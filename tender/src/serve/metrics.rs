//! What `/-/metrics` shows, in the format of Prometheus.

use super::function::Function;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    function: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    function: Arc<str>,
    status: u16,
}

/// All metrics of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Name, Histogram, fn() -> Histogram>,
    taken: Family<Name, Gauge>,
    instances: Family<Name, Gauge>,
    idle: Family<Name, Gauge>,
    dropped: Gauge,
    connections: Gauge,
}

/// Those that each request of a function changes.
#[derive(Debug, Clone)]
pub(super) struct FunctionMetrics {
    name: Arc<str>,
    requests: Family<Answer, Counter>,
    seconds: Histogram,
    usual: Counter,
}

/// Bounds in seconds: from the shortest call to the usual deadline.
const BOUNDS: [f64; 12] = [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 50e-3, 0.25, 1.0, 2.5, 10.0];

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("coracle");
        let requests = Family::default();
        registry.register("requests", "Requests, by what they were answered", requests.clone());
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "From a request's head to the end of its response";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauges = Family::<Name, Gauge>::default();
            registry.register(name, help, gauges.clone());
            gauges
        };
        let taken = gauge("calls", "Calls that are made or wait");
        let instances = gauge("instances", "Instances that there are");
        let idle = gauge("instances_idle", "Instances that wait for a call");
        let (dropped, connections) = (Gauge::default(), Gauge::default());
        registry.register("log_dropped", "Entries of the log that nobody took", dropped.clone());
        registry.register("connections", "Connections that are open", connections.clone());
        Metrics { registry, requests, seconds, taken, instances, idle, dropped, connections }
    }

    /// Those of a function.
    pub(super) fn of(&self, name: &str) -> FunctionMetrics {
        let (function, requests) = (Arc::from(name), self.requests.clone());
        let usual = requests.get_or_create(&Answer { function: Arc::clone(&function), status: 200 }).clone();
        let seconds = self.seconds.get_or_create(&Name { function: name.to_owned() }).clone();
        FunctionMetrics { name: function, requests, seconds, usual }
    }

    /// Counts a request that no function has answered.
    pub(super) fn answered(&self, status: u16) {
        self.requests.get_or_create(&Answer { function: Arc::from(""), status }).inc();
    }

    /// All of them as text.
    pub(super) fn text(&self, functions: &[Arc<Function>], dropped: u64, connections: usize) -> String {
        for function in functions {
            let name = Name { function: function.name.clone() };
            self.taken.get_or_create(&name).set(function.places.taken() as i64);
            let now = function.pool().map(|pool| pool.metrics()).unwrap_or_default();
            self.instances.get_or_create(&name).set(now.instances as i64);
            self.idle.get_or_create(&name).set(now.idle as i64);
        }
        self.dropped.set(dropped as i64);
        self.connections.set(connections as i64);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl FunctionMetrics {
    /// Counts a request.
    pub(super) fn answered(&self, status: u16, took: Duration) {
        if status == 200 {
            self.usual.inc();
        } else {
            self.requests.get_or_create(&Answer { function: Arc::clone(&self.name), status }).inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }
}
