//! codejail's HTTP interface: the gateway in front of a real RabbitMQ node, a real worker and its
//! warden.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing from an answer has to fail the test"
)]

#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no gateway")]
mod worker;
#[path = "real_serve/gateway.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of the gateway's own interface"
)]
mod gateway;
#[path = "real_serve/service.rs"]
mod service;
#[path = "real_serve/sandbox.rs"]
mod sandbox;
#[path = "real_serve/trouble.rs"]
mod trouble;
#[path = "real_serve/outage.rs"]
mod outage;
#[path = "real_serve/malformed.rs"]
mod malformed;
#[path = "real_serve/other.rs"]
mod other;

use std::panic::{AssertUnwindSafe, catch_unwind};

use gateway::{Fleet, Gateway};
use jailfleet_harness::{Broker, require};

/// One line of the service's own tests, as a test of ours.
type Behaviour = (&'static str, fn(&Gateway));

/// Tells of each function by its name.
macro_rules! behaviours {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), $name as fn(&$crate::gateway::Gateway))),*]
    };
}
use behaviours;

/// Tries all of them at one gateway, and names those that it does not keep.
fn assert_all_kept(gateway: &Gateway, behaviours: &[Behaviour]) {
    let kept = |(name, behaviour): &Behaviour| {
        eprintln!("--- {name}");
        catch_unwind(AssertUnwindSafe(|| behaviour(gateway))).is_ok()
    };
    let broken: Vec<_> = behaviours.iter().filter(|one| !kept(one)).collect();
    let names: Vec<_> = broken.iter().map(|(name, _)| *name).collect();
    assert!(names.is_empty(), "not kept: {names:#?}");
}

#[test]
fn what_the_services_own_tests_ask_of_it_holds_for_the_gateway() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&[]);
    assert_all_kept(&gateway, service::ALL);
    service::each_end_of_a_request_was_counted(&gateway);
    gateway.stops();
    fleet.stops();
}

#[test]
fn what_the_services_live_tests_ask_of_its_sandbox_holds_through_the_gateway() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&[]);
    assert_all_kept(&gateway, sandbox::ALL);
    gateway.stops();
    fleet.stops();
}
