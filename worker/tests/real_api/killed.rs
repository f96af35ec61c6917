//! Gateways that are killed while a job is on its way through them.

use std::io::{Read, Write};
use std::net::TcpStream;

use jailfleet_harness::chaos::{ChaosProxy, Method, Mischief, Spot};
use jailfleet_harness::{Broker, require};
use serde_json::{Value, json};

use crate::gateway::{connect, until_exported};
use crate::own::{EXAMS, Own, head, python_in};
use crate::worker::{LONG, Worker};

/// A note whose job was not sent is believed to be of a dead gateway after twice this.
const SETTINGS: &[&str] = &["amqp.confirm_timeout_ms=3000"];

/// A job on its way to the broker.
fn job() -> Spot {
    let publish = Spot::to_broker(Method::BASIC_PUBLISH).on("jailfleet publish");
    publish.that(|frame| frame.routing_key() == Some("default.bulk"))
}

/// A note on its way to the logbook, whose exchange needs no key.
fn note() -> Spot {
    let publish = Spot::to_broker(Method::BASIC_PUBLISH).on("jailfleet publish");
    publish.that(|frame| frame.routing_key() == Some(""))
}

/// Posts a job and waits for no answer.
fn begin(own: &Own, body: &Value) -> TcpStream {
    let body = body.to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let request = head(EXAMS, "POST", "/api/v1/jobs", &length) + &body;
    let mut stream = connect(&own.address);
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// Posts a job through a gateway that is killed while this is on its way, which then never arrives: the caller hears
/// nothing.
fn dies_at(first: Own, proxy: &ChaosProxy, spot: Spot, job: &Value) {
    let sending = proxy.at(spot, Mischief::Hold);
    let caller = begin(&first, job);
    sending.struck(LONG).expect("it is on its way");
    first.dies();
    sending.cut();
    unanswered(caller);
}

/// Sees that the connection ended without a word.
#[track_caller]
fn unanswered(mut stream: TcpStream) {
    let mut answer = Vec::new();
    // Whether it is closed or reset is the kernel's choice.
    if let Err(error) = stream.read_to_end(&mut answer) {
        eprintln!("the caller saw {error}");
    }
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

#[track_caller]
fn stands(own: &Own, id: &str, state: &str) {
    let reply = own.get(EXAMS, &format!("/api/v1/jobs/{id}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["state"], state, "{reply:?}");
}

#[test]
fn a_gateway_that_is_killed_before_it_sends_a_job_leaves_it_accepted_and_loses_none_that_it_took() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let proxy = ChaosProxy::before(&vhost.uri()).expect("a proxy");
    let first = Own::start(&proxy.uri(&vhost.uri()).expect("a URI"), SETTINGS);
    let second = Own::start(&vhost.uri(), SETTINGS);
    let taken: Vec<_> = (0..5).map(|n| format!("taken-{n}")).collect();
    for id in &taken {
        first.accepted(EXAMS, &python_in("b", id, &format!("print('{id}')")));
    }

    let torn = python_in("b", "torn", "print('torn')");
    dies_at(first, &proxy, job(), &torn);

    // Neither whoever was there nor whoever comes later can know whether it was sent.
    let third = Own::start(&vhost.uri(), SETTINGS);
    for own in [&second, &third] {
        stands(own, "torn", "accepted");
        for id in &taken {
            stands(own, id, "queued");
        }
    }
    let (worker, admin) = Worker::start_with_admin(&[], &[("JAILFLEET__AMQP__URI", &vhost.uri())]);
    for id in &taken {
        let done = third.done(EXAMS, id);
        assert_eq!(done["result"]["stdout"], format!("{id}\n"), "{done}");
    }
    stands(&third, "torn", "accepted");
    // Posted again it is only named at first: its gateway might be slow and no more than that.
    let again = loop {
        let reply = second.post(EXAMS, &torn);
        match reply.status {
            200 => assert_eq!(reply.json()["state"], "accepted", "{reply:?}"),
            // More often than its token may.
            429 => {}
            _ => break reply,
        }
    };
    assert_eq!(
        (again.status, again.json()["state"].as_str()),
        (202, Some("queued")),
        "{again:?}"
    );
    for own in [&second, &third] {
        assert_eq!(own.done(EXAMS, "torn")["result"]["stdout"], "torn\n");
        let all = json!({ "batch": "b", "jobs": 6, "done": 6 });
        assert_eq!(own.get(EXAMS, "/api/v1/batches/b").json(), all);
    }
    until_exported(&admin, "jailfleet_job_run_seconds_count{lane=\"bulk\"} 6\n");
    second.stops();
    third.stops();
    worker.stops();
}

#[test]
fn a_job_that_was_sent_by_a_gateway_that_is_killed_before_it_can_say_so_is_answered_at_another() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let proxy = ChaosProxy::before(&vhost.uri()).expect("a proxy");
    let first = Own::start(&proxy.uri(&vhost.uri()).expect("a URI"), SETTINGS);
    let second = Own::start(&vhost.uri(), SETTINGS);

    let torn = python_in("b", "torn", "print('torn')");
    // The first says that it is accepted.
    dies_at(first, &proxy, note().nth(2), &torn);

    stands(&second, "torn", "accepted");
    let (worker, admin) = Worker::start_with_admin(&[], &[("JAILFLEET__AMQP__URI", &vhost.uri())]);
    assert_eq!(second.done(EXAMS, "torn")["result"]["stdout"], "torn\n");
    let again = second.post(EXAMS, &torn);
    assert_eq!(
        (again.status, again.json()["state"].as_str()),
        (200, Some("done")),
        "{again:?}"
    );
    let events = second.events(EXAMS, "b", None);
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["result", "done"]);
    until_exported(&admin, "jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n");
    second.stops();
    worker.stops();
}
