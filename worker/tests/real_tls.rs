//! TLS and credentials with a real RabbitMQ node: who is trusted, and what is read again.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs and dead letters")]
mod client;
#[path = "support/mistakes.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod mistakes;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use client::{Client, Job};
use jailfleet::job::{Lane, Name};
use jailfleet::settings::{AmqpSection, worker_settings};
use jailfleet_harness::{Authority, Broker, Issued, PASSWORD, require};
use jailfleet_queue::JobMessage;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::topology::ReplyLife;
use mistakes::valid;
use nix::sys::signal::Signal;
use serde_json::Value;
use worker::{LONG, Worker};

/// The variable that holds the broker's address.
const URI: &str = "JAILFLEET__AMQP__URI";

/// What the settings of a client say.
struct Trust<'a> {
    uri: String,
    ca: &'a Authority,
    own: Option<&'a Issued>,
}

impl Trust<'_> {
    /// All but the URI, which holds a password and so is no flag.
    fn settings(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let mut settings = vec![("amqp.ca_file", text(&self.ca.certificate()))];
        if let Some(own) = self.own {
            settings.push(("amqp.client_cert_file", text(&own.certificate)));
            settings.push(("amqp.client_key_file", text(&own.key)));
        }
        let owned = settings.into_iter();
        owned.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn section(&self) -> AmqpSection {
        let uri = [(URI.to_owned(), self.uri.clone())];
        let settings = worker_settings(None, &uri, &self.settings());
        settings.expect("the settings are good").amqp
    }

    fn open(&self) -> ProducerDoor {
        let plan = ProducePlan {
            reply: "tls".to_owned(),
            life: ReplyLife::Passing,
            pools: vec![pool()],
            prefetch: 8,
        };
        ProducerDoor::open(&self.section(), &plan).expect("it opens")
    }

    /// Why there is no session.
    async fn refusal(&self) -> String {
        let door = self.open();
        let mut state = door.state();
        let troubled = state.wait_for(|state| state.trouble.is_some());
        let troubled = tokio::time::timeout(LONG, troubled).await.expect("in time");
        let trouble = troubled.expect("the door is open").trouble.clone();
        door.close(LONG).await;
        trouble.expect("waited for")
    }
}

fn pool() -> Name {
    Name::parse("default").expect("a name")
}

async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> (Worker, String) {
    let (worker, admin) = Worker::start_with_admin(arguments, variables);
    worker.says("taking jobs");
    client::until_ready(&admin).await;
    (worker, admin)
}

#[tokio::test]
async fn jobs_travel_over_tls_and_a_broker_that_cannot_be_verified_is_refused() {
    require!(Broker);
    let ours = Authority::new().expect("an authority");
    let server = ours.issue("server", "localhost", 2).expect("issued");
    let own = ours.issue("client", "worker", 2).expect("issued");
    let broker = Broker::own_with_tls(&ours, &server).expect("a broker");
    let uri = broker.tls_uri("localhost").expect("it speaks TLS");
    let good = Trust {
        uri: uri.clone(),
        ca: &ours,
        own: Some(&own),
    };

    let settings = good.settings();
    let sets = settings.iter().map(|(key, value)| format!("{key}={value}"));
    let sets: Vec<String> = sets.collect();
    let flags: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let (worker, _) = start(&flags, &[(URI, &uri)]).await;
    let mut door = good.open();
    door.ready(LONG).await.expect("ready");
    let job = JobMessage {
        body: Bytes::from(valid("tls").to_string()),
        message_id: "tls".to_owned(),
        correlation_id: Some("tls".to_owned()),
        reply_to: Some(door.reply_queue().to_owned()),
        pool: pool(),
        lane: Lane::Bulk,
        published_ms: None,
        traceparent: None,
    };
    door.sender().publish(job).await.expect("taken");
    let result = tokio::time::timeout(LONG, door.next_result()).await;
    let result = result.expect("in time").expect("the door is open");
    let told: Value = serde_json::from_slice(&result.message.body).expect("JSON");
    assert_eq!(told["stdout"], "42\n", "{told}");
    worker.stops();

    let strangers = Authority::new().expect("an authority");
    let elsewhere = broker.tls_uri("127.0.0.1").expect("it speaks TLS");
    for (trust, told) in [
        (
            Trust {
                ca: &strangers,
                ..good.like()
            },
            "UnknownIssuer",
        ),
        (
            Trust {
                uri: elsewhere,
                ..good.like()
            },
            "not valid for name",
        ),
    ] {
        let refusal = trust.refusal().await;
        assert!(refusal.contains(told), "{told}: {refusal}");
        assert!(!refusal.contains("guest"), "{refusal}");
    }
    let nobody = Trust {
        own: None,
        ..good.like()
    };
    nobody.is_refused_without_a_certificate().await;
    let late = ours.issue("late", "localhost", -1).expect("issued");
    broker.show(&late).expect("shown");
    let refusal = good.refusal().await;
    assert!(refusal.contains("xpired"), "{refusal}");
}

impl<'a> Trust<'a> {
    /// In TLS 1.3 the broker says so after the handshake. Where we have written something by then, the
    /// kernel's reset may overtake its word; the refusal is certain either way.
    async fn is_refused_without_a_certificate(&self) {
        let mut told = false;
        for _ in 0..20 {
            let refusal = self.refusal().await;
            let word = refusal.contains("CertificateRequired");
            assert!(word || refusal.contains("Connection reset"), "{refusal}");
            told |= word;
        }
        assert!(told, "the broker's word never came through");
    }

    fn like(&self) -> Trust<'a> {
        Trust {
            uri: self.uri.clone(),
            ..*self
        }
    }
}

#[tokio::test]
async fn a_changed_password_is_read_again_and_needs_no_restart() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let user = vhost.user("changes").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    let file = worker::file_of(PASSWORD);
    // The worker reads it again as the user that it has become.
    let anybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), anybody).expect("ours");
    let path = file.path().to_str().expect("a plain path");
    let (uri, password) = (
        user.uri_without_password(),
        format!("amqp.password_file={path}"),
    );
    // Whoever fails once waits ten minutes, unless he is told not to.
    let slow = ["amqp.backoff_min_ms=600000", "amqp.backoff_max_ms=600000"];
    let sets = [password.as_str(), slow[0], slow[1]];
    let sets = sets.map(|set| ["--set", set]).concat();
    let (worker, admin) = start(&sets, &[("JAILFLEET__AMQP__URI", &uri)]).await;

    let changed = "another/p@ssword ü";
    user.change_password(changed).expect("changed");
    user.disconnect().expect("its connections are closed");
    for _ in 0..3 {
        let line = worker.says("no session with the broker");
        assert!(!line.to_string().contains(PASSWORD), "{line}");
    }
    std::fs::write(file.path(), format!("{changed}\n")).expect("writable");
    worker.signal(Signal::SIGHUP);
    client::until_ready(&admin).await;
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.changed").await;
    let body = valid("changed").to_string();
    client.publish(Job::new("changed", &body)).await;
    let (_, told) = client.result().await;
    assert_eq!(told["stdout"], "42\n", "{told}");
    worker.stops();
}

/// Puts a copy of a file where a worker may read it, in the place of the one before.
fn put(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copied");
    let anybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(to, anybody).expect("ours");
}

#[tokio::test]
async fn renewed_certificates_and_keys_are_read_at_the_next_connection_of_a_live_worker() {
    require!(Broker);
    let ours = Authority::new().expect("an authority");
    let server = ours.issue("server", "localhost", 2).expect("issued");
    let own = ours.issue("client", "worker", 2).expect("issued");
    let broker = Broker::own_with_tls(&ours, &server).expect("a broker");
    let uri = broker.tls_uri("localhost").expect("it speaks TLS");
    let folder = tempfile::tempdir().expect("a folder");
    let anybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), anybody).expect("ours");
    let [ca, certificate, key] = ["ca", "certificate", "key"].map(|name| folder.path().join(name));
    put(&ours.certificate(), &ca);
    put(&own.certificate, &certificate);
    put(&own.key, &key);
    let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let sets = [
        format!("amqp.ca_file={}", text(&ca)),
        format!("amqp.client_cert_file={}", text(&certificate)),
        format!("amqp.client_key_file={}", text(&key)),
        "amqp.backoff_max_ms=500".to_owned(),
    ];
    let flags: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let (worker, admin) = start(&flags, &[(URI, &uri)]).await;
    let subjects = || {
        let list = ["list_connections", "peer_cert_subject"];
        broker.ctl(&list).expect("a list")
    };
    assert!(subjects().contains("worker"), "{}", subjects());

    // The broker is another one to who knows the old authority alone; so is the worker, by its key.
    let next = Authority::new().expect("an authority");
    let renewed = next.issue("server", "localhost", 2).expect("issued");
    let own = ours.issue("renewed", "renewed", 2).expect("issued");
    broker.show(&renewed).expect("shown");
    let close = ["close_all_connections", "for a test"];
    broker.ctl(&close).expect("closed");
    let line = loop {
        let line = worker.says("no session with the broker").to_string();
        if line.contains("UnknownIssuer") {
            break line;
        }
    };
    assert!(!line.contains("guest"), "{line}");
    put(&own.certificate, &certificate);
    put(&own.key, &key);
    put(&next.certificate(), &ca);
    client::until_ready(&admin).await;
    let now = subjects();
    assert!(now.contains("renewed") && !now.contains("worker"), "{now}");
    worker.stops();
}
