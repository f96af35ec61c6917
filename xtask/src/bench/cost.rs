//! Where the time of a job goes, step by step, as the worker's own metrics tell it.

use crate::table::Table;
use anyhow::{Context, Result};

/// Seconds in each step so far, in the order in which the worker lists them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps(Vec<(String, f64)>);

const METRIC: &str = "jailfleet_job_step_seconds_total{step=\"";
/// The order in which a job goes through the steps that are no stages of the jail; the stages, which
/// the kernel's order of things decides, come between the second and the third.
const AROUND: [&str; 6] = ["wait", "order", "run", "report", "answer", "sweep"];

impl Steps {
    /// Reads them out of Prometheus' text format.
    pub(super) fn read(metrics: &str) -> Result<Self> {
        let steps: Option<Vec<(String, f64)>> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(METRIC))
            .map(|rest| {
                let (name, value) = rest.split_once("\"} ")?;
                Some((name.to_owned(), value.trim().parse().ok()?))
            })
            .collect();
        let steps = steps.context("read the steps in the worker's metrics")?;
        anyhow::ensure!(!steps.is_empty(), "find steps in the worker's metrics");
        Ok(Self(steps))
    }

    /// Mean microseconds a job in each step since `before`.
    pub(super) fn since(&self, before: &Self, jobs: f64) -> Vec<(String, f64)> {
        let mut means: Vec<(String, f64)> = self
            .0
            .iter()
            .map(|(name, seconds)| {
                let earlier = before.0.iter().find(|(other, _)| other == name);
                let spent = seconds - earlier.map_or(0.0, |(_, seconds)| *seconds);
                (name.clone(), spent * 1e6 / jobs)
            })
            .collect();
        means.sort_by_key(|(name, _)| rank(name));
        means
    }
}

fn rank(name: &str) -> usize {
    match AROUND.iter().position(|step| *step == name) {
        Some(at @ 0..=1) => at,
        Some(at) => at + 1,
        None => 2,
    }
}

/// One column a program.
pub(super) fn table(programs: &[(&str, Vec<(String, f64)>)]) -> String {
    let mut head = vec!["step"];
    head.extend(programs.iter().map(|(name, _)| *name));
    let mut table = Table::new(&head);
    let steps = programs.first().map(|(_, steps)| steps.as_slice());
    for (at, (step, _)) in steps.unwrap_or_default().iter().enumerate() {
        let mut means = programs
            .iter()
            .map(|(_, steps)| steps.get(at).map_or(0.0, |(_, mean)| *mean));
        if means.clone().all(|mean| mean == 0.0) {
            continue; // A stage that this worker's slots go through before any job.
        }
        let cells: Vec<String> = std::iter::once(step.clone())
            .chain(means.by_ref().map(|mean| format!("{mean:.1}")))
            .collect();
        table.row(cells);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::Steps;

    #[test]
    fn the_mean_of_each_step_is_what_came_on_top_in_the_order_of_a_jobs_way() {
        let text = |run, session, wait| {
            format!(
                "# HELP jailfleet_job_step_seconds_total x\n\
                 jailfleet_job_step_seconds_total{{step=\"run\"}} {run}\n\
                 jailfleet_job_step_seconds_total{{step=\"jail_session\"}} {session}\n\
                 jailfleet_job_step_seconds_total{{step=\"wait\"}} {wait}\nother 1\n"
            )
        };
        let before = Steps::read(&text(1.0, 0.5, 0.0)).expect("three steps");
        let after = Steps::read(&text(3.0, 1.0, 0.25)).expect("three steps");
        let means = after.since(&before, 1000.0);
        let expected = [("wait", 250.0), ("jail_session", 500.0), ("run", 2000.0)];
        let expected: Vec<_> = expected.map(|(name, mean)| (name.to_owned(), mean)).into();
        assert_eq!(means, expected);
    }

    #[test]
    fn metrics_without_steps_are_an_error() {
        assert!(Steps::read("other 1\n").is_err());
    }
}
