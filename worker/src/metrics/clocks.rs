//! How far producers' clocks were from ours lately, shown at each scrape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jailfleet::clocks::Skew;
use jailfleet_program::{Clock, Moment};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use super::MetricsError;

const NAME: &str = "jailfleet_clock_skew_seconds";
const HELP: &str = "The most that a producer's clock was ahead of or behind this worker's, \
     by its jobs of the last five to ten minutes.";
/// Half of the time after which a job is forgotten.
const HALF: Duration = Duration::from_secs(300);

/// The largest of the values of two halves of a window.
#[derive(Debug, Clone, Copy, Default)]
struct Largest {
    began: Moment,
    now: Duration,
    before: Duration,
}

impl Largest {
    fn turn(&mut self, now: Moment) {
        let age = now.saturating_sub(self.began);
        if age < HALF {
            return;
        }
        self.before = if age < HALF * 2 {
            self.now
        } else {
            Duration::ZERO
        };
        (self.began, self.now) = (now, Duration::ZERO);
    }

    fn saw(&mut self, now: Moment, value: Duration) {
        self.turn(now);
        self.now = self.now.max(value);
    }

    fn at(&mut self, now: Moment) -> Duration {
        self.turn(now);
        self.now.max(self.before)
    }
}

#[derive(Debug, Default)]
struct Seen {
    ahead: Largest,
    behind: Largest,
}

/// The gauge. It reads the clock at each scrape: what nobody repeats must be forgotten.
#[derive(Debug, Clone)]
pub(super) struct ClockSkew {
    description: Desc,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

impl ClockSkew {
    pub(super) fn new() -> Result<Self, MetricsError> {
        let labels = vec!["direction".to_owned()];
        Ok(Self {
            description: Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?,
            clock: Clock::start(),
            seen: Arc::default(),
        })
    }

    pub(super) fn saw(&self, skew: Skew) {
        let now = self.clock.now();
        let mut seen = self.seen();
        match skew {
            Skew::Ahead(by) => seen.ahead.saw(now, by),
            Skew::Behind(by) => seen.behind.saw(now, by),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for ClockSkew {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = self.clock.now();
        let (ahead, behind) = {
            let mut seen = self.seen();
            (seen.ahead.at(now), seen.behind.at(now))
        };
        let shown = GaugeVec::new(Opts::new(NAME, HELP), &["direction"])
            .expect("the same name and label were accepted at the start");
        for (direction, by) in [("ahead", ahead), ("behind", behind)] {
            shown.with_label_values(&[direction]).set(by.as_secs_f64());
        }
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_is_shown_for_five_to_ten_minutes_and_then_forgotten() {
        let at = Duration::from_secs;
        let mut largest = Largest::default();
        largest.saw(at(10), at(3600));
        largest.saw(at(20), at(2));
        assert_eq!(largest.at(at(299)), at(3600));
        largest.saw(at(310), at(1));
        assert_eq!(largest.at(at(580)), at(3600));
        assert_eq!(largest.at(at(615)), at(1));
        assert_eq!(largest.at(at(5000)), Duration::ZERO);
    }
}
