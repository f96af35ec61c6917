//! What the logbook keeps no longer: results that were pushed out, and a stream that somebody deletes.

use jailfleet_harness::chaos::ChaosProxy;
use jailfleet_harness::{Broker, Vhost, require};
use serde_json::{Value, json};

use crate::gateway::{Reply, get};
use crate::own::{self, EXAMS, Own, import, python, python_in};

const LOGBOOK: &str = "jailfleet.reply.api";

/// Makes the stream as an operator would who has little room: what is beyond two megabytes goes.
fn make_small(broker: &Broker, vhost: &Vhost<'_>) {
    let definitions = json!({ "queues": [{
        "name": LOGBOOK, "vhost": vhost.name(), "durable": true, "auto_delete": false,
        "arguments": {
            "x-queue-type": "stream",
            "x-max-length-bytes": 2_000_000,
            "x-stream-max-segment-size-bytes": 1_000_000,
        },
    }] });
    import(broker, &definitions.to_string());
}

fn delete(broker: &Broker, vhost: &Vhost<'_>) {
    let delete = ["delete_queue", "--vhost", vhost.name(), LOGBOOK];
    broker.ctl(&delete).expect("deleted");
}

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["error"]["code"].clone())
}

#[test]
fn a_result_that_newer_ones_pushed_out_is_a_410_and_its_job_is_done_all_the_same() {
    /// More results than the stream holds by far.
    const MOST: usize = 30;
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    make_small(&broker, &vhost);
    // Of two results the older one does not stay in memory.
    let own = Own::start(&vhost.uri(), &["api.cache_bytes=1048576"]);
    let worker = own::worker(&vhost.uri());
    let large = |id: &str| python_in("b", id, "print('x' * 600000)");
    own.accepted(EXAMS, &large("old"));
    own.done(EXAMS, "old");
    let mut newer = 0;
    let gone = loop {
        let id = format!("n{newer}");
        own.accepted(EXAMS, &large(&id));
        own.done(EXAMS, &id);
        newer += 1;
        let reply = own.get(EXAMS, "/api/v1/jobs/old");
        if reply.status != 200 {
            break reply;
        }
        assert!(newer < MOST, "nothing goes");
    };
    assert_eq!(code(&gone), (410, json!("kept_no_longer")));
    let counted = "jailfleet_api_requests_total{status=\"410\"} 1\n";
    assert!(own.metrics().contains(counted), "{}", own.metrics());
    // It is done: it is not run again, its batch counts it, and a listener hears of it.
    let again = own.post(EXAMS, &large("old"));
    assert_eq!(
        (again.status, again.json()["state"].as_str()),
        (200, Some("done"))
    );
    assert_eq!(own.ask(EXAMS, "DELETE", "/api/v1/jobs/old").status, 200);
    let all = json!({ "batch": "b", "jobs": newer + 1, "done": newer + 1 });
    assert_eq!(own.get(EXAMS, "/api/v1/batches/b").json(), all);
    let events = own.events(EXAMS, "b", None);
    let first = &events.first().expect("an event").data;
    assert_eq!(
        first,
        &json!({ "id": "old", "batch": "b", "state": "done" })
    );

    // Whoever reads only what is still there cannot know of it.
    let later = Own::start(&vhost.uri(), &[]);
    let unknown = later.get(EXAMS, "/api/v1/jobs/old");
    assert_eq!(code(&unknown), (404, json!("not_found")));
    later.done(EXAMS, &format!("n{}", newer - 1));
    own.stops();
    later.stops();
    worker.stops();
}

#[test]
fn a_logbook_that_is_deleted_is_told_and_counted_and_the_gateway_goes_on_with_a_new_one() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let own = Own::start(&vhost.uri(), &["amqp.backoff_max_ms=500"]);
    for n in 0..3 {
        own.accepted(EXAMS, &python(&format!("old-{n}"), "print('old')"));
    }
    assert!(
        own.metrics()
            .contains("jailfleet_api_lost_logbooks_total 0\n")
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| own.get(EXAMS, "/api/v1/jobs/old-0?wait_ms=60000"));
        own.until_exported("jailfleet_api_waiting 1\n");
        delete(&broker, &vhost);
        // At once, not when its time is up, and without a word that nobody can know yet.
        let reply = waiting.join().expect("it is answered");
        assert_eq!(code(&reply), (503, json!("not_ready")));
    });
    own.until_exported("jailfleet_api_lost_logbooks_total 1\n");
    own.until_exported("jailfleet_api_caught_up 1\n");
    own.until_exported("jailfleet_api_connected{role=\"consume\"} 1\n");
    assert_eq!(get(own.admin(), "/readyz"), "200 ready\n");
    own.until_said("was the queue deleted?");
    let said = own.until_said("the logbook was deleted");
    assert!(
        said.contains(LOGBOOK) && said.contains("unanswered=3"),
        "{said}"
    );

    let unknown = own.get(EXAMS, "/api/v1/jobs/old-0");
    assert_eq!(code(&unknown), (404, json!("not_found")));
    own.accepted(EXAMS, &python("new", "print('new')"));
    let worker = own::worker(&vhost.uri());
    assert_eq!(own.done(EXAMS, "new")["result"]["stdout"], "new\n");
    // What was sent before runs, and its results are of nobody.
    own.until_exported("jailfleet_api_results_total{came=\"unknown\"} 3\n");
    // Posted again under its id it is answered.
    own.accepted(EXAMS, &python("old-0", "print('old')"));
    assert_eq!(own.done(EXAMS, "old-0")["result"]["stdout"], "old\n");
    own.stops();
    worker.stops();
}

#[test]
fn a_gateway_that_was_away_while_another_logbook_grew_in_the_place_of_its_own_sees_it() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let proxy = ChaosProxy::before(&vhost.uri()).expect("a proxy");
    let soon = &["amqp.backoff_max_ms=500"];
    let away = Own::start(&proxy.uri(&vhost.uri()).expect("a URI"), soon);
    let there = Own::start(&vhost.uri(), soon);
    away.accepted(EXAMS, &python("old", "1"));
    proxy.goes_away();
    away.until_exported("jailfleet_api_connected{role=\"consume\"} 0\n");
    away.until_exported("jailfleet_api_connected{role=\"publish\"} 0\n");
    delete(&broker, &vhost);
    there.until_exported("jailfleet_api_lost_logbooks_total 1\n");
    there.until_exported("jailfleet_api_caught_up 1\n");
    there.until_exported("jailfleet_api_connected{role=\"consume\"} 1\n");
    // Two notes each: the new one is longer than the old one was.
    let new: Vec<_> = (0..10).map(|n| format!("new-{n}")).collect();
    for id in &new {
        there.accepted(EXAMS, &python(id, "1"));
    }
    proxy.comes_back();
    away.until_exported("jailfleet_api_connected{role=\"consume\"} 1\n");
    away.until_exported("jailfleet_api_lost_logbooks_total 1\n");
    away.until_exported("jailfleet_api_caught_up 1\n");
    for own in [&away, &there] {
        for id in &new {
            let reply = own.get(EXAMS, &format!("/api/v1/jobs/{id}"));
            assert_eq!(reply.status, 200, "{id}: {reply:?}");
        }
        let unknown = own.get(EXAMS, "/api/v1/jobs/old");
        assert_eq!(code(&unknown), (404, json!("not_found")));
    }
    away.stops();
    there.stops();
}
