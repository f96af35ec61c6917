//! A worker behind a proxy that does mischief to its connections, in front of a real RabbitMQ node.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/sender.rs"]
#[expect(dead_code, reason = "shared with the tests of cancels")]
mod sender;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;
#[path = "real_chaos/connections.rs"]
mod connections;
#[path = "real_chaos/pressure.rs"]
mod pressure;
#[path = "real_chaos/records.rs"]
mod records;

use client::{Answer, Client, until_exported};
use jailfleet_harness::chaos::{ChaosProxy, Rule};
use sender::{Sender, now};
use serde_json::{Value, json};
use std::time::Duration;
use worker::{LONG, Worker};

/// More than the broker takes to bring a message that it has.
const SOON: Duration = Duration::from_millis(300);
const REPLY: &str = "jailfleet.reply.chaos";

/// A worker behind the proxy, and its clients, who talk to the broker directly.
struct Scene {
    proxy: ChaosProxy,
    worker: Worker,
    admin: String,
    client: Client,
    sender: Sender,
}

impl Scene {
    /// One with a worker of these settings, ready for jobs of the bulk lane alone.
    async fn open(uri: &str, settings: &[&str]) -> Self {
        let proxy = ChaosProxy::before(uri).expect("a proxy");
        let through = proxy.uri(uri).expect("a URI");
        Self::behind(proxy, &through, uri, settings).await
    }

    /// The same behind a proxy that is there, through which that URI leads.
    async fn behind(proxy: ChaosProxy, through: &str, uri: &str, settings: &[&str]) -> Self {
        let mut arguments = vec!["--set", "worker.lanes.interactive=0"];
        // Whoever loses a connection comes back soon: the tests shall not take longer than the mischief.
        let backoff = ["amqp.backoff_min_ms=50", "amqp.backoff_max_ms=200"];
        for setting in backoff.iter().chain(settings) {
            arguments.extend(["--set", setting]);
        }
        let variables = [("JAILFLEET__AMQP__URI", through)];
        let (worker, admin) = Worker::start_with_admin(&arguments, &variables);
        client::until_ready(&admin).await;
        Self {
            proxy,
            worker,
            admin,
            client: Client::new(uri, REPLY).await,
            sender: Sender::new(uri, REPLY).await,
        }
    }

    /// Waits for the two sessions as well that no job needs, and a worker is ready without.
    async fn until_all_are_connected(&self) {
        for role in ["reap", "control"] {
            let line = format!("jailfleet_amqp_connected{{role=\"{role}\"}} 1\n");
            until_exported(&self.admin, &line).await;
        }
    }

    async fn job(&self, id: &str, code: &str) {
        let job = json!({ "v": 1, "id": id, "runtime": "bash", "code": code });
        self.sender.job(&job, now()).await;
    }

    /// Waits until the doors have counted an event so often.
    async fn until_counted(&self, event: &str, count: u64) {
        let line = format!("jailfleet_door_events_total{{event=\"{event}\"}} {count}\n");
        until_exported(&self.admin, &line).await;
    }

    /// The same, or more often.
    async fn until_counted_at_least(&self, event: &str, count: u64) {
        let counting = async {
            while self.counted(event).await < count {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(LONG, counting).await;
        counted.unwrap_or_else(|_| panic!("{event} never came to {count}"));
    }

    /// How often the doors have counted an event.
    async fn counted(&self, event: &str) -> u64 {
        let page = client::get(&self.admin, "/metrics").await;
        let series = format!("jailfleet_door_events_total{{event=\"{event}\"}} ");
        let mut values = page.lines().filter_map(|line| line.strip_prefix(&series));
        let value = values.next().expect("it is exported from the start");
        value.parse().expect("a number")
    }

    /// The next result, which a job of this id printed this for.
    async fn result_of(&mut self, id: &str, stdout: &str) -> Answer {
        let answer = self.client.answer_within(LONG).await;
        let answer = answer.unwrap_or_else(|| panic!("no result of {id}\n{}", self.proxy.report()));
        assert_eq!(answer.correlation_id, id);
        let result: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(
            (result.get("outcome"), result.get("stdout")),
            (Some(&json!("exited")), Some(&json!(stdout)))
        );
        answer
    }

    /// The same, with whatever equal results come after it until nobody has work any more.
    async fn one_result_of(&mut self, id: &str, stdout: &str) {
        let first = self.result_of(id, stdout).await;
        client::until_ready(&self.admin).await;
        until_exported(&self.admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
        while let Some(again) = self.client.answer_within(SOON).await {
            let (named, same) = (&again.correlation_id, &again.digest);
            assert_eq!((named.as_str(), same), (id, &first.digest));
        }
    }

    /// Sees that everything is settled and nothing more comes, and stops the worker.
    async fn ends(mut self) {
        until_exported(&self.admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
        let more = self.client.answer_within(SOON).await;
        assert_eq!(more, None, "one result more than there are jobs");
        assert_eq!(self.client.waiting("jailfleet.jobs.default.bulk").await, 0);
        assert_eq!(self.client.waiting("jailfleet.results.lost").await, 0);
        assert_eq!(self.counted("tickets_dropped").await, 0);
        self.worker.stops();
    }
}

/// Waits until a rule strikes.
fn strikes(rule: &Rule) {
    tokio::task::block_in_place(|| rule.struck(LONG).expect("it strikes"));
}
