//! When each stage of a run's set-up was done: written by the child between fork and exec, read by
//! the init that forked it.
//!
//! The numbers only ever tell how long something took. A child that was taken over could write
//! others, and nothing is decided by them.

use crate::clock;
use crate::jail::STAGES;
use crate::sys::shared::SharedNumbers;
use jailfleet::evidence::{Stage, StageTimes};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the init does before the child walks its own stages.
const BEFORE: &[Stage] = &[Stage::Namespaces, Stage::Fork];

/// The moments of one run after another, in memory that init and child share.
#[derive(Debug)]
pub struct Marks {
    /// Nanoseconds since `begun`, by stage number; zero: not reached.
    done: SharedNumbers,
    begun: Instant,
}

impl Marks {
    /// Room for the marks of one run at a time.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            done: SharedNumbers::new(Stage::ALL.len().saturating_add(1))?,
            begun: clock::now(),
        })
    }

    /// A new run's order came.
    pub fn begin(&mut self) {
        for mark in self.done.all() {
            mark.store(0, Ordering::Relaxed);
        }
        self.begun = clock::now();
    }

    /// `stage` is done now.
    ///
    /// # Async-signal-safety
    /// Safe between fork and exec: reads the clock and stores a number.
    pub fn note(&self, stage: Stage) {
        let since = clock::now().saturating_duration_since(self.begun);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        if let Some(mark) = self.done.all().get(usize::from(stage.number())) {
            mark.store(nanos.max(1), Ordering::Relaxed);
        }
    }

    /// The first stage that was not done.
    #[must_use]
    pub fn unfinished(&self) -> Stage {
        let done = |stage: &Stage| {
            let mark = self.done.all().get(usize::from(stage.number()));
            mark.is_some_and(|mark| mark.load(Ordering::Relaxed) != 0)
        };
        let mut stages = BEFORE.iter().chain(STAGES).copied();
        stages.find(|stage| !done(stage)).unwrap_or(Stage::Exec)
    }

    /// How long each stage took, from the end of the one before to its own.
    #[must_use]
    pub fn times(&self) -> StageTimes {
        differences(BEFORE.iter().chain(STAGES).copied(), |stage| {
            let mark = self.done.all().get(usize::from(stage.number()));
            mark.map_or(0, |mark: &AtomicU64| mark.load(Ordering::Relaxed))
        })
    }
}

fn differences(stages: impl Iterator<Item = Stage>, done_at: impl Fn(Stage) -> u64) -> StageTimes {
    let mut times = StageTimes::default();
    let mut before = 0;
    for stage in stages {
        let at = done_at(stage);
        if at > before {
            times.note(stage, Duration::from_nanos(at.saturating_sub(before)));
            before = at;
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::{BEFORE, Marks, differences};
    use crate::jail::STAGES;
    use jailfleet::evidence::{Stage, StageTimes};
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn a_stage_took_what_lies_between_its_end_and_the_end_of_the_one_before() {
        // The session was never reached, or its number cannot be: it took nothing.
        let done = [
            (Stage::Namespaces, 100),
            (Stage::Fork, 250),
            (Stage::Session, 7),
            (Stage::Exec, 1000),
        ];
        let times = differences(done.iter().map(|(stage, _)| *stage), |stage| {
            let mark = done.iter().find(|(other, _)| *other == stage);
            mark.map_or(0, |(_, at)| *at)
        });
        let mut expected = StageTimes::default();
        expected.note(Stage::Namespaces, Duration::from_nanos(100));
        expected.note(Stage::Fork, Duration::from_nanos(150));
        expected.note(Stage::Exec, Duration::from_nanos(750));
        assert_eq!(times, expected);
    }

    #[test]
    fn no_stage_is_timed_twice() {
        let all: Vec<Stage> = BEFORE.iter().chain(STAGES).copied().collect();
        let different: BTreeSet<Stage> = all.iter().copied().collect();
        assert_eq!(all.len(), different.len());
    }

    #[test]
    fn a_new_run_begins_without_the_marks_of_the_last() {
        let mut marks = Marks::new().expect("a page");
        marks.note(Stage::Exec);
        assert_ne!(marks.times(), StageTimes::default());
        marks.begin();
        assert_eq!(marks.times(), StageTimes::default());
    }
}
