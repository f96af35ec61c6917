//! Callers that are wrong, slow, foreign or gone, and a fleet that is not there.

use std::io::{ErrorKind, Write};

use jailfleet_harness::{Broker, require};
use serde_json::json;

use crate::gateway::{Fleet, Gateway, Reply, connect, request, until_exported, urlencoded};
use crate::worker::{self, LONG};

const FORM: &str = "application/x-www-form-urlencoded";

/// A gateway that grants little, and the fleet behind it.
fn strict(fleet: &Fleet) -> Gateway {
    fleet.gateway(&[
        "serve.body_bytes=20000",
        "serve.body_timeout_ms=1000",
        "serve.head_timeout_ms=1000",
        "serve.connections=8",
    ])
}

#[test]
fn whoever_is_wrong_slow_or_foreign_gets_a_clear_word_and_nobody_else_suffers() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = strict(&fleet);
    malformed_multipart_is_a_400(&gateway);
    a_foreign_host_or_page_is_a_403(&gateway);
    a_slow_head_is_hung_up_on_and_a_slow_body_is_a_408(&gateway);
    a_body_that_is_too_large_is_a_413(&gateway);
    what_no_worker_could_take_is_a_400(&gateway);
    nonsense_is_a_400(&gateway);
    no_caller_can_take_all_places_for_long(&gateway);
    assert_eq!(gateway.left("x = 1"), json!({ "x": 1 }));
    gateway.stops();
    fleet.stops();
}

fn malformed_multipart_is_a_400(gateway: &Gateway) {
    let kind = "multipart/form-data; boundary=B";
    let part = "--B\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{}\r\n";
    for (kind, body) in [
        (kind, "garbage".to_owned()),
        (kind, part.to_owned()),
        (kind, part.get(..40).expect("a piece").to_owned()),
        (kind, "--B\r\n\r\n".to_owned()),
        (
            kind,
            "--B\r\nContent-Disposition\r\n\r\nx\r\n--B--\r\n".to_owned(),
        ),
        (
            "multipart/form-data; boundary=X",
            format!("{part}--B--\r\n"),
        ),
        ("multipart/form-data", format!("{part}--B--\r\n")),
        ("multipart/form-data; boundary=", format!("{part}--B--\r\n")),
    ] {
        let reply = gateway.post(kind, body.as_bytes());
        assert_eq!(reply.status, 400, "{kind} {body:?}: {reply:?}");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains("Multipart form parse error"), "{reply:?}");
    }
}

fn a_foreign_host_or_page_is_a_403(gateway: &Gateway) {
    let good = request(FORM, urlencoded("{}").as_bytes());
    let good = String::from_utf8(good).expect("text");
    for (of, with) in [
        ("Host: localhost:8550", "Host: evil.example"),
        ("Host: localhost:8550", "Host: 93.184.216.34:8550"),
        ("Accept: */*", "Origin: http://evil.example"),
        ("Accept: */*", "Origin: null"),
        ("POST /api", "POST http://evil.example/api"),
        ("POST /api/v0/code-exec", "POST http://evil.example/health/"),
    ] {
        let reply = gateway.send(good.replace(of, with));
        assert_eq!(reply.status, 403, "{with}: {reply:?}");
        assert!(reply.json()["error"].is_string(), "{reply:?}");
    }
    assert_eq!(
        gateway.send(good).status,
        400,
        "the payload is empty, and the caller is welcome"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is what is asked for"
)]
fn a_slow_head_is_hung_up_on_and_a_slow_body_is_a_408(gateway: &Gateway) {
    let started = std::time::Instant::now();
    let mut stream = connect(&gateway.address);
    stream
        .write_all(b"POST /api/v0/code-exec HTTP/1.1\r\nHost: loc")
        .expect("it reads");
    let mut rest = Vec::new();
    // Closed without a word, or with one of refusal; no place is held.
    let read = std::io::Read::read_to_end(&mut stream, &mut rest);
    let hung_up = match &read {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(hung_up && !rest.starts_with(b"HTTP/1.1 2"), "{read:?}");
    // Its second, and not the time that a whole request may take or that this test waits.
    let took = started.elapsed();
    assert!(took < LONG / 6, "{took:?}");

    let whole = request(FORM, urlencoded("{}").as_bytes());
    let (all_but_one, _) = whole.split_at(whole.len() - 1);
    let mut stream = connect(&gateway.address);
    stream.write_all(all_but_one).expect("it reads");
    Reply::from(stream).assert(408, r#"{"error":"The body took too long"}"#);
}

fn a_body_that_is_too_large_is_a_413(gateway: &Gateway) {
    let expected = r#"{"error":"The body is too large"}"#;
    gateway.post(FORM, &[b'x'; 20_001]).assert(413, expected);
    // One whose size nobody tells in advance.
    let mut chunked =
        b"POST /api/v0/code-exec HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                        Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            .to_vec();
    for _ in 0..6 {
        chunked.extend(b"1000\r\n");
        chunked.extend([b'x'; 0x1000]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    gateway.send(chunked).assert(413, expected);
    // One who asks first is told before he sends it.
    let asks = "POST /api/v0/code-exec HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 999999\r\n\r\n";
    gateway.send(asks).assert(413, expected);
}

fn what_no_worker_could_take_is_a_400(gateway: &Gateway) {
    let digits = "1".repeat(4301);
    let reply = gateway.payload(&format!(
        "{{\"code\": \"\", \"globals_dict\": {{\"a\": {digits}}}}}"
    ));
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(
        reply.body.contains("Exceeds the limit (4300 digits)"),
        "{reply:?}"
    );
    let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
    let reply = gateway.payload(&format!(
        "{{\"code\": \"\", \"globals_dict\": {{\"a\": {deep}}}}}"
    ));
    assert_eq!(reply.status, 400, "{reply:?}");
}

fn nonsense_is_a_400(gateway: &Gateway) {
    for nonsense in [
        "\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    ] {
        assert_eq!(gateway.send(nonsense).status, 400, "{nonsense:?}");
    }
}

fn no_caller_can_take_all_places_for_long(gateway: &Gateway) {
    let silent: Vec<_> = (0..20).map(|_| connect(&gateway.address)).collect();
    // Eight of them have a place each, for a second; then this one is served.
    assert_eq!(gateway.get("/health/").status, 200);
    drop(silent);
}

#[test]
fn curl_is_served() {
    require!(Broker, Curl);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&[]);
    let address = format!("http://{}/api/v0/code-exec", gateway.address);
    let payload = r#"payload={"code": "y = x + 1", "globals_dict": {"x": 16}}"#;
    let curl = |arguments: &[&str]| {
        let mut command = worker::command("curl");
        let output = command
            .args(["--silent", "--show-error"])
            .args(arguments)
            .arg(&address)
            .output()
            .expect("curl starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, r#"{"globals_dict":{"x":16,"y":17}}"#, "{output:?}");
    };
    curl(&["--data-urlencode", payload]);
    curl(&["--form", payload]);
    gateway.stops();
    fleet.stops();
}

#[test]
fn a_caller_that_goes_away_has_its_job_cancelled_though_it_runs() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&[]);
    let payload = json!({ "code": "import time\ntime.sleep(60)", "globals_dict": {} });
    let mut stream = connect(&gateway.address);
    let request = request(FORM, urlencoded(&payload.to_string()).as_bytes());
    stream.write_all(&request).expect("it reads");
    until_exported(&fleet.admin, "jailfleet_worker_slots_busy 1\n");
    drop(stream);
    gateway.until_exported("jailfleet_gateway_requests_total{end=\"gone\"} 1\n");
    gateway.until_exported("jailfleet_gateway_dropped_jobs_total{cancel=\"cancelled\"} 1\n");
    until_exported(
        &fleet.admin,
        "jailfleet_jobs_cancelled_total{met=\"running\"} 1\n",
    );
    gateway.until_exported("jailfleet_gateway_results_total{came=\"unawaited\"} 1\n");
    assert!(
        gateway
            .metrics()
            .contains("jailfleet_gateway_jobs_waiting 0\n")
    );
    assert_eq!(gateway.left("x = 1"), json!({ "x": 1 }));
    gateway.stops();
    fleet.stops();
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is what is asked for"
)]
fn without_a_worker_a_caller_hears_so_before_its_time_is_up() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let fleet = Fleet::start(&vhost.uri());
    let gateway = fleet.gateway(&[
        "serve.read_timeout_ms=3000",
        "serve.margin_ms=1000",
        "serve.wall_ms=1500",
        "serve.check_interval_ms=3600000",
    ]);
    fleet.stops();
    let started = std::time::Instant::now();
    let reply = gateway.payload(r#"{"code": "x = 1", "globals_dict": {}}"#);
    reply.assert(503, r#"{"error":"No worker answered in time; try again"}"#);
    let took = started.elapsed();
    assert!((1900..3000).contains(&took.as_millis()), "{took:?}");
    gateway.until_exported("jailfleet_gateway_requests_total{end=\"failed.deadline\"} 1\n");
    gateway.stops();
}
