//! The topology on a real RabbitMQ node: exported and imported, made by strangers, and used with no
//! more rights than each party needs.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs and dead letters")]
mod client;
#[path = "support/mistakes.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod mistakes;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;
#[path = "real_topology/rights.rs"]
mod rights;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use client::{Client, Job};
use jailfleet_harness::{Broker, Vhost, require};
use lapin::types::AMQPValue;
use mistakes::valid;
use serde_json::Value;
use worker::{Worker, command, executable};

/// A worker that takes jobs, with the address of its admin port.
async fn start(uri: &str, more: &[&str]) -> (Worker, String) {
    let (worker, admin) = Worker::start_with_admin(more, &[("JAILFLEET__AMQP__URI", uri)]);
    worker.says("taking jobs");
    client::until_ready(&admin).await;
    (worker, admin)
}

/// Makes everything by what the command exports, as an operator would.
fn import(broker: &Broker, vhost: &Vhost<'_>) {
    let exported = command(executable())
        .args(["topology", "--definitions"])
        .env("JAILFLEET__AMQP__URI", vhost.uri())
        .output()
        .expect("the worker starts");
    assert!(exported.status.success(), "{exported:?}");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&exported.stdout).expect("writable");
    // The broker's tool reads it as the broker's own user.
    let anybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), anybody).expect("ours");
    let path = file.path().to_str().expect("a plain path");
    broker.ctl(&["import_definitions", path]).expect("imported");
}

/// Waits until the metric of drift has this number for `kind`.
async fn until_drift(admin: &str, kind: &str, right: impl Fn(f64) -> bool) {
    let series = format!("jailfleet_topology_drift{{kind=\"{kind}\"}} ");
    let shown = |page: &str| {
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(&series));
        lines.next().and_then(|value| value.parse().ok())
    };
    client::get_until(admin, "/metrics", |page| shown(page).is_some_and(&right)).await;
}

#[tokio::test]
async fn an_exported_topology_is_all_that_a_worker_needs_and_nothing_in_it_differs() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    import(&broker, &vhost);
    let (worker, admin) = start(&vhost.uri(), &[]).await;
    for kind in ["differs", "missing", "unseen"] {
        until_drift(&admin, kind, |count| count == 0.0).await;
    }
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.imported").await;
    let body = valid("imported").to_string();
    client.publish(Job::new("imported", &body)).await;
    let (_, told) = client.result().await;
    assert_eq!(told["stdout"], "42\n", "{told}");
    worker.stops();
}

#[tokio::test]
async fn a_queue_that_a_stranger_made_is_told_and_used_and_one_that_is_deleted_is_missed() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let user = vhost.user("all").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.strange").await;
    let classic = [("x-queue-type", AMQPValue::LongString("classic".into()))];
    let (lane, lost) = ("jailfleet.jobs.default.bulk", "jailfleet.results.lost");
    client.declare(lane, &classic, "amq.direct", "x").await;

    let often = ["--set", "amqp.topology_check_ms=200"];
    let (worker, admin) = start(&user.uri(), &often).await;
    until_drift(&admin, "differs", |count| count == 1.0).await;
    let body = valid("strange").to_string();
    client.publish(Job::new("strange", &body)).await;
    let (_, told) = client.result().await;
    assert_eq!(told["stdout"], "42\n", "{told}");

    client.delete(lost).await;
    // The queue and its binding.
    until_drift(&admin, "missing", |count| count == 2.0).await;
    user.disconnect().expect("its connections are closed");
    until_drift(&admin, "missing", |count| count == 0.0).await;
    for (said, about) in [
        ("is not as it should be", lane),
        ("is not as it should be", lost),
        ("is as it should be again", lost),
    ] {
        let line = loop {
            let line = worker.says(said);
            let object = line.get("object").and_then(Value::as_str);
            if object.is_some_and(|object| object.ends_with(about)) {
                break line;
            }
        };
        eprintln!("{line}");
    }
    worker.stops();
}
