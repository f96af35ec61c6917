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
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
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
    import_part(broker, vhost, "--definitions");
}

/// The same of what it exports with this flag.
fn import_part(broker: &Broker, vhost: &Vhost<'_>, flag: &str) {
    let exported = command(executable())
        .args(["topology", flag])
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

/// Deletes an exchange, and makes it anew as something else where it says what.
async fn change_exchange(uri: &str, name: &str, kind: Option<ExchangeKind>) {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker is up");
    let channel = connection.create_channel().await.expect("a channel");
    let deleted = channel.exchange_delete(name.into(), ExchangeDeleteOptions::default());
    deleted.await.expect("deleted");
    if let Some(kind) = kind {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let made = channel.exchange_declare(name.into(), kind, durable, FieldTable::default());
        made.await.expect("made");
    }
    let closed = connection.close(200, "done".into()).await;
    closed.expect("it ends");
}

#[tokio::test]
async fn an_exchange_of_another_type_or_without_its_alternate_is_told_and_one_that_is_gone_is_missed()
 {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let user = vhost.user("exchanges").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    let uri = vhost.uri();
    import(&broker, &vhost);
    change_exchange(&uri, "jailfleet.ops", Some(ExchangeKind::Direct)).await;
    change_exchange(&uri, "jailfleet.results", Some(ExchangeKind::Direct)).await;
    let often = ["--set", "amqp.topology_check_ms=200"];
    let (worker, admin) = start(&user.uri(), &often).await;
    // One of another type, one without its alternate.
    until_drift(&admin, "differs", |count| count == 2.0).await;
    let mut said = Vec::new();
    while said.len() < 2 {
        let line = worker.says("is not as it should be");
        let object = line.get("object").and_then(Value::as_str);
        said.extend(object.map(str::to_owned));
    }
    said.sort();
    for (object, name) in said.iter().zip(["jailfleet.ops", "jailfleet.results"]) {
        assert!(object.ends_with(name), "{said:?}");
    }
    change_exchange(&uri, "jailfleet.beat", None).await;
    until_drift(&admin, "missing", |count| count >= 1.0).await;
    user.disconnect().expect("its connections are closed");
    until_drift(&admin, "missing", |count| count == 0.0).await;
    worker.stops();
}

#[tokio::test]
async fn the_exported_policies_bring_a_strangers_queue_to_what_the_table_says() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let client = Client::new(&vhost.uri(), "jailfleet.reply.policies").await;
    let (suspect, lost) = ("jailfleet.suspect.default", "jailfleet.results.lost");
    for queue in [suspect, lost] {
        client.declare(queue, &[], "amq.direct", queue).await;
    }
    import_part(&broker, &vhost, "--policies");
    let list = |what: &str, columns: &[&str]| -> Value {
        let listing = [what, "--vhost", vhost.name(), "--formatter", "json"];
        let listed = broker.ctl(&[&listing[..], columns].concat());
        let listed = listed.expect("a list");
        let start = listed.find('[').expect("a list");
        serde_json::from_str(listed.get(start..).expect("from there")).expect("JSON")
    };
    let queues = list("list_queues", &["name", "policy"]);
    let policies = list("list_policies", &[]);
    let called = |list: &Value, name: &str| -> Value {
        let mut found = list.as_array().expect("a list").iter();
        let row = found.find(|row| row["name"] == name);
        row.expect("it is there").clone()
    };
    let effective = |queue: &str| {
        let row = called(&queues, queue);
        assert_eq!(row["policy"], queue, "{row}");
        called(&policies, queue)["definition"].to_string()
    };
    for (queue, part) in [
        (suspect, "delivery-limit"),
        (suspect, "dead-letter-exchange"),
        (suspect, "reject-publish"),
        (lost, "message-ttl"),
        (lost, "max-length"),
    ] {
        let definition = effective(queue);
        assert!(definition.contains(part), "{queue}: {definition}");
    }
}
