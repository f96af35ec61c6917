//! Tests of the summary.

use super::*;
use jailfleet::result::{Timing, WorkerStamp};
use proptest::prelude::*;

fn result(outcome: Outcome, exit_code: Option<i32>, run_us: u64) -> JobResult {
    let worker = WorkerStamp {
        host: "h".to_owned(),
        version: "0".to_owned(),
        slot: None,
        attempt: 1,
        last_canary: None,
    };
    let mut result = JobResult::without_run(None, outcome, None, worker);
    result.exit_code = exit_code;
    result.timing = Some(Timing {
        queued: None,
        setup: Elapsed::from_micros(0),
        run: Elapsed::from_micros(run_us),
        total: Elapsed::from_micros(run_us + 10),
    });
    result
}

#[test]
fn a_failing_exit_is_counted_apart_from_a_good_one() {
    let mut summary = Summary::default();
    summary.add(&result(Outcome::Exited, Some(0), 1));
    summary.add(&result(Outcome::Exited, Some(1), 1));
    summary.add(&result(Outcome::CpuLimit, None, 1));
    let table = summary.to_table(&Tally {
        jobs: 4,
        ..Tally::default()
    });
    let row = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the row");
        line[name.len()..]
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("exited 0"), ["1", "33.3%"]);
    assert_eq!(row("exited, not 0"), ["1", "33.3%"]);
    assert_eq!(row("cpu_limit"), ["1", "33.3%"]);
    assert_eq!(row("no result yet"), ["1"]);
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let mut summary = Summary::default();
    for run_us in (1..=100).rev() {
        summary.add(&result(Outcome::Exited, Some(0), run_us * 1000));
    }
    let json = summary.to_json(&Tally::default());
    assert_eq!(
        json["run_ms"],
        json!({
            "count": 100, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0,
        })
    );
    assert_eq!(json["queued_ms"], json!({"count": 0}));
}

#[test]
fn an_empty_batch_has_a_summary_too() {
    let summary = Summary::default();
    assert!(
        summary
            .to_table(&Tally::default())
            .contains("0 results in 0.0 s: 0.0 a second")
    );
    assert_eq!(
        summary.to_json(&Tally::default())["results_per_second"],
        json!(0.0)
    );
}

#[test]
fn conflicts_are_said_aloud() {
    let tally = Tally {
        conflicts: 2,
        ..Tally::default()
    };
    assert!(
        Summary::default()
            .to_table(&tally)
            .contains("2 results CONFLICT")
    );
}

proptest! {
    /// Percentiles grow with the percent, and lie between the smallest and the largest value.
    #[test]
    fn percentiles_are_ordered(spans in prop::collection::vec(any::<u64>(), 1..50)) {
        let quantiles = Spans(spans.clone()).quantiles().expect("there are values");
        prop_assert!(quantiles.is_sorted());
        prop_assert_eq!(Some(&quantiles[4]), spans.iter().max());
        prop_assert!(spans.contains(&quantiles[0]));
    }
}
