//! What is a tenant's: its connections, its queues, its share of the slots.
//!
//! The label `tenant` is there only where the settings name tenants, and takes no other values than their
//! names. A worker that serves one vhost has the series that it always had.

use jailfleet::job::Name;
use jailfleet_queue::topology::Kept;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::doors::DoorEvents;
use super::made::Maker;
use super::{Drifted, MetricsError, PerKey};
use crate::supervisor::Role;
use crate::tenancy::TenantIndex;

/// The tenants' metrics, by their numbers.
#[derive(Debug)]
pub(super) struct TenantMetrics {
    each: Vec<OfTenant>,
    pub(super) events: DoorEvents,
}

/// The handles of one tenant.
#[derive(Debug)]
pub(super) struct OfTenant {
    pub(super) connected: PerKey<Role, IntGauge>,
    pub(super) blocked: IntGauge,
    pub(super) drift: PerKey<Drifted, Gauge>,
    pub(super) kept: PerKey<Kept, Gauge>,
    pub(super) cancels_remembered: IntGauge,
    pub(super) started: IntCounter,
    pub(super) slot_seconds: Counter,
}

impl TenantMetrics {
    pub(super) fn new(make: &Maker<'_>, names: &[Name]) -> Result<Self, MetricsError> {
        let families = Families::new(make, names)?;
        let each = match names {
            [] => vec![families.of(None)],
            names => names.iter().map(|name| families.of(Some(name))).collect(),
        };
        let events = make.keep(DoorEvents::new(names)?)?;
        Ok(Self { each, events })
    }

    pub(super) fn with(&self, tenant: TenantIndex, act: impl FnOnce(&OfTenant)) {
        if let Some(of_tenant) = self.each.get(tenant.0) {
            act(of_tenant);
        }
    }
}

/// The names of labels, and of the tenant where there are several.
pub(super) fn labels<'a>(own: &[&'a str], names: &[Name]) -> Vec<&'a str> {
    let tenant = (!names.is_empty()).then_some("tenant");
    own.iter().copied().chain(tenant).collect()
}

/// The values of the same.
pub(super) fn values<'a>(own: &[&'a str], name: Option<&'a Name>) -> Vec<&'a str> {
    own.iter().copied().chain(name.map(Name::as_str)).collect()
}

struct Families {
    connected: IntGaugeVec,
    blocked: IntGaugeVec,
    drift: GaugeVec,
    kept: GaugeVec,
    bound: IntGaugeVec,
    cancels_remembered: IntGaugeVec,
    started: IntCounterVec,
    slot_seconds: CounterVec,
}

impl Families {
    fn new(make: &Maker<'_>, names: &[Name]) -> Result<Self, MetricsError> {
        let whole = |name, help, own: &[&'static str]| make.gauges(name, help, &labels(own, names));
        let real = |name, help, own: &[&'static str]| {
            make.keep(GaugeVec::new(Opts::new(name, help), &labels(own, names))?)
        };
        let slot_seconds = Opts::new(
            "jailfleet_tenant_slot_seconds_total",
            "Time that slots spent with a tenant's jobs, summed over slots.",
        );
        Ok(Self {
            connected: whole(
                "jailfleet_amqp_connected",
                "Whether the connection of a role is up.",
                &["role"],
            )?,
            blocked: whole(
                "jailfleet_amqp_blocked",
                "1 while the broker blocks publishing.",
                &[],
            )?,
            drift: real(
                "jailfleet_topology_drift",
                "Exchanges, queues and bindings that are not as they should be; NaN before a look.",
                &["kind"],
            )?,
            kept: real(
                "jailfleet_kept_messages",
                "Messages in a queue that keeps them for people, looked at once a minute; NaN unseen.",
                &["queue"],
            )?,
            bound: whole(
                "jailfleet_kept_messages_bound",
                "The most messages that such a queue holds.",
                &["queue"],
            )?,
            cancels_remembered: whole(
                "jailfleet_cancels_remembered",
                "Cancelled ids and batches that this worker remembers.",
                &[],
            )?,
            started: make.counters(
                "jailfleet_tenant_jobs_started_total",
                "Jobs of a tenant that were given a slot.",
                &labels(&[], names),
            )?,
            slot_seconds: make.keep(CounterVec::new(slot_seconds, &labels(&[], names))?)?,
        })
    }

    fn of(&self, name: Option<&Name>) -> OfTenant {
        for queue in Kept::ALL {
            self.bound
                .with_label_values(&values(&[queue.as_str()], name))
                .set(i64::from(queue.bound()));
        }
        let unseen = |family: &GaugeVec, own: &str| {
            let gauge = family.with_label_values(&values(&[own], name));
            gauge.set(f64::NAN);
            gauge
        };
        OfTenant {
            connected: PerKey::new(&Role::ALL, |role| {
                self.connected
                    .with_label_values(&values(&[role.as_str()], name))
            }),
            blocked: self.blocked.with_label_values(&values(&[], name)),
            drift: PerKey::new(&Drifted::ALL, |kind| unseen(&self.drift, kind.as_str())),
            kept: PerKey::new(&Kept::ALL, |queue| unseen(&self.kept, queue.as_str())),
            cancels_remembered: self
                .cancels_remembered
                .with_label_values(&values(&[], name)),
            started: self.started.with_label_values(&values(&[], name)),
            slot_seconds: self.slot_seconds.with_label_values(&values(&[], name)),
        }
    }
}
