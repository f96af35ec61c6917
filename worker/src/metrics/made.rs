//! The making of every metric: names, help, labels, buckets.

use jailfleet::artifact::LeftOutReason;
use jailfleet::job::{Lane, Name};
use jailfleet::outcome::Outcome;
use jailfleet::rejection::RejectionCode;
use jailfleet::wall::Wall;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::clocks::ClockSkew;
use super::tenants::TenantMetrics;
use crate::canary::Sang;

use super::{
    Adopted, CALLS_TO_COME, CancelMetrics, EndMetrics, Heard, LaneMetrics, Met, Metrics,
    MetricsError, PerKey, PublishEnd, Reaped, RunMetrics, SetAside, SlotMetrics, Step,
};

/// 100 µs to 10 min.
const TIME_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0,
];
/// A broker's confirm: 100 µs to 10 s.
const CONFIRM_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Sizes, times four from 256 B to 1 GiB.
const SIZE_BUCKETS: &[f64] = &[
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// Registers what it makes.
pub(super) struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    pub(super) fn keep<M: Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> Result<M, MetricsError> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.keep(IntCounter::new(name, help)?)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.keep(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricsError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(Histogram::with_opts(opts)?)
    }

    fn histograms(&self, name: &str, help: &str) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::new(name, help).buckets(TIME_BUCKETS.to_vec());
        self.keep(HistogramVec::new(opts, &["lane"])?)
    }
}

/// Makes and registers every metric.
pub(super) fn all(tenants: &[Name]) -> Result<Metrics, MetricsError> {
    let registry = Registry::new();
    let make = Maker(&registry);
    registry.register(Box::new(ProcessCollector::for_self()))?;
    make.gauges(
        "jailfleet_build_info",
        "The running version; always 1.",
        &["version"],
    )?
    .with_label_values(&[env!("CARGO_PKG_VERSION")])
    .set(1);
    let walls = make.gauges(
        "jailfleet_worker_wall",
        "Whether a wall of the jail holds (1) or not (0).",
        &["wall"],
    )?;
    Ok(Metrics {
        lanes: lane_metrics(&make)?,
        ends: end_metrics(&make)?,
        runs: run_metrics(&make)?,
        slots: slot_metrics(&make)?,
        draining: make.gauge("jailfleet_worker_draining", "1 while the worker stops.")?,
        walls: PerKey::new(Wall::ALL, |wall| walls.with_label_values(&[wall.as_str()])),
        tenants: TenantMetrics::new(&make, tenants)?,
        cancels: cancel_metrics(&make)?,
        clock_skew: make.keep(ClockSkew::new()?)?,
        registry,
    })
}

fn end_metrics(make: &Maker<'_>) -> Result<EndMetrics, MetricsError> {
    let rejected = make.counters(
        "jailfleet_jobs_rejected_total",
        "Jobs refused for a mistake of their producer.",
        &["code"],
    )?;
    let set_aside = make.counters(
        "jailfleet_jobs_set_aside_total",
        "Deliveries that ended without a published result.",
        &["reason"],
    )?;
    let published = make.counters(
        "jailfleet_results_published_total",
        "Results given to the broker, by how that ended.",
        &["end"],
    )?;
    let reaped = make.counters(
        "jailfleet_dead_letters_total",
        "Dead letters that the reaper took, by what became of them.",
        &["end"],
    )?;
    let adopted = make.counters(
        "jailfleet_jobs_adopted_total",
        "Deliveries that came again, by what they met: not run again where a twin has finished or is running, \
         a job of its own where another message (a stranger) had the id.",
        &["twin"],
    )?;
    Ok(EndMetrics {
        adopted: PerKey::new(&Adopted::ALL, |twin| {
            adopted.with_label_values(&[twin.as_str()])
        }),
        reaped: PerKey::new(&Reaped::ALL, |end| {
            reaped.with_label_values(&[end.as_str()])
        }),
        rejected: PerKey::new(RejectionCode::ALL, |code| {
            rejected.with_label_values(&[code.as_str()])
        }),
        set_aside: PerKey::new(&SetAside::ALL, |reason| {
            set_aside.with_label_values(&[reason.as_str()])
        }),
        published: PerKey::new(&PublishEnd::ALL, |end| {
            published.with_label_values(&[end.as_str()])
        }),
        settle_failures: make.counter(
            "jailfleet_settle_failures_total",
            "Deliveries that could not be settled; the broker delivers them again.",
        )?,
        confirm: make.histogram(
            "jailfleet_result_confirm_seconds",
            "From publishing a result to the broker's confirm.",
            CONFIRM_BUCKETS,
        )?,
    })
}

fn cancel_metrics(make: &Maker<'_>) -> Result<CancelMetrics, MetricsError> {
    let heard = make.counters(
        "jailfleet_cancels_total",
        "Cancels that this worker heard, by what became of them.",
        &["result"],
    )?;
    let jobs = make.counters(
        "jailfleet_jobs_cancelled_total",
        "Jobs that a cancel hit here, by whether they had begun to run.",
        &["met"],
    )?;
    Ok(CancelMetrics {
        heard: PerKey::new(&Heard::ALL, |heard_as| {
            heard.with_label_values(&[heard_as.as_str()])
        }),
        jobs: PerKey::new(&Met::ALL, |met| jobs.with_label_values(&[met.as_str()])),
        forgotten: make.counter(
            "jailfleet_cancels_forgotten_total",
            "Cancelled ids and batches forgotten before their time, for want of room.",
        )?,
    })
}

fn run_metrics(make: &Maker<'_>) -> Result<RunMetrics, MetricsError> {
    let opts = Opts::new(
        "jailfleet_job_step_seconds_total",
        "Seconds that jobs spent in a step, from delivery to a clean slot.",
    );
    let steps = make.keep(CounterVec::new(opts, &["step"])?)?;
    let unknown_calls = make.counters(
        "jailfleet_unknown_syscalls_total",
        "System calls of programs that the filter's policy does not name, by number.",
        &["number"],
    )?;
    let left_out = make.counters(
        "jailfleet_artifacts_left_out_total",
        "Artifacts that were wanted and are not delivered.",
        &["reason"],
    )?;
    let numbers: Vec<Option<u32>> = CALLS_TO_COME.map(Some).chain([None]).collect();
    Ok(RunMetrics {
        unknown_calls: PerKey::new(&numbers, |number| {
            let label = number.map_or("other".to_owned(), |number| number.to_string());
            unknown_calls.with_label_values(&[label.as_str()])
        }),
        steps: PerKey::new(&Step::all(), |step| {
            steps.with_label_values(&[step.name().as_str()])
        }),
        cpu: make.histogram(
            "jailfleet_job_cpu_seconds",
            "CPU time of a run.",
            TIME_BUCKETS,
        )?,
        peak_memory: make.histogram(
            "jailfleet_job_memory_peak_bytes",
            "Highest memory use of a run, where the host can tell.",
            SIZE_BUCKETS,
        )?,
        payload: make.histogram(
            "jailfleet_job_payload_bytes",
            "Size of a job's message.",
            SIZE_BUCKETS,
        )?,
        result: make.histogram(
            "jailfleet_result_bytes",
            "Size of a result's message.",
            SIZE_BUCKETS,
        )?,
        artifacts: make.counter(
            "jailfleet_artifacts_total",
            "Artifacts that runs left and that were delivered.",
        )?,
        left_out: PerKey::new(LeftOutReason::ALL, |reason| {
            left_out.with_label_values(&[reason.as_str()])
        }),
    })
}

fn slot_metrics(make: &Maker<'_>) -> Result<SlotMetrics, MetricsError> {
    let canaries = make.counters(
        "jailfleet_canaries_total",
        "Escape attempts of our own, by what they told.",
        &["told"],
    )?;
    Ok(SlotMetrics {
        canaries: PerKey::new(&Sang::WORDS, |told| canaries.with_label_values(&[told])),
        last_good_canary: make.keep(Gauge::new(
            "jailfleet_last_good_canary_timestamp_seconds",
            "When an escape attempt of our own last failed in every way.",
        )?)?,
        escaped: make.gauge(
            "jailfleet_worker_escaped",
            "1 once a canary got out of its jail.",
        )?,
        all: make.gauge("jailfleet_worker_slots", "Slots of this worker.")?,
        busy: make.gauge("jailfleet_worker_slots_busy", "Slots with a run in them.")?,
        quarantined: make.gauge(
            "jailfleet_worker_slots_quarantined",
            "Slots that could not be proven clean and are being rebuilt.",
        )?,
        unproven: make.gauge(
            "jailfleet_worker_slots_unproven",
            "Slots that take no job because no canary has come back from them as they stand.",
        )?,
        quarantines: make.counter(
            "jailfleet_worker_slot_quarantines_total",
            "How often a slot could not be proven clean.",
        )?,
        busy_seconds: make.keep(Counter::new(
            "jailfleet_worker_slot_busy_seconds_total",
            "Time that slots spent with a job, summed over slots.",
        )?)?,
    })
}

fn lane_metrics(make: &Maker<'_>) -> Result<PerKey<Lane, LaneMetrics>, MetricsError> {
    let received = make.counters(
        "jailfleet_jobs_received_total",
        "Deliveries of jobs.",
        &["lane", "redelivered"],
    )?;
    let in_progress = make.gauges(
        "jailfleet_jobs_in_progress",
        "Jobs received and not settled.",
        &["lane"],
    )?;
    let finished = make.counters(
        "jailfleet_jobs_finished_total",
        "Jobs that came to an outcome.",
        &["lane", "outcome"],
    )?;
    let queue_wait = make.histograms(
        "jailfleet_job_queue_wait_seconds",
        "From the producer's publish (by its clock) to our receipt.",
    )?;
    let setup = make.histograms(
        "jailfleet_job_setup_seconds",
        "From receipt to the program's start.",
    )?;
    let run = make.histograms(
        "jailfleet_job_run_seconds",
        "From the program's start to its end.",
    )?;
    let total = make.histograms(
        "jailfleet_job_total_seconds",
        "From receipt to the settled delivery.",
    )?;
    let last = make.keep(GaugeVec::new(
        Opts::new(
            "jailfleet_last_delivery_timestamp_seconds",
            "When the last job came.",
        ),
        &["lane"],
    )?)?;
    Ok(PerKey::new(Lane::ALL, |lane| {
        let lane = lane.as_str();
        LaneMetrics {
            received: received.with_label_values(&[lane, "false"]),
            redelivered: received.with_label_values(&[lane, "true"]),
            in_progress: in_progress.with_label_values(&[lane]),
            finished: PerKey::new(Outcome::ALL, |outcome| {
                finished.with_label_values(&[lane, outcome.as_str()])
            }),
            queue_wait: queue_wait.with_label_values(&[lane]),
            setup: setup.with_label_values(&[lane]),
            run: run.with_label_values(&[lane]),
            total: total.with_label_values(&[lane]),
            last_delivery: last.with_label_values(&[lane]),
        }
    }))
}
