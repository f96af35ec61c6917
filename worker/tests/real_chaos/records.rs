//! Conversations over TLS that break, within a record or between two.

use super::{Scene, strikes};
use jailfleet_harness::chaos::{ChaosProxy, Kind, Mischief, Spot, Way};
use jailfleet_harness::{Authority, Broker, require};
use std::path::Path;
use std::time::Duration;

/// Bytes of a program and of its output: more than anything else that goes over these connections.
const LARGE: usize = 20_000;
/// Such a message is a record and a half.
const RECORD: usize = 10_000;

/// A record with a piece of a job, or of a result.
fn large(way: Way) -> Spot {
    Spot::of(way, Kind::TlsData).that(|record| record.bytes().len() > RECORD)
}

/// What ends a session: between records, in the head of one, in its middle, and by a byte that is turned in its
/// kind, its size, its content and the mark that proves it.
const ENDS: [Mischief; 8] = [
    Mischief::Cut,
    Mischief::Tear { after: 3 },
    Mischief::Tear { after: RECORD },
    Mischief::Corrupt { at: 0 },
    Mischief::Corrupt { at: 3 },
    Mischief::Corrupt { at: RECORD },
    Mischief::Corrupt { at: usize::MAX },
    Mischief::HalfOpen,
];

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_what_is_cut_torn_or_turned_costs_a_session_and_what_stalls_costs_nothing() {
    const STALL: Duration = Duration::from_secs(2);
    require!(Broker);
    let ours = Authority::new().expect("an authority");
    let server = ours.issue("server", "localhost", 2).expect("issued");
    let own = ours.issue("client", "worker", 2).expect("issued");
    let broker = Broker::own_with_tls(&ours, &server).expect("a broker");
    let uri = broker.tls_uri("127.0.0.1").expect("it speaks TLS");
    let proxy = ChaosProxy::before_tls(&uri).expect("a proxy");
    // The certificate is for the name.
    let through = proxy.uri(&uri).expect("a URI");
    let through = through.replacen("127.0.0.1", "localhost", 1);
    let file = |key: &str, path: &Path| format!("amqp.{key}={}", path.display());
    let files = [
        file("ca_file", &ours.certificate()),
        file("client_cert_file", &own.certificate),
        file("client_key_file", &own.key),
    ];
    let settings = ["amqp.heartbeat_s=4", "amqp.confirm_timeout_ms=10000"];
    let settings: Vec<&str> = settings
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let mut scene = Scene::behind(proxy, &through, &broker.uri("/"), &settings).await;
    let text = "x".repeat(LARGE);
    let (code, printed) = (format!("echo {text}"), format!("{text}\n"));

    for way in [Way::ToClient, Way::ToBroker] {
        let rule = scene.proxy.at(large(way), Mischief::Stall(STALL));
        let id = format!("stalled-{}", way_word(way));
        scene.job(&id, &code).await;
        strikes(&rule);
        scene.one_result_of(&id, &printed).await;
    }
    assert_eq!(scene.counted("session_failures").await, 0);

    let mut struck = 0;
    for way in [Way::ToClient, Way::ToBroker] {
        for (number, mischief) in ENDS.into_iter().enumerate() {
            let rule = scene.proxy.at(large(way), mischief);
            let id = format!("{}-{number}", way_word(way));
            scene.job(&id, &code).await;
            strikes(&rule);
            struck += 1;
            scene.one_result_of(&id, &printed).await;
            eprintln!("{mischief:?} {way}: answered");
            scene
                .until_counted_at_least("session_failures", struck)
                .await;
        }
    }
    assert_eq!(scene.counted("refused").await, 0, "no message was given up");
    scene.ends().await;
}

const fn way_word(way: Way) -> &'static str {
    match way {
        Way::ToBroker => "result",
        Way::ToClient => "job",
    }
}
