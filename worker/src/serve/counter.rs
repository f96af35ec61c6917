//! One tenant's place at the worker's floor: its intake, and what is asked of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use jailfleet::job::{Lane, Name};
use jailfleet_queue::{Delivery, DoorState, Intake, Link, Source};
use tokio::sync::{mpsc, watch};

use crate::metrics::Metrics;
use crate::station::Station;
use crate::supervisor::{DoorLink, Event, Role, Supervisor};
use crate::tenancy::TenantIndex;

/// Where a tenant's jobs come in.
pub(super) struct Counter {
    /// Its name, where the settings have tenants.
    pub(super) name: Option<Name>,
    pub(super) station: Arc<Station>,
    pub(super) intake: Intake,
    /// The queues that a job is wanted of now.
    wanted: &'static [Source],
}

impl Counter {
    pub(super) const fn new(name: Option<Name>, station: Arc<Station>, intake: Intake) -> Self {
        Self {
            name,
            station,
            intake,
            wanted: &[],
        }
    }

    pub(super) fn tenant(&self) -> TenantIndex {
        self.station.tenant
    }

    /// Takes note of what is wanted now.
    pub(super) fn want(&mut self, supervisor: &Supervisor) {
        let wanted = wanted(supervisor, self.tenant());
        if wanted != self.wanted {
            self.wanted = wanted;
            self.station.hands.touch(self.station.clock.now());
        }
    }

    /// Why the tenant is not served, with its name where it has one.
    pub(super) fn unserved(&self, supervisor: &Supervisor) -> Option<String> {
        let why = supervisor.unserved(self.tenant())?;
        Some(match &self.name {
            Some(name) => format!("tenant {name}: {why}"),
            None => why.to_owned(),
        })
    }
}

/// The next delivery that is wanted of anybody, and whose it is. Whose intake is looked at first changes with
/// each delivery; whose job runs first is decided where it waits for a slot.
///
/// # Cancel safety
/// Cancel safe: a delivery is taken out only when it is returned.
pub(super) async fn next_wanted(
    counters: &mut [Counter],
    first: &mut usize,
) -> (TenantIndex, Option<Delivery>) {
    poll_fn(|context| {
        let (before, from) = counters.split_at_mut((*first).min(counters.len()));
        for counter in from.iter_mut().chain(before) {
            if counter.wanted.is_empty() {
                continue;
            }
            if let Poll::Ready(delivery) = counter.intake.poll_among(context, counter.wanted) {
                let tenant = counter.tenant();
                *first = tenant.0 + 1;
                return Poll::Ready((tenant, delivery));
            }
        }
        Poll::Pending
    })
    .await
}

/// The queues to ask for a job now. Suspects run one at a time.
fn wanted(supervisor: &Supervisor, tenant: TenantIndex) -> &'static [Source] {
    match (
        supervisor.wants(tenant, Lane::Interactive),
        supervisor.wants(tenant, Lane::Bulk),
        supervisor.wants_suspect(tenant),
    ) {
        (true, true, _) => &Source::ALL,
        (true, false, true) => &[Source::Interactive, Source::Suspect],
        (true, false, false) => &[Source::Interactive],
        (false, true, _) => &[Source::Bulk, Source::Suspect],
        (false, false, _) => &[],
    }
}

/// Tells the loop how a tenant's connections are, until they are closed for good.
pub(super) async fn watch_doors(
    tenant: TenantIndex,
    mut doors: watch::Receiver<DoorState>,
    metrics: Arc<Metrics>,
    tell: mpsc::Sender<Event>,
) {
    loop {
        let events = door_events(tenant, &doors.borrow_and_update(), &metrics);
        for event in events {
            if tell.send(event).await.is_err() {
                return; // The loop has ended.
            }
        }
        if doors.changed().await.is_err() {
            return;
        }
    }
}

fn door_events(tenant: TenantIndex, state: &DoorState, metrics: &Metrics) -> [Event; 4] {
    let links = [
        (Role::Consume, state.consume),
        (Role::Publish, state.publish),
        (Role::Reap, state.reap),
        (Role::Control, state.control),
    ];
    links.map(|(role, link)| {
        let link = door_link(link);
        metrics.door(tenant, role, link);
        Event::Door { tenant, role, link }
    })
}

const fn door_link(link: Link) -> DoorLink {
    match link {
        Link::Up => DoorLink::Up,
        Link::Blocked => DoorLink::Blocked,
        Link::Down | Link::Closed => DoorLink::Down,
    }
}
