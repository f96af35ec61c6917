//! Several gateways, gateways that come and go, and tenants that must not see each other.

use jailfleet_harness::{Broker, require};
use serde_json::json;

use crate::gateway::get;
use crate::own::{self, EXAMS, Own, SITE, python, python_in};

#[test]
fn any_gateway_answers_for_what_another_accepted_and_so_does_one_that_was_started_later() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    // Little memory: of three results the first does not fit beside the others.
    let little = &["api.cache_bytes=1048576"];
    let first = Own::start(&vhost.uri(), little);
    let second = Own::start(&vhost.uri(), little);
    let large = |n: usize| python_in("b", &format!("l{n}"), &format!("print('{n}' * 600000)"));
    let jobs: Vec<_> = (0..3).map(large).collect();
    first.accepted(EXAMS, &json!(jobs));
    // At once: not only when the other one has happened to read on.
    let there = second.get(EXAMS, "/api/v1/jobs/l2");
    assert_eq!(
        (there.status, there.json()["state"].as_str()),
        (200, Some("queued"))
    );
    let repeated = second.post(EXAMS, &large(0));
    assert_eq!(
        (repeated.status, repeated.json()["state"].as_str()),
        (200, Some("queued"))
    );
    assert_eq!(second.post(EXAMS, &python("l0", "1")).status, 409);
    first.stops();

    let worker = own::worker(&vhost.uri());
    for n in 0..3 {
        second.done(EXAMS, &format!("l{n}"));
    }
    let third = Own::start(&vhost.uri(), little);
    for own in [&second, &third] {
        for n in 0..3 {
            let job = own.get(EXAMS, &format!("/api/v1/jobs/l{n}")).json();
            let out = job["result"]["stdout"].as_str().map(str::len);
            assert_eq!(out, Some(600_001), "l{n}: {}", job["state"]);
        }
    }
    // Events have the same ids at every gateway.
    let ids = |own: &Own| -> Vec<_> {
        let events = own.events(EXAMS, "b", None);
        events.into_iter().map(|event| event.id).collect()
    };
    assert_eq!(ids(&second), ids(&third));
    assert!(
        second
            .metrics()
            .contains("jailfleet_api_jobs_total{end=\"taken\"} 0\n")
    );
    second.stops();
    third.stops();
    worker.stops();
}

#[test]
fn another_tenants_job_is_as_unknown_as_one_of_nobody_and_its_names_are_free() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let own = Own::start(&vhost.uri(), &[]);
    own.accepted(EXAMS, &python_in("b", "a", "print('exams')"));
    for (method, kind) in [
        ("GET", "jobs/{}"),
        ("DELETE", "jobs/{}"),
        ("GET", "batches/{}"),
        ("DELETE", "batches/{}"),
        ("GET", "batches/{}/events"),
    ] {
        let asked = |name: &str| {
            let path = format!("/api/v1/{}", kind.replace("{}", name));
            let reply = own.ask(SITE, method, &path);
            (reply.status, reply.body)
        };
        let name = if kind.starts_with("jobs") { "a" } else { "b" };
        let (foreign, nobodys) = (asked(name), asked("nobody"));
        assert_eq!(foreign.0, 404, "{foreign:?}");
        assert_eq!(foreign, nobodys, "{method} {kind}");
        // Nor does the name by which it travels lead there.
        assert_eq!(asked(&format!("exams:{name}")), nobodys);
    }
    own.accepted(SITE, &python_in("b", "a", "print('site')"));
    // A cancel hits only the tenant's own.
    assert_eq!(own.ask(SITE, "DELETE", "/api/v1/batches/b").status, 202);
    let worker = own::worker(&vhost.uri());
    assert_eq!(own.done(EXAMS, "a")["result"]["stdout"], "exams\n");
    assert_eq!(own.done(SITE, "a")["result"]["outcome"], "cancelled");
    own.stops();
    worker.stops();
}

#[test]
fn a_broker_that_is_away_is_a_503_and_what_was_accepted_before_is_known_after() {
    require!(Broker);
    let mut broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    let own = Own::start(&uri, &["amqp.backoff_max_ms=1000"]);
    own.accepted(EXAMS, &python("a", "print(1)"));
    assert_eq!(get(own.admin(), "/readyz"), "200 ready\n");
    broker.halt().expect("it stops");
    own.until_exported("jailfleet_api_connected{role=\"publish\"} 0\n");
    own.until_exported("jailfleet_api_connected{role=\"consume\"} 0\n");
    assert!(get(own.admin(), "/readyz").starts_with("503 not ready: /api/v1 has no connection"));
    let refused = own.post(EXAMS, &python("b", "print(2)"));
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    // Neither a word that it is not there, which nobody can know now.
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/b").status, 503);
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/a").status, 200);
    broker.resume().expect("it starts");
    own.until_exported("jailfleet_api_connected{role=\"publish\"} 1\n");
    own.until_exported("jailfleet_api_connected{role=\"consume\"} 1\n");
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/b").status, 404);
    own.accepted(EXAMS, &python("b", "print(2)"));
    let worker = own::worker(&uri);
    assert_eq!(own.done(EXAMS, "a")["result"]["stdout"], "1\n");
    assert_eq!(own.done(EXAMS, "b")["result"]["stdout"], "2\n");
    own.stops();
    worker.stops();
}
