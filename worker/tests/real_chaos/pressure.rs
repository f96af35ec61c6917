//! Results that nobody takes fast enough, or at all for a while.

use super::{REPLY, Scene, strikes};
use crate::client::{self, Client};
use crate::worker::{LONG, resident_kib};
use jailfleet_harness::chaos::{ChaosProxy, Kind, Method, Mischief, Spot, Way};
use jailfleet_harness::{Broker, require};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Bytes that are no text, which a result carries in base64: 16 MiB of it.
const LARGE: &str = "head -c 12582000 /dev/zero | tr '\\0' '\\200'";
const LARGE_BYTES: usize = 12_582_000;
const ENCODED_BYTES: usize = 16_776_000;
/// Settings that let such a result be.
const ROOM: [&str; 2] = [
    "runtime_defaults.ceiling.output_bytes=13000000",
    "caps.result_bytes=18000000",
];

async fn send_large(scene: &Scene, id: &str, reply_to: &str) {
    let limits = json!({ "output_bytes": 13_000_000, "wall_ms": 20_000, "cpu_ms": 10_000 });
    let job = json!({ "v": 1, "id": id, "runtime": "bash", "code": LARGE, "limits": limits });
    let job = job.to_string();
    scene
        .client
        .publish(client::Job::new(id, &job).reply_to(Some(reply_to)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_16_mib_slowly_holds_nobody_else_up() {
    const SLOW: &str = "jailfleet.reply.slow";
    const QUICK: usize = 20;
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let mut scene = Scene::open(&uri, &ROOM).await;
    let before_kib = resident_kib(&scene.worker.pid().to_string());
    let proxy = ChaosProxy::before(&uri).expect("a proxy");
    let through = proxy.uri(&uri).expect("a URI");
    let mut slow = Client::new(&through, SLOW).await;
    let crawl = Mischief::Slow {
        bytes_per_second: 4_000_000,
    };
    let rule = proxy.at(Spot::to_client(Method::BASIC_DELIVER), crawl);
    send_large(&scene, "large", SLOW).await;
    strikes(&rule);
    for number in 0..QUICK {
        scene.job(&format!("quick-{number}"), "echo ran").await;
    }
    let mut ids = BTreeSet::new();
    while ids.len() < QUICK {
        ids.insert(scene.client.result().await.0);
    }
    let bodies = proxy.seen(Way::ToClient, Kind::ContentBody, "");
    let (id, result) = slow.result().await;
    let all = proxy.seen(Way::ToClient, Kind::ContentBody, "");
    assert!(
        bodies < all,
        "{bodies} of {all} pieces had come when the others were done"
    );
    let encoded = result["stdout"]["base64"].as_str().expect("no text");
    assert_eq!((id.as_str(), encoded.len()), ("large", ENCODED_BYTES));
    assert_eq!(result["outcome"], "exited");
    assert_eq!(scene.counted("confirm_timeouts").await, 0);
    let kib = resident_kib(&scene.worker.pid().to_string());
    let grown_kib = kib.saturating_sub(before_kib);
    assert!(
        grown_kib < 128 * 1024,
        "{grown_kib} KiB more, for results of 16 MiB"
    );
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_16_mib_pass_a_slow_way_to_the_broker_without_losing_the_session() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    // They take longer than two heartbeats, and must not look like silence.
    let settings = [&ROOM[..], &["amqp.heartbeat_s=2"]].concat();
    let mut scene = Scene::open(&vhost.uri(), &settings).await;
    let crawl = Mischief::Slow {
        bytes_per_second: 4_000_000,
    };
    let publish = Spot::to_broker(Method::BASIC_PUBLISH).on("jailfleet publish");
    let rule = scene.proxy.at(publish, crawl);
    for id in ["large-1", "large-2"] {
        send_large(&scene, id, REPLY).await;
    }
    strikes(&rule);
    for _ in 0..2 {
        let (_, result) = scene.client.result().await;
        let encoded = result["stdout"]["base64"].as_str().expect("no text");
        assert_eq!(encoded.len(), ENCODED_BYTES);
        assert_eq!(ENCODED_BYTES, LARGE_BYTES / 3 * 4);
    }
    assert_eq!(scene.counted("publish_sessions").await, 1);
    assert_eq!(scene.counted("session_failures").await, 0);
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_takes_longer_to_be_written_than_a_confirm_may_goes_out_once() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    // It takes four times as long as that, each time that it is tried.
    let settings = [&ROOM[..], &["amqp.confirm_timeout_ms=1000"]].concat();
    let mut scene = Scene::open(&vhost.uri(), &settings).await;
    let crawl = Mischief::Slow {
        bytes_per_second: 4_000_000,
    };
    let publish = Spot::to_broker(Method::BASIC_PUBLISH).on("jailfleet publish");
    let rule = scene.proxy.at(publish, crawl);
    send_large(&scene, "large", REPLY).await;
    strikes(&rule);
    scene.job("behind", "echo ran").await;
    for id in ["large", "behind"] {
        let (came, result) = scene.client.result().await;
        assert_eq!(came, id);
        assert_eq!(result["outcome"], "exited");
    }
    assert_eq!(scene.counted("confirm_timeouts").await, 0);
    assert_eq!(scene.counted("republished").await, 0);
    assert_eq!(scene.counted("publish_sessions").await, 1);
    let runs = "jailfleet_job_run_seconds_count{lane=\"bulk\"} 2\n";
    client::until_exported(&scene.admin, runs).await;
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_connection_is_named_and_counted_and_each_result_goes_out_once_when_it_is_over() {
    const JOBS: usize = 12;
    /// Several times what a confirm may take, and what a result may take to be confirmed.
    const ALARM: Duration = Duration::from_secs(6);
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    let settings = [
        "amqp.confirm_timeout_ms=1000",
        "worker.publish_timeout_ms=1000",
        "amqp.heartbeat_s=2",
    ];
    let mut scene = Scene::open(&uri, &settings).await;
    scene.until_all_are_connected().await;
    for number in 0..JOBS {
        scene
            .job(&format!("job-{number}"), "sleep 1; echo ran")
            .await;
    }
    let watermark = |fraction| {
        let set = broker.ctl(&["set_vm_memory_high_watermark", fraction]);
        set.expect("the broker takes it");
    };
    watermark("0");
    client::until_exported(&scene.admin, "jailfleet_amqp_blocked 1\n").await;
    let blocked = |answer: &str| {
        answer.starts_with("HTTP/1.1 503") && answer.contains("the broker blocks publishing")
    };
    client::get_until(&scene.admin, "/readyz", blocked).await;
    let line = scene.worker.says("the broker takes nothing now");
    assert_eq!(line["role"], "publish", "{line}");
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("memory")),
        "{line}"
    );
    scene.until_counted("blocked", 1).await;
    let mut results = Vec::new();
    // What had come before the alarm comes now; then nothing does, for longer than a confirm may take.
    while let Some((id, _)) = scene.client.result_within(ALARM).await {
        results.push(id);
    }
    assert!(results.len() < JOBS, "the alarm came too late");
    assert_eq!(
        scene.counted("confirm_timeouts").await,
        0,
        "nobody can confirm during an alarm"
    );
    watermark("0.6");
    client::until_exported(&scene.admin, "jailfleet_amqp_blocked 0\n").await;
    client::until_ready(&scene.admin).await;
    while results.len() < JOBS {
        let (id, result) = scene
            .client
            .result_within(LONG)
            .await
            .expect("a result in time");
        assert_eq!(result["stdout"], "ran\n", "{result}");
        results.push(id);
    }
    let ids: BTreeSet<&String> = results.iter().collect();
    assert_eq!(ids.len(), JOBS, "each once: {results:?}");
    let runs = format!("jailfleet_job_run_seconds_count{{lane=\"bulk\"}} {JOBS}\n");
    client::until_exported(&scene.admin, &runs).await;
    assert_eq!(scene.counted("requeued").await, 0, "no job went back");
    assert_eq!(
        scene.counted("publish_sessions").await,
        1,
        "the connection was kept"
    );
    assert_eq!(scene.counted("session_failures").await, 0);
    scene.ends().await;
}
