//! Dead jobs and lost results on a real RabbitMQ node: looked at, sent again, dropped, fetched.

#[expect(dead_code, reason = "shared with the tests of bulk")]
mod support;

use std::time::Duration;

use bytes::Bytes;
use jailfleet::job::{JobId, Name};
use jailfleet::outcome::Outcome;
use jailfleet::result::{JobResult, WorkerStamp};
use jailfleet::settings::{self, AmqpSection, LaneShares};
use jailfleet::wire;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::shelf::Shelf;
use jailfleet_queue::amqp::{self, ConsumePlan};
use jailfleet_queue::outbox::KeptBody;
use jailfleet_queue::topology::Kept;
use jailfleet_queue::{Disposition, Doors, Envelope, Parked, Published, Reply};
use serde_json::Value;
use support::{LONG, lines, producer, run};

fn section(uri: &str) -> AmqpSection {
    let env = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
    let settings = settings::producer_settings(None, &env, &[]);
    settings.expect("good settings").amqp
}

async fn doors(uri: &str) -> Doors {
    let plan = ConsumePlan {
        pool: Name::parse("default").expect("a name"),
        slots: LaneShares {
            interactive: 1,
            bulk: 1,
        },
    };
    let mut doors = amqp::open(&section(uri), &plan).expect("a door");
    let up = tokio::time::timeout(LONG, doors.state.wait_for(|state| state.is_ready()));
    drop(up.await.expect("in time").expect("the door stays open"));
    doors
}

/// Parks jobs as a reaper does.
async fn park(doors: &Doors, numbers: std::ops::Range<u32>, kept: KeptBody) {
    for number in numbers {
        let letter = Parked {
            body: Bytes::from(format!("body of job-{number}")),
            envelope: Envelope {
                message_id: Some(format!("job-{number}")),
                correlation_id: Some(format!("secret-{number}")),
                reply_to: Some("jailfleet.reply.mine".to_owned()),
                faults: 2,
                handed_on: 0,
                ..Envelope::default()
            },
            queue: "jailfleet.suspect.default".to_owned(),
            lane_key: Some("default.bulk".to_owned()),
            reason: "its worker\u{1b}[2J died".to_owned(),
            answered: Some("worker_lost"),
            kept,
            parked_ms: 1_700_000_000_000,
        };
        doors.outbox.park(letter).await.expect("parked");
    }
}

/// Publishes a result whose reply queue is gone.
async fn lose(doors: &Doors, number: u32) {
    let worker = WorkerStamp {
        host: "here".to_owned(),
        version: "0".to_owned(),
        slot: None,
        attempt: 1,
        last_canary: None,
    };
    let id = JobId::parse(&format!("job-{number}")).expect("an id");
    let result = JobResult::without_run(Some(id), Outcome::Cancelled, None, worker);
    let reply = Reply {
        reply_to: jailfleet::reply::vet("jailfleet.reply.gone", "jailfleet").expect("a good queue"),
        correlation_id: None,
        traceparent: None,
        result: wire::encode_result(&result, 1 << 20),
    };
    let published = doors.outbox.publish(reply).await;
    assert_eq!(published.expect("kept"), Published::Lost);
}

/// Runs the producer; answers with its exit code and the lines of stdout.
async fn ran(uri: &str, arguments: &[&str]) -> (i32, Vec<String>) {
    let output = run(producer(uri).args(arguments)).await;
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let code = output.status.code().expect("it exits");
    (code, text.lines().map(str::to_owned).collect())
}

fn values(lines: &[String], field: &str) -> Vec<String> {
    let value = |line: &String| {
        let object: Value = serde_json::from_str(line).expect("an object a line");
        object.get(field).and_then(Value::as_str).map(str::to_owned)
    };
    lines.iter().filter_map(value).collect()
}

fn names(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| format!("job-{number}")).collect()
}

#[tokio::test]
async fn a_look_at_dead_letters_takes_and_reorders_nothing_and_loses_nothing_if_it_is_killed() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let doors = doors(&uri).await;
    park(&doors, 0..25, KeptBody::Whole).await;
    let all = names(0..25);
    // More looks than some brokers forgive a queue without a word about its limit.
    for _ in 0..3 {
        let (code, listed) = ran(&uri, &["dead", "list", "--json"]).await;
        assert_eq!((code, values(&listed, "id")), (0, all.clone()));
        let (code, listed) = ran(&uri, &["dead", "list", "--json", "--limit", "3"]).await;
        assert_eq!((code, values(&listed, "id")), (0, names(0..3)));
    }
    let (_, table) = ran(&uri, &["dead", "list"]).await;
    assert_eq!(table.len(), 26, "a head and a row each");
    assert!(!table.join("").contains('\u{1b}'), "{table:?}");
    let (code, shown) = ran(&uri, &["dead", "show", "job-7"]).await;
    assert!(
        code == 0 && shown.contains(&"body of job-7".to_owned()),
        "{shown:?}"
    );
    let (code, _) = ran(&uri, &["dead", "show", "nobody"]).await;
    assert_eq!(code, 3);

    // What a killed look had in hand is there again.
    let mut shelf = Shelf::open(&section(&uri), Kept::DeadParked)
        .await
        .expect("a shelf");
    while shelf.next().await.expect("a look").is_some() {}
    assert_eq!(shelf.waiting().await.expect("counted"), 0);
    shelf.abandon();
    let back = async {
        let shelf = Shelf::open(&section(&uri), Kept::DeadParked)
            .await
            .expect("a shelf");
        while shelf.waiting().await.expect("counted") < 25 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, back).await.expect("in time");
    let (_, listed) = ran(&uri, &["dead", "list", "--json"]).await;
    let mut listed = values(&listed, "id");
    listed.sort();
    let mut sorted = all;
    sorted.sort();
    assert_eq!(listed, sorted);
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test]
async fn a_dead_job_is_sent_again_with_a_clean_history_or_dropped_and_the_others_stay() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let mut doors = doors(&uri).await;
    park(&doors, 0..4, KeptBody::Whole).await;
    park(&doors, 4..5, KeptBody::Head).await;

    let (code, _) = ran(&uri, &["dead", "requeue", "job-1", "nobody"]).await;
    assert_eq!(code, 3, "one of the two is not there");
    let again = tokio::time::timeout(LONG, doors.intake.next()).await;
    let again = again.expect("in time").expect("the job");
    assert_eq!(&again.body[..], b"body of job-1");
    let envelope = &again.envelope;
    assert_eq!(envelope.message_id.as_deref(), Some("job-1"));
    assert_eq!(envelope.correlation_id.as_deref(), Some("secret-1"));
    assert_eq!(envelope.reply_to.as_deref(), Some("jailfleet.reply.mine"));
    let clean = (
        envelope.faults,
        envelope.delivery_count,
        envelope.redelivered,
    );
    assert_eq!((clean, again.origin.suspect), ((0, 0, false), false));
    again.ticket.settle(Disposition::Ack).await.expect("acked");

    let (code, _) = ran(&uri, &["dead", "drop", "job-2"]).await;
    assert_eq!(code, 0);
    let (_, listed) = ran(&uri, &["dead", "list", "--json"]).await;
    assert_eq!(values(&listed, "id"), ["job-0", "job-3", "job-4"]);
    let (code, _) = ran(&uri, &["dead", "requeue", "--all"]).await;
    assert_eq!(code, 3, "of one of them only the head was kept");
    let (_, listed) = ran(&uri, &["dead", "list", "--json"]).await;
    assert_eq!(values(&listed, "id"), ["job-4"]);
    for _ in 0..2 {
        let job = tokio::time::timeout(LONG, doors.intake.next()).await;
        let job = job.expect("in time").expect("a job");
        job.ticket.settle(Disposition::Ack).await.expect("acked");
    }
    let (code, _) = ran(&uri, &["dead", "drop", "--all"]).await;
    assert_eq!(code, 0);
    let (_, listed) = ran(&uri, &["dead", "list", "--json"]).await;
    assert_eq!(listed, [""; 0]);
    let (code, _) = ran(&uri, &["dead", "drop"]).await;
    assert_eq!(code, 2, "nothing is dropped that was not named");
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test]
async fn a_lost_result_is_listed_and_fetched_into_a_file_once() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let doors = doors(&uri).await;
    for number in 0..5 {
        lose(&doors, number).await;
    }
    let (code, listed) = ran(&uri, &["lost", "list", "--json"]).await;
    assert_eq!((code, values(&listed, "job_id")), (0, names(0..5)));
    assert_eq!(values(&listed, "reply_to"), ["jailfleet.reply.gone"; 5]);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lost.jsonl");
    let path = file.to_str().expect("a plain path");
    let one = ["lost", "fetch", "--results", path, "--job", "job-3"];
    assert_eq!(ran(&uri, &one).await.0, 0);
    assert_eq!(values(&lines(&file), "job_id"), ["job-3"]);
    assert_eq!(ran(&uri, &one).await.0, 3, "it is there no more");
    // As if an earlier run had died before the broker forgot it.
    lose(&doors, 3).await;
    assert_eq!(ran(&uri, &["lost", "fetch", "--results", path]).await.0, 0);
    let expected = ["job-3", "job-0", "job-1", "job-2", "job-4"];
    assert_eq!(values(&lines(&file), "job_id"), expected);
    let (_, listed) = ran(&uri, &["lost", "list", "--json"]).await;
    assert_eq!(listed, [""; 0]);
    assert!(doors.sessions.close(Duration::from_secs(10)).await);
}
