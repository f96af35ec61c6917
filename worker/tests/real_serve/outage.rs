//! A broker that goes away under a gateway, or is not there when it starts; and several gateways on one.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use jailfleet_harness::chaos::ChaosProxy;
use jailfleet_harness::{Broker, require};
use serde_json::{Value, json};

use crate::gateway::{Fleet, Gateway, Reply, connect, get, request, until_exported, urlencoded};

/// What callers of these gateways wait for at most, in milliseconds.
const PATIENCE: u128 = 6_000;
const SETTINGS: [&str; 4] = [
    "serve.read_timeout_ms=7000",
    "serve.margin_ms=1000",
    "amqp.backoff_min_ms=50",
    "amqp.backoff_max_ms=200",
];
const AWAY: &str = r#"{"error":"The broker takes no job now; try again"}"#;

fn sends(gateway: &Gateway, code: &str) -> std::net::TcpStream {
    let payload = json!({ "code": code, "globals_dict": { "given": 1 } }).to_string();
    let mut stream = connect(&gateway.address);
    let form = "application/x-www-form-urlencoded";
    let request = request(form, urlencoded(&payload).as_bytes());
    stream.write_all(&request).expect("it reads");
    stream
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is what is asked for"
)]
fn now() -> Instant {
    Instant::now()
}

/// The answer came when the caller's time was up, and before the caller himself would have gone.
#[track_caller]
fn in_time(started: Instant) {
    let took = started.elapsed().as_millis();
    assert!(
        (PATIENCE - 200..PATIENCE + 1_000).contains(&took),
        "{took} ms"
    );
}

#[test]
fn a_caller_hears_of_a_broker_that_goes_away_only_if_it_is_not_back_in_time() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let proxy = ChaosProxy::before(&vhost.uri()).expect("a proxy");
    // The workers keep their broker.
    let fleet = Fleet::start(&vhost.uri());
    let through = proxy.uri(&vhost.uri()).expect("a URI");
    let gateway = Gateway::start(&through, &SETTINGS);
    gateway.until_exported("jailfleet_gateway_safe 1\n");
    let away = "jailfleet_amqp_connected{role=\"consume\"} 0\n";

    // Away while the code runs, and back: the result has waited.
    let waiting = sends(
        &gateway,
        "import time\ntime.sleep(1)\nleft = given + 1\ndel time",
    );
    until_exported(&fleet.admin, "jailfleet_worker_slots_busy 1\n");
    proxy.goes_away();
    gateway.until_exported(away);
    until_exported(&fleet.admin, "jailfleet_worker_slots_busy 0\n");
    proxy.comes_back();
    Reply::from(waiting).assert(200, r#"{"globals_dict":{"given":1,"left":2}}"#);

    // Away for longer than callers wait: one whose job runs, and one who comes then.
    let started = now();
    let waiting = sends(&gateway, "import time\ntime.sleep(1)");
    until_exported(&fleet.admin, "jailfleet_worker_slots_busy 1\n");
    proxy.goes_away();
    gateway.until_exported(away);
    let ready = get(&gateway.admin, "/readyz");
    assert_eq!(ready, "503 not ready: no connection to the broker\n");
    // The walls have not fallen: that is another question than whether somebody can be asked.
    gateway.get("/health/").assert(200, r#"{"status": "OK"}"#);
    let (came, later) = (now(), sends(&gateway, "x = 1"));
    let words = r#"{"error":"The broker went away with the answer; try again"}"#;
    Reply::from(waiting).assert(503, words);
    in_time(started);
    Reply::from(later).assert(503, AWAY);
    in_time(came);
    gateway.until_exported("jailfleet_gateway_requests_total{end=\"failed.broker\"} 2\n");
    gateway.until_exported("jailfleet_gateway_jobs_waiting 0\n");

    // One who comes while it is away is served if it is back in time.
    let waiting = sends(&gateway, "left = given + 2");
    proxy.comes_back();
    Reply::from(waiting).assert(200, r#"{"globals_dict":{"given":1,"left":3}}"#);
    assert_eq!(get(&gateway.admin, "/readyz"), "200 ready\n");
    gateway.stops();
    fleet.stops();
}

#[test]
fn a_gateway_that_starts_before_its_broker_runs_nothing_and_serves_as_soon_as_it_is_there() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let proxy = ChaosProxy::before(&vhost.uri()).expect("a proxy");
    proxy.goes_away();
    let through = proxy.uri(&vhost.uri()).expect("a URI");
    let gateway = Gateway::start(&through, &SETTINGS);
    let started = now();
    let payload = r#"{"code": "x = 1", "globals_dict": {}}"#;
    let refused = r#"{"error":"Codejail service is not correctly configured"}"#;
    gateway.payload(payload).assert(500, refused);
    // At once, since nothing says that it will be there in time.
    assert!(started.elapsed() < Duration::from_secs(3));
    let health = gateway.get("/health/");
    health.assert(503, r#"{"status": "UNAVAILABLE"}"#);
    let ready = get(&gateway.admin, "/readyz");
    assert_eq!(ready, "503 not ready: no connection to the broker\n");
    assert!(get(&gateway.admin, "/healthz").starts_with("200"));

    proxy.comes_back();
    let fleet = Fleet::start(&vhost.uri());
    gateway.until_exported("jailfleet_gateway_safe 1\n");
    gateway
        .payload(payload)
        .assert(200, r#"{"globals_dict":{"x":1}}"#);
    gateway.stops();
    fleet.stops();
}

const GATEWAYS: usize = 3;
/// Callers of each at one time.
const CALLERS: usize = 4;
const CALLS: usize = 8;

#[test]
fn several_gateways_on_one_broker_answer_each_caller_with_his_own() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateways: Vec<_> = (0..GATEWAYS).map(|_| fleet.gateway(&[])).collect();
    let answers: Vec<Value> = thread::scope(|scope| {
        let callers: Vec<_> = (0..GATEWAYS * CALLERS)
            .map(|caller| {
                let gateway = &gateways[caller % GATEWAYS];
                scope.spawn(move || calls_of(gateway, caller))
            })
            .collect();
        let joined = callers.into_iter().map(|caller| caller.join());
        joined.flat_map(|all| all.expect("answered")).collect()
    });
    let different: BTreeSet<String> = answers.iter().map(Value::to_string).collect();
    assert_eq!(different.len(), GATEWAYS * CALLERS * CALLS);
    for gateway in gateways {
        let metrics = gateway.metrics();
        let unawaited = "jailfleet_gateway_results_total{came=\"unawaited\"} 0\n";
        assert!(metrics.contains(unawaited), "{metrics}");
        gateway.stops();
    }
    fleet.stops();
}

/// One caller's calls, one after the other; every other one fails, in words of its own.
fn calls_of(gateway: &Gateway, caller: usize) -> Vec<Value> {
    let call = |number: usize| {
        let mine = json!({ "caller": caller, "number": number });
        if number.is_multiple_of(2) {
            let answer = gateway.run("twice = [mine, mine]", &json!({ "mine": mine }));
            let expected = json!({ "globals_dict": { "mine": mine, "twice": [mine, mine] } });
            assert_eq!(answer, expected);
            return answer;
        }
        let answer = gateway.run("raise ValueError(mine)", &json!({ "mine": mine }));
        assert_eq!(answer["globals_dict"], json!({ "mine": mine }));
        let words = format!("ValueError: {{\\'caller\\': {caller}, \\'number\\': {number}}}");
        let emsg = answer["emsg"].as_str().unwrap_or_default();
        assert!(emsg.contains(&words), "{words}: {answer}");
        answer
    };
    (0..CALLS).map(call).collect()
}
