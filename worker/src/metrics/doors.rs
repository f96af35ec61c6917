//! What the doors count by themselves, shown at each scrape.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jailfleet::job::Name;
use jailfleet_queue::DoorCounters;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use super::MetricsError;
use super::tenants::{labels, values};
use crate::tenancy::TenantIndex;

const NAME: &str = "jailfleet_door_events_total";
const HELP: &str =
    "What the doors counted: deliveries, settlements, publishes, sessions and their failures.";

/// Reads the doors' own counters whenever it is asked. Nothing is copied: a copy would have to be
/// caught up with at each scrape, and two scrapes at one time would add the difference twice.
#[derive(Debug, Clone)]
pub(super) struct DoorEvents {
    description: Desc,
    names: Arc<[Name]>,
    /// By tenants.
    counters: Arc<[OnceLock<Arc<DoorCounters>>]>,
}

impl DoorEvents {
    pub(super) fn new(names: &[Name]) -> Result<Self, MetricsError> {
        let labels = labels(&["event"], names);
        let labels = labels.into_iter().map(str::to_owned).collect();
        let tenants = names.len().max(1);
        Ok(Self {
            description: Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?,
            names: names.into(),
            counters: (0..tenants).map(|_| OnceLock::new()).collect(),
        })
    }

    /// From now on shows these; false when it shows others of that tenant already.
    pub(super) fn watch(&self, tenant: TenantIndex, counters: Arc<DoorCounters>) -> bool {
        let place = self.counters.get(tenant.0);
        place.is_some_and(|place| place.set(counters).is_ok())
    }
}

impl Collector for DoorEvents {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = IntCounterVec::new(Opts::new(NAME, HELP), &labels(&["event"], &self.names))
            .expect("the same name and labels were accepted at the start");
        for (tenant, counters) in self.counters.iter().enumerate() {
            let snapshot = match counters.get() {
                Some(counters) => counters.snapshot(),
                // Before the doors are open nothing has happened, and every event can be asked for.
                None => DoorCounters::default().snapshot(),
            };
            let name = self.names.get(tenant);
            for (event, total) in snapshot {
                shown
                    .with_label_values(&values(&[event], name))
                    .inc_by(total);
            }
        }
        shown.collect()
    }
}
