//! The gateway's admin port: `/metrics`, `/healthz` and `/readyz`, as the worker has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response};
use jailfleet_program::probes::{self, Health};

use jailfleet_queue::{DoorState, Link};

use super::Service;
use super::checks::Gate;
use super::listener::Caps;
use crate::api::Unready;

/// What the admin port grants.
pub(super) const CAPS: Caps = Caps {
    connections: 16,
    head: Duration::from_secs(5),
    work: Duration::from_secs(5),
};

/// Why no code would be run now; `None` when it would.
pub(super) fn unready(service: &Service) -> Option<&'static str> {
    let door = no_way(&service.door.borrow());
    let own = service.own.as_ref();
    let own_trouble = own.and_then(Unready::why);
    match *service.gate.borrow() {
        _ if service.stop.is_cancelled() => Some("stopping"),
        _ if own_trouble.is_some() => own_trouble,
        // Then that is all it is for.
        _ if own.is_some() && !service.settings.serve.enabled => None,
        _ if !service.settings.serve.enabled => Some("switched off (serve.enabled)"),
        _ if door.is_some() => door,
        Gate::Starting => Some("no worker has answered the safety checks yet"),
        Gate::Unsafe => Some("a safety check failed"),
        Gate::Safe => None,
    }
}

/// Why no job comes to a worker and back now.
fn no_way(door: &DoorState) -> Option<&'static str> {
    match door.publish {
        Link::Blocked => Some("the broker blocks publishing"),
        Link::Down | Link::Up | Link::Closed if !door.is_ready() => {
            Some("no connection to the broker")
        }
        Link::Down | Link::Up | Link::Closed => None,
    }
}

/// Answers a request of the admin port.
pub(super) fn respond(
    service: &Arc<Service>,
    method: &Method,
    path: &str,
) -> Response<Full<Bytes>> {
    let metrics = || {
        service.metrics.door(&service.door.borrow());
        if let Some(own) = &service.own {
            service.metrics.api().door(&own.door());
        }
        service.metrics.render()
    };
    let health = Health {
        // A broker or a fleet that is away is no reason to start the gateway anew.
        dead: None,
        unready: unready(service),
        without: None,
    };
    probes::answer(method, path, metrics, health)
}
