//! A job whose workers died: a word of that is no answer while a better one may come.

use jailfleet_harness::{Broker, require};
use serde_json::json;

use crate::client::Client;
use crate::own::{self, EXAMS, Own, python_in};
use crate::worker;

#[test]
fn a_job_whose_workers_died_is_queued_to_whoever_asks_and_done_once_a_worker_ran_it_after_all() {
    /// One more than the broker hands out of a lane.
    const DEATHS: usize = 21;
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let own = Own::start(&uri, &[]);
    own.accepted(EXAMS, &python_in("b", "a", "print('ran')"));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let client = Client::new(&uri, "jailfleet.reply.looks").await;
        for _ in 0..DEATHS {
            Client::die_with_one_of(&uri, "jailfleet.jobs.default.bulk").await;
        }
        client.until_waiting("jailfleet.dead", 1).await;
    });

    let worker = own::worker(&uri);
    own.until_exported("jailfleet_api_results_total{came=\"provisional\"} 1\n");
    // Also to a gateway that reads of it later.
    let later = Own::start(&uri, &[]);
    for own in [&own, &later] {
        let job = own.get(EXAMS, "/api/v1/jobs/a?wait_ms=200");
        assert_eq!(
            (job.status, job.json()),
            (200, json!({ "id": "a", "batch": "b", "state": "queued" }))
        );
        let none = json!({ "batch": "b", "jobs": 1, "done": 0 });
        assert_eq!(own.get(EXAMS, "/api/v1/batches/b").json(), none);
    }
    let again = worker::producer(&uri)
        .args(["dead", "requeue", "exams:a"])
        .output()
        .expect("it starts");
    assert!(again.status.success(), "{again:?}");
    for own in [&own, &later] {
        let job = own.done(EXAMS, "a");
        assert_eq!(job["result"]["stdout"], "ran\n", "{job}");
        assert_eq!(job.get("conflicts"), None, "{job}");
        let events = own.events(EXAMS, "b", None);
        assert_eq!(events.len(), 2, "the result and the end: {events:?}");
    }
    own.stops();
    later.stops();
    worker.stops();
}
