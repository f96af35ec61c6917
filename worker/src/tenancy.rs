//! Whom a worker serves: the tenants of its settings, or the vhost of its URI alone.

use jailfleet::job::Name;
use jailfleet::settings::{AmqpSection, Tenant, WorkerSettings};
use tracing::Span;

/// A tenant's number, in the order of the tenants' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantIndex(pub usize);

/// The only tenant of a worker whose settings name none.
pub const ALONE: TenantIndex = TenantIndex(0);

/// One of those whom a worker serves.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name; `None` where the settings name no tenants.
    pub name: Option<Name>,
    /// How its sessions connect.
    pub amqp: AmqpSection,
}

/// Everybody whom a worker with these settings serves over AMQP.
#[must_use]
pub fn clients(settings: &WorkerSettings) -> Vec<Client> {
    let client = |tenant: &Tenant| Client {
        name: Some(tenant.name.clone()),
        amqp: settings.amqp.of_tenant(tenant),
    };
    if settings.tenants.is_empty() {
        let amqp = settings.amqp.clone();
        return vec![Client { name: None, amqp }];
    }
    settings.tenants.iter().map(client).collect()
}

/// Their weights.
#[must_use]
pub fn weights(settings: &WorkerSettings) -> Vec<u32> {
    if settings.tenants.is_empty() {
        return vec![1];
    }
    settings
        .tenants
        .iter()
        .map(|tenant| tenant.weight)
        .collect()
}

/// What all log lines about a tenant stand under. Of the highest level, so that no filter of lines takes
/// the name away from those that it lets through.
pub(crate) fn span(name: Option<&Name>) -> Span {
    match name {
        Some(name) => tracing::error_span!("serve", tenant = name.as_str()),
        None => Span::none(),
    }
}
