//! One worker that serves two vhosts of a real RabbitMQ node: whose job is whose, who gets how much, and
//! whose trouble is whose.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/sender.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs that come again")]
mod sender;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::time::Duration;

use client::{Client, Job, get, get_until, until_exported};
use jailfleet_harness::{Broker, require};
use sender::{Sender, now};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use worker::{Worker, file_of};

const REPLY: &str = "jailfleet.reply.tenants";
/// Several times what the end of a run takes, from its cancel to its result.
const SOON: Duration = Duration::from_secs(2);
const LOST: &str = "jailfleet.results.lost";

/// A worker for these tenants, by name, vhost and weight, with both its slots in the bulk lane.
struct Shared {
    worker: Worker,
    admin: String,
    _settings: NamedTempFile,
}

fn start(uri: &str, tenants: &[(&str, &str, u32)]) -> Shared {
    let tables = tenants
        .iter()
        .map(|(name, vhost, weight)| {
            format!("[tenants.{name}]\nvhost = \"{vhost}\"\nweight = {weight}\n")
        })
        .collect::<String>();
    let settings = file_of(&format!(
        "[amqp]\nbackoff_max_ms = 500\nprefetch_extra = 20\n[worker.lanes]\ninteractive = 0\n{tables}"
    ));
    let path = settings.path().to_str().expect("a plain path");
    let uri = ("JAILFLEET__AMQP__URI", uri);
    let (worker, admin) = Worker::start_with_admin(&["--config", path], &[uri]);
    Shared {
        worker,
        admin,
        _settings: settings,
    }
}

impl Shared {
    async fn until_all_served(&self) {
        get_until(&self.admin, "/readyz", |answer| {
            answer.ends_with("\r\n\r\nready\n")
        })
        .await;
    }

    async fn until_exported(&self, line: &str) {
        until_exported(&self.admin, line).await;
    }

    /// Waits until it is ready for all but one, whom it names.
    async fn until_without(&self, tenant: &str) {
        let words = format!("ready, but tenant {tenant}: not connected for consuming\n");
        get_until(&self.admin, "/readyz", |answer| {
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&words)
        })
        .await;
    }

    /// Waits for a line about that tenant.
    fn says_of(&self, tenant: &str, text: &str) -> Value {
        loop {
            let line = self.worker.says(text);
            if line.pointer("/span/tenant").and_then(Value::as_str) == Some(tenant) {
                return line;
            }
        }
    }

    /// How many jobs of each tenant have got a slot, all by one scrape.
    async fn started<const N: usize>(&self, tenants: [&str; N]) -> [u64; N] {
        let page = get(&self.admin, "/metrics").await;
        tenants.map(|tenant| {
            let series = format!("jailfleet_tenant_jobs_started_total{{tenant=\"{tenant}\"}} ");
            let mut counts = page.lines().filter_map(|line| line.strip_prefix(&series));
            let count = counts
                .next()
                .unwrap_or_else(|| panic!("no {series} in {page}"));
            count.parse().expect("a number")
        })
    }
}

fn says(id: &str, word: &str) -> String {
    let code = format!("echo {word}");
    json!({ "v": 1, "id": id, "runtime": "bash", "code": code }).to_string()
}

/// Runs until somebody ends it, or for so long.
fn endless(id: &str, ms: u32) -> Value {
    let limits = json!({ "cpu_ms": ms, "wall_ms": ms });
    let code = "while :; do :; done";
    json!({ "v": 1, "id": id, "runtime": "bash", "code": code, "limits": limits })
}

/// A vhost of a name that the test chooses, in which guests may do everything.
fn make(broker: &Broker, name: &str) {
    broker.ctl(&["add_vhost", name]).expect("made");
    permit(broker, name, "guest");
}

fn permit(broker: &Broker, vhost: &str, user: &str) {
    let rights = [&["set_permissions", "--vhost", vhost, user][..], &[".*"; 3]].concat();
    broker.ctl(&rights).expect("rights");
}

#[tokio::test]
async fn equal_ids_in_two_vhosts_are_two_jobs_and_each_is_answered_in_its_own() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let (one, other) = (
        broker.vhost().expect("a vhost"),
        broker.vhost().expect("a vhost"),
    );
    let tenants = [("art", one.name(), 1), ("zoology", other.name(), 1)];
    let shared = start(&broker.uri("nobody-serves-this"), &tenants);
    shared.until_all_served().await;
    let mut art = Client::new(&one.uri(), REPLY).await;
    let mut zoology = Client::new(&other.uri(), REPLY).await;

    art.publish(Job::new("same", &says("same", "art"))).await;
    zoology
        .publish(Job::new("same", &says("same", "zoology")))
        .await;
    let (id, result) = art.result().await;
    assert_eq!((id.as_str(), &result["stdout"]), ("same", &json!("art\n")));
    let (id, result) = zoology.result().await;
    assert_eq!(
        (id.as_str(), &result["stdout"]),
        ("same", &json!("zoology\n"))
    );

    // Also of one message, byte for byte: none is the twin of the other.
    let (to_art, to_zoology) = (
        Sender::new(&one.uri(), REPLY).await,
        Sender::new(&other.uri(), REPLY).await,
    );
    let (job, published) = (
        json!({ "v": 1, "id": "twin", "runtime": "bash", "code": "echo ran" }),
        now(),
    );
    to_art.job(&job, published).await;
    let (_, result) = art.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    to_zoology.job(&job, published).await;
    let (_, result) = zoology.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");

    for tenant in ["art", "zoology"] {
        shared
            .until_exported(&format!(
                "jailfleet_tenant_jobs_started_total{{tenant=\"{tenant}\"}} 2\n"
            ))
            .await;
        shared
            .until_exported(&format!(
                "jailfleet_amqp_connected{{role=\"reap\",tenant=\"{tenant}\"}} 1\n"
            ))
            .await;
    }
    shared
        .until_exported("jailfleet_jobs_adopted_total{twin=\"finished\"} 0\n")
        .await;
    for vhost in [&mut art, &mut zoology] {
        assert_eq!(vhost.result_within(SOON).await, None, "one answer each");
    }
    shared.worker.stops();
}

/// As many as the busy stretch is long that is looked at, and then some.
const JOBS: usize = 90;
const STRETCH: u64 = 60;

#[tokio::test]
async fn of_four_jobs_that_start_three_are_those_of_the_tenant_with_three_times_the_weight() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let (one, other) = (
        broker.vhost().expect("a vhost"),
        broker.vhost().expect("a vhost"),
    );
    let tenants = [("art", one.name(), 3), ("zoology", other.name(), 1)];
    let shared = start(&broker.uri("nobody-serves-this"), &tenants);
    shared.until_all_served().await;
    let mut art = Client::new(&one.uri(), REPLY).await;
    let mut zoology = Client::new(&other.uri(), REPLY).await;
    let gate = Sender::new(&one.uri(), REPLY).await;
    // Both slots are taken while jobs of both pile up.
    for id in ["gate-1", "gate-2"] {
        gate.job(&endless(id, 60_000), now()).await;
    }
    shared
        .until_exported("jailfleet_worker_slots_busy 2\n")
        .await;
    for number in 0..JOBS {
        let id = format!("job-{number}");
        let job = says(&id, "ran");
        art.publish(Job::new(&id, &job)).await;
        zoology.publish(Job::new(&id, &job)).await;
    }
    // 22 of each are in hand: two slots' worth, and twenty more.
    shared
        .until_exported("jailfleet_jobs_in_progress{lane=\"bulk\"} 44\n")
        .await;
    assert_eq!(shared.started(["art", "zoology"]).await, [2, 0]);
    gate.cancel_jobs(&["gate-1", "gate-2"], now()).await;
    let mut looks = 0;
    loop {
        let [art, zoology] = shared.started(["art", "zoology"]).await;
        let (art, all) = (art - 2, art - 2 + zoology);
        // One job more or less than the share; one that the gates' own turns may make; and one that may start
        // while the page is written.
        let off = (4 * art).abs_diff(3 * all);
        assert!(
            off <= 4 * 3,
            "{art} of {all} were those of three times the weight"
        );
        looks += usize::from(all > 0);
        if all >= STRETCH {
            break;
        }
    }
    assert!(looks > 1, "it was looked at while it happened");

    // Once the one has no more, the other has all: nobody waits for a share that nobody uses.
    for client in [&mut art, &mut zoology] {
        let mut answered = 0;
        while answered < JOBS {
            let (id, _) = client.result().await;
            answered += usize::from(!id.starts_with("gate"));
        }
    }
    let all = u64::try_from(JOBS).expect("few");
    assert_eq!(shared.started(["art", "zoology"]).await, [all + 2, all]);
    shared.worker.stops();
}

#[tokio::test]
async fn a_vhost_that_is_deleted_stops_nobody_else_and_is_served_again_when_it_is_back() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let stays = broker.vhost().expect("a vhost");
    let goes = format!("goes-{}", std::process::id());
    make(&broker, &goes);
    let tenants = [("art", stays.name(), 1), ("zoology", goes.as_str(), 1)];
    let shared = start(&broker.uri("nobody-serves-this"), &tenants);
    shared.until_all_served().await;
    let mut art = Client::new(&stays.uri(), REPLY).await;
    let to_zoology = Sender::new(&broker.uri(&goes), REPLY).await;
    // Made, or the result of what runs would be lost for another reason.
    let zoology = Client::new(&broker.uri(&goes), REPLY).await;
    to_zoology.job(&endless("outlives", 4000), now()).await;
    shared
        .until_exported("jailfleet_worker_slots_busy 1\n")
        .await;

    broker.ctl(&["delete_vhost", &goes]).expect("deleted");
    drop((to_zoology, zoology));
    shared.until_without("zoology").await;
    shared.says_of("zoology", "no session with the broker");
    for number in 0..20 {
        let id = format!("job-{number}");
        art.publish(Job::new(&id, &says(&id, "ran"))).await;
        let (answered, result) = art.result().await;
        assert_eq!((answered, &result["stdout"]), (id, &json!("ran\n")));
    }
    shared
        .until_exported("jailfleet_amqp_connected{role=\"consume\",tenant=\"art\"} 1\n")
        .await;
    shared
        .until_exported("jailfleet_amqp_connected{role=\"consume\",tenant=\"zoology\"} 0\n")
        .await;
    // What ran when it went has ended, and its result waits.
    shared
        .until_exported("jailfleet_worker_slots_busy 0\n")
        .await;

    make(&broker, &goes);
    shared.until_all_served().await;
    let mut zoology = Client::new(&broker.uri(&goes), REPLY).await;
    zoology.until_waiting(LOST, 1).await;
    zoology
        .publish(Job::new("after", &says("after", "again")))
        .await;
    let (_, result) = zoology.result().await;
    assert_eq!(result["stdout"], "again\n", "{result}");
    shared
        .until_exported("jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n")
        .await;
    shared.worker.stops();
    broker.ctl(&["delete_vhost", &goes]).expect("it is ours");
}

#[tokio::test]
async fn a_user_with_rights_in_one_vhost_serves_that_one_until_it_has_them_in_the_other() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let (one, other) = (
        broker.vhost().expect("a vhost"),
        broker.vhost().expect("a vhost"),
    );
    let user = one.user("worker").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    let tenants = [("art", one.name(), 1), ("zoology", other.name(), 1)];
    let shared = start(&user.uri(), &tenants);
    shared.until_without("zoology").await;
    let line = shared.says_of("zoology", "no session with the broker");
    let error = line.get("error").and_then(Value::as_str).expect("why");
    assert!(error.contains(other.name()), "{error}");
    let mut art = Client::new(&one.uri(), REPLY).await;
    art.publish(Job::new("one", &says("one", "ran"))).await;
    let (_, result) = art.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");

    permit(&broker, other.name(), user.name());
    shared.until_all_served().await;
    let mut zoology = Client::new(&other.uri(), REPLY).await;
    zoology.publish(Job::new("one", &says("one", "too"))).await;
    let (_, result) = zoology.result().await;
    assert_eq!(result["stdout"], "too\n", "{result}");
    shared.worker.stops();
}

#[tokio::test]
async fn a_cancel_ends_the_job_of_its_own_vhost_and_not_that_of_the_same_id_in_the_other() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let (one, other) = (
        broker.vhost().expect("a vhost"),
        broker.vhost().expect("a vhost"),
    );
    let tenants = [("art", one.name(), 1), ("zoology", other.name(), 1)];
    let shared = start(&broker.uri("nobody-serves-this"), &tenants);
    shared.until_all_served().await;
    let mut art = Client::new(&one.uri(), REPLY).await;
    let mut zoology = Client::new(&other.uri(), REPLY).await;
    let (to_art, to_zoology) = (
        Sender::new(&one.uri(), REPLY).await,
        Sender::new(&other.uri(), REPLY).await,
    );
    let published = now();
    for sender in [&to_art, &to_zoology] {
        sender.job(&endless("loop", 60_000), published).await;
    }
    shared
        .until_exported("jailfleet_worker_slots_busy 2\n")
        .await;

    to_art.cancel_jobs(&["loop"], now()).await;
    let (_, ended) = art.result().await;
    assert_eq!(ended["outcome"], "cancelled", "{ended}");
    // The other one runs on, for long after the end of the first.
    let next = zoology.result_within(SOON).await;
    assert_eq!(next, None, "it was not meant");
    let page = get(&shared.admin, "/metrics").await;
    for line in [
        "jailfleet_worker_slots_busy 1\n",
        "jailfleet_jobs_cancelled_total{met=\"running\"} 1\n",
        "jailfleet_cancels_remembered{tenant=\"art\"} 1\n",
        "jailfleet_cancels_remembered{tenant=\"zoology\"} 0\n",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }

    to_zoology.cancel_jobs(&["loop"], now()).await;
    let (_, ended) = zoology.result().await;
    assert_eq!(ended["outcome"], "cancelled", "{ended}");
    shared
        .until_exported("jailfleet_worker_slots_busy 0\n")
        .await;
    assert_eq!(art.result_within(SOON).await, None, "one answer each");
    shared.worker.stops();
}
