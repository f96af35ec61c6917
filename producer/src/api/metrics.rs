//! The metrics of the gateway's own interface. As everywhere: all series are there from the start,
//! and no label comes from a request.

use hyper::StatusCode;
use jailfleet_queue::{DoorState, Link};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::index::Came;
use crate::serve::metrics::{Held, Maker, MetricsError};

/// What became of a job of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// The broker has it.
    Taken,
    /// It was known already.
    Repeated,
    /// The broker did not take it.
    Refused,
    /// Nobody knows whether the broker has it.
    Unconfirmed,
}

impl JobEnd {
    const ALL: [Self; 4] = [
        Self::Taken,
        Self::Repeated,
        Self::Refused,
        Self::Unconfirmed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Repeated => "repeated",
            Self::Refused => "refused",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// What became of a message in the logbook that is a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It reads.
    Came(Came),
    /// It is no result.
    Unreadable,
}

impl Seen {
    const ALL: [Self; 6] = [
        Self::Came(Came::First),
        Self::Came(Came::Provisional),
        Self::Came(Came::Duplicate),
        Self::Came(Came::Conflict),
        Self::Came(Came::Stranger),
        Self::Unreadable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Came(Came::First) => "first",
            Self::Came(Came::Provisional) => "provisional",
            Self::Came(Came::Duplicate) => "duplicate",
            Self::Came(Came::Conflict) => "conflict",
            Self::Came(Came::Stranger) => "unknown",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Every status that there is an answer with.
const STATUSES: [&str; 13] = [
    "200", "202", "204", "400", "401", "403", "404", "405", "408", "409", "410", "413", "429",
];

/// Every metric of the interface.
#[derive(Debug)]
pub(crate) struct ApiMetrics {
    requests: IntCounterVec,
    jobs: IntCounterVec,
    results: IntCounterVec,
    connections: IntGauge,
    waiting: IntGauge,
    known: IntGauge,
    cached: IntGauge,
    caught_up: IntGauge,
    lost_logbooks: IntCounter,
    connected: IntGaugeVec,
}

impl ApiMetrics {
    /// Makes and registers them all.
    ///
    /// # Errors
    /// When two of them have one name: a mistake in this file.
    pub(crate) fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        let metrics = Self {
            requests: make.counters(
                "jailfleet_api_requests_total",
                "Requests to the gateway's own interface, by the status of their answer.",
                "status",
            )?,
            jobs: make.counters(
                "jailfleet_api_jobs_total",
                "Jobs of requests that were in order, by what became of them.",
                "end",
            )?,
            results: make.counters(
                "jailfleet_api_results_total",
                "Results that were read in the logbook, those of the past included, by what they were.",
                "came",
            )?,
            connections: make.gauge(
                "jailfleet_api_connections",
                "Connections of callers that are open.",
            )?,
            waiting: make.gauge(
                "jailfleet_api_waiting",
                "Requests that wait for results, event streams among them.",
            )?,
            known: make.gauge("jailfleet_api_known_jobs", "Jobs that are known.")?,
            cached: make.gauge(
                "jailfleet_api_cached_bytes",
                "Results that are kept in memory.",
            )?,
            caught_up: make.gauge(
                "jailfleet_api_caught_up",
                "1 once everything that the logbook held at the start was read.",
            )?,
            lost_logbooks: make.counter(
                "jailfleet_api_lost_logbooks_total",
                "Times that the logbook was found to be another one than before: somebody deleted it.",
            )?,
            connected: make.gauges(
                "jailfleet_api_connected",
                "Whether the interface's connection of a role is up.",
                "role",
            )?,
        };
        for status in STATUSES {
            metrics.requests.with_label_values(&[status]);
        }
        metrics.requests.with_label_values(&["503"]);
        for end in JobEnd::ALL {
            metrics.jobs.with_label_values(&[end.as_str()]);
        }
        for seen in Seen::ALL {
            metrics.results.with_label_values(&[seen.as_str()]);
        }
        metrics.door(&DoorState::default());
        Ok(metrics)
    }

    /// How the connections to the broker are.
    pub(crate) fn door(&self, state: &DoorState) {
        for (role, link) in [("consume", state.consume), ("publish", state.publish)] {
            let up = matches!(link, Link::Up | Link::Blocked);
            self.connected.with_label_values(&[role]).set(i64::from(up));
        }
    }

    pub(super) fn request(&self, status: StatusCode) {
        let status = status.as_str();
        let known = STATUSES.iter().find(|known| **known == status);
        let status = known.copied().unwrap_or("503");
        self.requests.with_label_values(&[status]).inc();
    }

    pub(super) fn jobs(&self, end: JobEnd, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.jobs.with_label_values(&[end.as_str()]).inc_by(count);
    }

    pub(super) fn result(&self, seen: Seen) {
        self.results.with_label_values(&[seen.as_str()]).inc();
    }

    pub(super) fn connections(&self) -> Held {
        Held::of(self.connections.clone())
    }

    pub(super) fn waiting(&self) -> Held {
        Held::of(self.waiting.clone())
    }

    pub(super) fn kept(&self, known: usize, cached: usize) {
        self.known.set(i64::try_from(known).unwrap_or(i64::MAX));
        self.cached.set(i64::try_from(cached).unwrap_or(i64::MAX));
    }

    pub(super) fn lost_logbook(&self) {
        self.lost_logbooks.inc();
    }

    pub(super) fn caught_up(&self, caught_up: bool) {
        self.caught_up.set(i64::from(caught_up));
    }
}
