//! A gateway that may not run code, and one that answers as the older service did.

use jailfleet_harness::{Broker, require};
use serde_json::json;

use crate::gateway::{Fleet, Gateway, get};
use crate::worker::producer;

const PAYLOAD: &str = r#"{"code": "retval = 3 + 4", "globals_dict": {}}"#;

#[test]
fn a_gateway_that_is_switched_off_or_whose_checks_fail_or_are_unanswered_runs_nothing() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let unsafe_words = r#"{"error":"Codejail service is not correctly configured"}"#;

    // Nobody has answered the checks yet.
    let alone = Gateway::start(&vhost.uri(), &[]);
    alone.payload(PAYLOAD).assert(500, unsafe_words);
    alone
        .get("/health/")
        .assert(503, r#"{"status": "UNAVAILABLE"}"#);
    let ready = get(&alone.admin, "/readyz");
    assert!(ready.starts_with("503 not ready: no "), "{ready}");
    assert!(get(&alone.admin, "/healthz").starts_with("200"));
    alone.stops();

    let fleet = Fleet::start(&vhost.uri());
    // A runtime that takes no globals: the first check fails.
    let failing = Gateway::start(&vhost.uri(), &["serve.runtime=bash"]);
    failing.until_exported("jailfleet_gateway_check{check=\"functionality\"} 0\n");
    failing.payload(PAYLOAD).assert(500, unsafe_words);
    failing
        .get("/health/")
        .assert(503, r#"{"status": "UNAVAILABLE"}"#);
    let ready = get(&failing.admin, "/readyz");
    assert_eq!(ready, "503 not ready: a safety check failed\n");
    failing.stops();

    let off = fleet.gateway(&["serve.enabled=false"]);
    off.payload("not even JSON")
        .assert(500, r#"{"error":"Codejail service not enabled"}"#);
    off.get("/health/").assert(200, r#"{"status": "OK"}"#);
    off.stops();

    let on = fleet.gateway(&[]);
    assert_eq!(get(&on.admin, "/readyz"), "200 ready\n");
    for check in ["functionality", "disk", "exec", "network"] {
        let line = format!("jailfleet_gateway_check{{check=\"{check}\"}} 1\n");
        assert!(on.metrics().contains(&line), "{check}");
    }
    on.stops();
    fleet.stops();
}

#[test]
fn a_child_that_may_be_started_is_in_the_same_jail_and_the_check_passes() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    // The runtime's own limits let programs start others.
    let gateway = fleet.gateway(&["serve.profile=", "serve.wall_ms=20000"]);
    let code =
        "import subprocess\nout = subprocess.run(['ls', '/'], capture_output=True).returncode";
    assert_ne!(gateway.left(code)["out"], 0);
    gateway.stops();
    fleet.stops();
}

#[test]
fn the_older_service_is_answered_for_too() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&["serve.shape=edunext"]);
    let payload = |code: &str| {
        json!({
            "code": code, "globals_dict": { "x": 1 }, "python_path": [],
            "limit_overrides_context": null, "slug": null, "unsafely": true,
        })
        .to_string()
    };
    let reply = gateway.payload(&payload("y = x + 1"));
    reply.assert(200, "{\"emsg\":null,\"globals_dict\":{\"x\":1,\"y\":2}}\n");
    let failed = gateway.payload(&payload("1/0")).json();
    assert_eq!(failed["globals_dict"], json!({ "x": 1 }));
    assert!(
        failed["emsg"]
            .as_str()
            .is_some_and(|emsg| emsg.contains("ZeroDivisionError"))
    );
    assert_eq!(
        gateway.payload(PAYLOAD).status,
        400,
        "it wants all six members"
    );
    let health = gateway.get("/health");
    assert_eq!((health.status, health.body.as_str()), (200, "OK"));
    assert_eq!(gateway.get("/").body, "Edx Codejail Service");
    gateway.stops();
    fleet.stops();
}

#[test]
fn only_addresses_that_the_world_cannot_reach_are_listened_on() {
    // The address is vetted before the broker is looked for.
    for (listen, code) in [
        ("0.0.0.0:0", 2),
        ("8.8.8.8:8550", 2),
        ("[::]:8550", 2),
        ("here", 2),
    ] {
        let mut serve = producer("amqp://127.0.0.1:1/%2f");
        let output = serve
            .args(["serve", "--listen", listen])
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(code), "{listen}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("serve.listen"), "{said}");
    }
}
