//! What the doors count by themselves, shown at each scrape.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jailfleet_queue::DoorCounters;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use super::MetricsError;

const NAME: &str = "jailfleet_door_events_total";
const HELP: &str =
    "What the doors counted: deliveries, settlements, publishes, sessions and their failures.";

/// Reads the doors' own counters whenever it is asked. Nothing is copied: a copy would have to be
/// caught up with at each scrape, and two scrapes at one time would add the difference twice.
#[derive(Debug, Clone)]
pub(super) struct DoorEvents {
    description: Desc,
    counters: Arc<OnceLock<Arc<DoorCounters>>>,
}

impl DoorEvents {
    pub(super) fn new() -> Result<Self, MetricsError> {
        let labels = vec!["event".to_owned()];
        Ok(Self {
            description: Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?,
            counters: Arc::default(),
        })
    }

    /// From now on shows these; false when it shows others already.
    pub(super) fn watch(&self, counters: Arc<DoorCounters>) -> bool {
        self.counters.set(counters).is_ok()
    }
}

impl Collector for DoorEvents {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = match self.counters.get() {
            Some(counters) => counters.snapshot(),
            // Before the doors are open nothing has happened, and every event can be asked for.
            None => DoorCounters::default().snapshot(),
        };
        let shown = IntCounterVec::new(Opts::new(NAME, HELP), &["event"])
            .expect("the same name and label were accepted at the start");
        for (event, total) in snapshot {
            shown.with_label_values(&[event]).inc_by(total);
        }
        shown.collect()
    }
}
