//! What a caller sees who does nothing wrong.

use jailfleet_harness::{Broker, require};
use serde_json::json;

use crate::own::{self, EXAMS, Own, python, python_in};

const SLEEP: &str = "import time\ntime.sleep(600)";

#[test]
fn a_job_is_posted_asked_for_waited_for_repeated_and_cancelled() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let worker = own::worker(&vhost.uri());
    let own = Own::start(&vhost.uri(), &[]);

    let reply = own.post(EXAMS, &python_in("night", "a:1", "print(6 * 7)"));
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.header("location"), Some("/api/v1/jobs/a:1"));
    assert_eq!(reply.json(), json!({ "id": "a:1", "state": "queued" }));
    let job = own.done(EXAMS, "a:1");
    let result = &job["result"];
    assert_eq!(
        (&job["id"], &job["batch"]),
        (&json!("a:1"), &json!("night"))
    );
    assert_eq!(
        (&result["stdout"], &result["outcome"]),
        (&json!("42\n"), &json!("exited"))
    );
    // By the names that the tenant gave, not those by which they travel.
    assert_eq!(
        (&result["job_id"], &result["batch"]),
        (&json!("a:1"), &json!("night"))
    );
    // As often as somebody asks, and however the path is written.
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/a%3A1").json(), job);
    assert_eq!(own.done(EXAMS, "a:1"), job);

    let again = own.post(EXAMS, &python_in("night", "a:1", "print(6 * 7)"));
    assert_eq!(
        (again.status, again.json()["state"].as_str()),
        (200, Some("done"))
    );
    let other = own.post(EXAMS, &json!([python("b", "1"), python("a:1", "print(0)")]));
    assert_eq!(
        (other.status, &other.json()["error"]["index"]),
        (409, &json!(1))
    );
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/b").status, 404);

    // One without an id gets one.
    let made = own.accepted(
        EXAMS,
        &json!({ "v": 1, "runtime": "python", "code": SLEEP }),
    );
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/jobs/{id}");
    let waiting = own.get(EXAMS, &format!("{path}?wait_ms=100"));
    assert_eq!(
        (waiting.status, waiting.json()["state"].as_str()),
        (200, Some("queued"))
    );
    let cancel = own.ask(EXAMS, "DELETE", &path);
    assert_eq!(
        (cancel.status, &cancel.json()["cancelled"]),
        (202, &json!(true))
    );
    assert_eq!(own.done(EXAMS, id)["result"]["outcome"], "cancelled");
    let late = own.ask(EXAMS, "DELETE", &path);
    assert_eq!(
        (late.status, late.json()["state"].as_str()),
        (200, Some("done"))
    );

    each_ran_once(&own);
    own.stops();
    worker.stops();
}

fn each_ran_once(own: &Own) {
    own.until_exported("jailfleet_api_results_total{came=\"first\"} 2\n");
    let metrics = own.metrics();
    for line in [
        "jailfleet_api_jobs_total{end=\"taken\"} 2\n",
        "jailfleet_api_jobs_total{end=\"repeated\"} 1\n",
        "jailfleet_api_results_total{came=\"conflict\"} 0\n",
        "jailfleet_api_requests_total{status=\"409\"} 1\n",
        "jailfleet_api_waiting 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_batch_tells_each_result_once_and_goes_on_where_its_listener_was() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let worker = own::worker(&vhost.uri());
    let own = Own::start(&vhost.uri(), &[]);
    let jobs: Vec<_> = (0..5)
        .map(|n| python_in("b1", &format!("j{n}"), &format!("print({n})")))
        .collect();
    let accepted = own.accepted(EXAMS, &json!(jobs));
    assert_eq!(accepted["jobs"].as_array().map(Vec::len), Some(5));

    let events = own.events(EXAMS, "b1", None);
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        ["result", "result", "result", "result", "result", "done"]
    );
    let mut told: Vec<_> = events
        .iter()
        .filter_map(|event| event.data["id"].as_str())
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["j0", "j1", "j2", "j3", "j4"]);
    for event in events.iter().take(5) {
        let (id, out) = (&event.data["id"], &event.data["result"]["stdout"]);
        let number = id.as_str().and_then(|id| id.strip_prefix('j'));
        assert_eq!(out.as_str().map(str::trim_end), number, "{event:?}");
    }
    let all = json!({ "batch": "b1", "jobs": 5, "done": 5 });
    assert_eq!(events[5].data, all);
    assert_eq!(own.get(EXAMS, "/api/v1/batches/b1").json(), all);

    let rest = own.events(EXAMS, "b1", events[1].id.as_deref());
    let ids = |events: &[crate::own::Event]| -> Vec<_> {
        events.iter().map(|event| event.id.clone()).collect()
    };
    assert_eq!(ids(&rest), ids(&events[2..]));
    // Whoever has heard all need not come again, which a browser would.
    let last = events[4].id.as_deref().expect("an id");
    let more = format!("Last-Event-ID: {last}\r\n");
    let path = "/api/v1/batches/b1/events";
    let over = own.send(&crate::own::head(EXAMS, "GET", path, &more));
    assert_eq!((over.status, over.body.as_str()), (204, ""));

    let jobs: Vec<_> = (0..4)
        .map(|n| python_in("b2", &format!("s{n}"), SLEEP))
        .collect();
    own.accepted(EXAMS, &json!(jobs));
    let cancel = own.ask(EXAMS, "DELETE", "/api/v1/batches/b2");
    assert_eq!(
        (cancel.status, &cancel.json()["cancelled"]),
        (202, &json!(true))
    );
    let events = own.events(EXAMS, "b2", None);
    for event in events.iter().take(4) {
        assert_eq!(event.data["result"]["outcome"], "cancelled", "{event:?}");
    }
    assert_eq!(events.len(), 5);
    // Another batch of the same tenant was not meant.
    assert_eq!(own.done(EXAMS, "j0")["result"]["outcome"], "exited");
    own.stops();
    worker.stops();
}
