//! What became of a batch: counts, rates and percentiles. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use jailfleet::outcome::Outcome;
use jailfleet::result::JobResult;
use jailfleet::units::Elapsed;
use serde_json::{Value, json};

/// Results of one batch, counted as they are stored.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    outcomes: BTreeMap<Outcome, u64>,
    exited_zero: u64,
    queued: Spans,
    run: Spans,
    total: Spans,
}

/// What else is known of a batch at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Jobs of the batch.
    pub jobs: usize,
    /// Lines of the input that were no jobs and were passed over.
    pub skipped: usize,
    /// Jobs published by this run.
    pub published: usize,
    /// Results stored by this run.
    pub stored: usize,
    /// Results stored by earlier runs.
    pub resumed: usize,
    /// Equal results after the first, dropped.
    pub duplicates: u64,
    /// Words of a lost worker that the real result of the same job replaced.
    pub replaced: u64,
    /// Results that differ from the stored one.
    pub conflicts: u64,
    /// Results that could not be read.
    pub unreadable: u64,
    /// Messages in the reply queue that answer no job of ours.
    pub strangers: u64,
    /// How long this run took.
    pub elapsed: Duration,
}

/// Measured spans, kept for their percentiles: 8 bytes a job.
#[derive(Debug, Clone, Default)]
struct Spans(Vec<u64>);

impl Spans {
    fn add(&mut self, span: Elapsed) {
        self.0.push(span.micros());
    }

    /// The smallest span that at least `percent` of 100 spans do not exceed (nearest rank).
    fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    fn quantiles(&self) -> Option<[u64; 5]> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent| Self::percentile(&sorted, percent);
        Some([at(50)?, at(90)?, at(95)?, at(99)?, at(100)?])
    }
}

const QUANTILES: [&str; 5] = ["p50", "p90", "p95", "p99", "max"];

impl Summary {
    /// Counts one result.
    pub fn add(&mut self, result: &JobResult) {
        *self.outcomes.entry(result.outcome).or_default() += 1;
        if result.outcome == Outcome::Exited && result.exit_code == Some(0) {
            self.exited_zero += 1;
        }
        if let Some(timing) = &result.timing {
            self.run.add(timing.run);
            self.total.add(timing.total);
            if let Some(queued) = timing.queued {
                self.queued.add(queued);
            }
        }
    }

    /// Results counted.
    #[must_use]
    pub fn results(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Results with that outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// Results that say nothing about their program: trouble of ours.
    #[must_use]
    pub fn ours(&self) -> u64 {
        self.count(Outcome::EngineFault) + self.count(Outcome::WorkerLost)
    }

    /// Results that only a newer version understands.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.count(Outcome::Other)
    }

    /// The summary for programs.
    #[must_use]
    pub fn to_json(&self, tally: &Tally) -> Value {
        let outcomes: serde_json::Map<String, Value> = self
            .outcomes
            .iter()
            .map(|(outcome, count)| (outcome.as_str().to_owned(), json!(count)))
            .collect();
        json!({
            "jobs": tally.jobs,
            "results": self.results(),
            "missing": self.missing(tally),
            "skipped_lines": tally.skipped,
            "outcomes": outcomes,
            "exited_zero": self.exited_zero,
            "published": tally.published,
            "stored": tally.stored,
            "resumed": tally.resumed,
            "duplicates": tally.duplicates,
            "replaced": tally.replaced,
            "conflicts": tally.conflicts,
            "unreadable": tally.unreadable,
            "strangers": tally.strangers,
            "elapsed_ms": thousandths(micros(tally.elapsed)),
            "results_per_second": rate(tally),
            "queued_ms": spans_json(&self.queued),
            "run_ms": spans_json(&self.run),
            "total_ms": spans_json(&self.total),
        })
    }

    fn missing(&self, tally: &Tally) -> u64 {
        u64::try_from(tally.jobs)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.results())
    }

    /// The summary for people.
    #[must_use]
    pub fn to_table(&self, tally: &Tally) -> String {
        let mut text = String::new();
        self.write_table(tally, &mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write_spans(&self, out: &mut String) -> fmt::Result {
        write!(out, "\n{:<10}", "ms")?;
        for name in QUANTILES {
            write!(out, "{name:>11}")?;
        }
        out.push('\n');
        for (name, spans) in [
            ("queued", &self.queued),
            ("run", &self.run),
            ("total", &self.total),
        ] {
            let Some(quantiles) = spans.quantiles() else {
                continue;
            };
            write!(out, "{name:<10}")?;
            for micros in quantiles {
                write!(
                    out,
                    "{:>11}",
                    format!("{}.{}", micros / 1000, micros % 1000 / 100)
                )?;
            }
            out.push('\n');
        }
        Ok(())
    }

    fn write_table(&self, tally: &Tally, out: &mut String) -> fmt::Result {
        let results = self.results();
        writeln!(out, "{:<16}{:>9}{:>9}", "outcome", "results", "share")?;
        let mut row = |name: &str, count: u64| {
            writeln!(out, "{name:<16}{count:>9}{:>8}%", share(count, results))
        };
        for (outcome, count) in &self.outcomes {
            if *outcome == Outcome::Exited {
                row("exited 0", self.exited_zero)?;
                row("exited, not 0", count - self.exited_zero)?;
            } else {
                row(outcome.as_str(), *count)?;
            }
        }
        row("all", results)?;
        if let missing @ 1.. = self.missing(tally) {
            writeln!(out, "{:<16}{missing:>9}", "no result yet")?;
        }

        self.write_spans(out)?;
        writeln!(
            out,
            "\n{} results in {:.1} s: {:.1} a second",
            tally.stored,
            tally.elapsed.as_secs_f64(),
            rate(tally)
        )?;
        if tally.resumed > 0 {
            writeln!(
                out,
                "{} results were there from earlier runs",
                tally.resumed
            )?;
        }
        let oddities = [
            (
                tally.skipped as u64,
                "bad lines of the input were passed over",
            ),
            (tally.duplicates, "equal duplicates were dropped"),
            (
                tally.replaced,
                "times worker_lost was replaced by the job's real result",
            ),
            (
                tally.conflicts,
                "results CONFLICT with the stored one: see the .aside file",
            ),
            (
                tally.unreadable,
                "results could not be read: see the .aside file",
            ),
            (
                tally.strangers,
                "messages answered no job of ours and were dropped",
            ),
        ];
        for (count, what) in oddities.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "{count} {what}")?;
        }
        Ok(())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds with up to three decimals.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
fn thousandths(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// Results that this run stored for each second that it took, to one decimal.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(tally: &Tally) -> f64 {
    let seconds = tally.elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return 0.0;
    }
    (tally.stored as f64 / seconds * 10.0).round() / 10.0
}

/// `count` of `all` in percent with one decimal.
fn share(count: u64, all: u64) -> String {
    let tenths = (count * 1000 + all / 2).checked_div(all).unwrap_or(0);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn spans_json(spans: &Spans) -> Value {
    let Some(quantiles) = spans.quantiles() else {
        return json!({"count": 0});
    };
    let mut object = serde_json::Map::new();
    object.insert("count".to_owned(), json!(spans.0.len()));
    for (name, micros) in QUANTILES.into_iter().zip(quantiles) {
        object.insert(name.to_owned(), json!(thousandths(micros)));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests;
