//! Every metric of the gateway, on crate `prometheus`; nothing else names that crate.
//!
//! As in the worker: all series are there from the start, and no label comes from a message.

use std::time::Duration;

use jailfleet_queue::{DoorState, Link};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::answer::End;
use super::checks::{Check, Gate};
use crate::api::ApiMetrics;

/// What went wrong inside the metrics crate: only a mistake in this file can cause it.
pub type MetricsError = prometheus::Error;

/// 1 ms to 60 s: a caller waits a few seconds.
const TIME_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.0,
    10.0, 30.0, 60.0,
];

/// What became of a message in the gateway's reply queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Somebody waited for it.
    Awaited,
    /// Nobody waits for it any longer, or it never was ours.
    Unawaited,
    /// It says that a worker is lost; a better one may come.
    Provisional,
    /// It is no result.
    Unreadable,
}

impl Came {
    const ALL: [Self; 4] = [
        Self::Awaited,
        Self::Unawaited,
        Self::Provisional,
        Self::Unreadable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Unawaited => "unawaited",
            Self::Provisional => "provisional",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What became of the wish to cancel a job that nobody waits for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The broker keeps the cancel.
    Cancelled,
    /// It could not be sent: the job ends by its own limits.
    Failed,
    /// Too many wait to be sent already.
    Crowded,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::Cancelled, Self::Failed, Self::Crowded];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Crowded => "crowded",
        }
    }
}

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: Histogram,
    connections: IntGauge,
    waiting: IntGauge,
    results: IntCounterVec,
    dropped: IntCounterVec,
    safe: IntGauge,
    checks: GaugeVec,
    connected: IntGaugeVec,
    blocked: IntGauge,
    api: ApiMetrics,
}

impl Metrics {
    /// Makes and registers them all.
    ///
    /// # Errors
    /// When two of them have one name: a mistake in this file.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let make = Maker(&registry);
        let build = make.gauges(
            "jailfleet_build_info",
            "The running version; always 1.",
            "version",
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let seconds = HistogramOpts::new(
            "jailfleet_gateway_request_seconds",
            "From the end of a request to its answer, of those whose code was sent to a worker.",
        );
        let seconds = Histogram::with_opts(seconds.buckets(TIME_BUCKETS.to_vec()))?;
        let metrics = Self {
            requests: make.counters(
                "jailfleet_gateway_requests_total",
                "Requests to run code, by how they ended.",
                "end",
            )?,
            seconds: make.keep(seconds)?,
            connections: make.gauge(
                "jailfleet_gateway_connections",
                "Connections of callers that are open.",
            )?,
            waiting: make.gauge(
                "jailfleet_gateway_jobs_waiting",
                "Jobs whose result somebody waits for.",
            )?,
            results: make.counters(
                "jailfleet_gateway_results_total",
                "Messages that came into the reply queue, by what became of them.",
                "came",
            )?,
            dropped: make.counters(
                "jailfleet_gateway_dropped_jobs_total",
                "Jobs that nobody waited for any longer, by what became of their cancel.",
                "cancel",
            )?,
            safe: make.gauge(
                "jailfleet_gateway_safe",
                "1 while the safety checks let code be run.",
            )?,
            checks: make.keep(GaugeVec::new(
                Opts::new(
                    "jailfleet_gateway_check",
                    "Whether a safety check passed (1) or failed (0) last; NaN before its first answer.",
                ),
                &["check"],
            )?)?,
            connected: make.gauges(
                "jailfleet_amqp_connected",
                "Whether the connection of a role is up.",
                "role",
            )?,
            blocked: make.gauge(
                "jailfleet_amqp_blocked",
                "1 while the broker blocks publishing.",
            )?,
            api: ApiMetrics::new(&make)?,
            registry,
        };
        metrics.begin();
        Ok(metrics)
    }

    /// Shows every series before anything happened.
    fn begin(&self) {
        for end in End::ALL {
            self.requests.with_label_values(&[end.as_str()]);
        }
        for came in Came::ALL {
            self.results.with_label_values(&[came.as_str()]);
        }
        for dropped in Dropped::ALL {
            self.dropped.with_label_values(&[dropped.as_str()]);
        }
        for check in Check::ALL {
            self.checks
                .with_label_values(&[check.as_str()])
                .set(f64::NAN);
        }
        self.door(&DoorState::default());
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Those of the gateway's own interface.
    pub(crate) const fn api(&self) -> &ApiMetrics {
        &self.api
    }

    pub(super) fn request(&self, end: End) {
        self.requests.with_label_values(&[end.as_str()]).inc();
    }

    pub(super) fn answered(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn connections(&self) -> Held {
        Held(self.connections.clone())
    }

    pub(super) fn waiting(&self) -> Held {
        Held(self.waiting.clone())
    }

    pub(super) fn result(&self, came: Came) {
        self.results.with_label_values(&[came.as_str()]).inc();
    }

    pub(super) fn dropped(&self, dropped: Dropped, jobs: usize) {
        let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
        self.dropped
            .with_label_values(&[dropped.as_str()])
            .inc_by(jobs);
    }

    pub(super) fn gate(&self, gate: Gate) {
        self.safe.set(i64::from(gate == Gate::Safe));
    }

    pub(super) fn check(&self, check: Check, passed: bool) {
        let shown = if passed { 1.0 } else { 0.0 };
        self.checks.with_label_values(&[check.as_str()]).set(shown);
    }

    /// How the connections to the broker are.
    pub(super) fn door(&self, state: &DoorState) {
        for (role, link) in [("consume", state.consume), ("publish", state.publish)] {
            let up = matches!(link, Link::Up | Link::Blocked);
            self.connected.with_label_values(&[role]).set(i64::from(up));
        }
        self.blocked.set(i64::from(state.publish == Link::Blocked));
    }
}

/// A gauge of what is held at one time.
#[derive(Debug, Clone)]
pub(crate) struct Held(IntGauge);

/// One more of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(IntGauge);

impl Held {
    pub(crate) const fn of(gauge: IntGauge) -> Self {
        Self(gauge)
    }

    pub(crate) fn take(&self) -> Place {
        self.0.inc();
        Place(self.0.clone())
    }

    /// One that nobody looks at.
    pub(super) fn unseen() -> Self {
        Self(IntGauge::new("unseen", "Not shown.").expect("a good name"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registers what it makes.
pub(crate) struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn keep<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, MetricsError> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(crate) fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntCounterVec, MetricsError> {
        self.keep(IntCounterVec::new(Opts::new(name, help), &[label])?)
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.keep(IntCounter::new(name, help)?)
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.keep(IntGauge::new(name, help)?)
    }

    pub(crate) fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntGaugeVec, MetricsError> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }
}
