//! Callers that are wrong, slow, hasty or nobody: each gets a clear word, and nothing is published.

use std::io::{Read, Write};

use jailfleet_harness::{Broker, require};
use serde_json::{Value, json};

use crate::gateway::{Reply, connect};
use crate::own::{EXAMS, Own, SITE, SLOW, head, python, python_in};

#[test]
fn whoever_is_wrong_slow_hasty_or_nobody_is_told_so_and_nothing_is_published() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let own = Own::start(
        &vhost.uri(),
        &[
            "api.body_bytes=20000",
            "api.jobs=3",
            "api.head_timeout_ms=1000",
            "api.body_timeout_ms=1000",
            "api.connections=8",
            "api.waits=4",
        ],
    );
    nobody_gets_in(&own);
    what_is_wrong_is_told_with_its_place(&own);
    what_the_token_may_not_use_is_forbidden(&own);
    other_paths_and_methods_are_told(&own);
    a_slow_head_is_hung_up_on_and_a_slow_body_is_a_408(&own);
    haste_is_a_429_that_says_when_to_come_again(&own);
    assert!(
        own.metrics()
            .contains("jailfleet_api_jobs_total{end=\"taken\"} 0\n")
    );
    let list = [
        "list_queues",
        "-p",
        vhost.name(),
        "--no-table-headers",
        "name",
        "messages",
    ];
    let depths = broker.ctl(&list).expect("it lists");
    let lane = depths
        .lines()
        .find(|line| line.starts_with("jailfleet.jobs.default.bulk"));
    let depth = lane.and_then(|line| line.split_whitespace().last());
    assert_eq!(depth, Some("0"), "{depths}");
    waits_are_counted_for_each_tenant(&own);
    own.stops();
}

fn nobody_gets_in(own: &Own) {
    let body = python("a", "1").to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let bare = |lines: &str| {
        own.send(&format!(
            "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\n{lines}{length}\r\n{body}"
        ))
    };
    for lines in [
        "",
        "Authorization: Bearer wrong-token-0123456789\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic ZXhhbXM6\r\n",
        &format!("Authorization: {EXAMS}\r\n"),
        &format!("Authorization: Bearer {EXAMS}\r\nAuthorization: Bearer {SITE}\r\n"),
    ] {
        let reply = bare(lines);
        assert_eq!(reply.status, 401, "{lines:?}: {reply:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.json()["error"]["code"], "no_token");
    }
    // What there is may be read by anybody.
    let open = own.send("GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(
        (open.status, &open.json()["openapi"]),
        (200, &json!("3.1.0"))
    );
}

#[track_caller]
fn assert_told(reply: &Reply, status: u16, code: &str, index: Option<u64>, field: Option<&str>) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(error["code"], code, "{error}");
    assert_eq!(error.get("index").and_then(Value::as_u64), index, "{error}");
    assert_eq!(error.get("field").and_then(Value::as_str), field, "{error}");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|words| !words.is_empty())
    );
}

fn what_is_wrong_is_told_with_its_place(own: &Own) {
    let good = python("good", "1");
    let second = |wrong: Value| json!([good, wrong]);
    let mut job = python("x", "1");
    job["limits"] = json!({ "wall_ms": 0 });
    let reply = own.post(EXAMS, &second(job));
    assert_told(&reply, 400, "bad_limit", Some(1), Some("limits.wall_ms"));
    let reply = own.post(EXAMS, &second(python("a b", "1")));
    assert_told(&reply, 400, "bad_id", Some(1), Some("id"));
    let reply = own.post(EXAMS, &second(python("good", "2")));
    assert_told(&reply, 400, "duplicate_id", Some(1), Some("id"));
    let reply = own.post(EXAMS, &second(json!(7)));
    assert_told(&reply, 400, "wrong_type", Some(1), None);
    let reply = own.post_text(EXAMS, "{\"v\":");
    assert_told(&reply, 400, "not_json", Some(0), None);
    let reply = own.post_text(EXAMS, "");
    assert_told(&reply, 400, "not_json", None, None);
    let reply = own.post(EXAMS, &json!([good, good, good, good]));
    assert_told(&reply, 400, "too_many", None, None);
    let reply = own.post(EXAMS, &python("large", &"x".repeat(20_001)));
    assert_told(&reply, 413, "body_too_large", None, None);
    let reply = own.get(EXAMS, "/api/v1/jobs/a?wait_ms=soon");
    assert_told(&reply, 400, "bad_query", None, Some("wait_ms"));
    // None of them brought the first, which was right, along.
    assert_eq!(own.get(EXAMS, "/api/v1/jobs/good").status, 404);
}

fn what_the_token_may_not_use_is_forbidden(own: &Own) {
    for (field, value) in [
        ("lane", json!("interactive")),
        ("limit_profile", json!("huge")),
        ("limits", json!({ "wall_ms": 1000 })),
    ] {
        let mut job = python("a", "1");
        job[field] = value;
        assert_told(
            &own.post(SITE, &job),
            403,
            "not_allowed",
            Some(0),
            Some(field),
        );
    }
}

fn other_paths_and_methods_are_told(own: &Own) {
    for path in [
        "/",
        "/api/v1/jobs/",
        "/api/v1/jobs/a/b",
        "/api/v0/code-exec",
    ] {
        assert_told(&own.get(EXAMS, path), 404, "not_found", None, None);
    }
    let reply = own.ask(EXAMS, "PUT", "/api/v1/jobs/a");
    assert_told(&reply, 405, "method", None, None);
    assert_eq!(reply.header("allow"), Some("GET, DELETE"));
}

fn a_slow_head_is_hung_up_on_and_a_slow_body_is_a_408(own: &Own) {
    let mut stream = connect(&own.address);
    stream.write_all(b"POST /api/v1/jobs HT").expect("it reads");
    let mut rest = Vec::new();
    // Closed without a word, or with one of refusal.
    if stream.read_to_end(&mut rest).is_ok() {
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{rest:?}");
    }
    let mut stream = connect(&own.address);
    let slow = head(EXAMS, "POST", "/api/v1/jobs", "Content-Length: 100\r\n") + "{";
    stream.write_all(slow.as_bytes()).expect("it reads");
    assert_told(&Reply::from(stream), 408, "body_too_slow", None, None);
    // A token is looked at before anybody waits for a body.
    let mut stream = connect(&own.address);
    let slow = head("nobody", "POST", "/api/v1/jobs", "Content-Length: 100\r\n") + "{";
    stream.write_all(slow.as_bytes()).expect("it reads");
    assert_told(&Reply::from(stream), 401, "no_token", None, None);
}

fn haste_is_a_429_that_says_when_to_come_again(own: &Own) {
    let replies: Vec<_> = (0..8)
        .map(|_| own.get(SLOW, "/api/v1/batches/none"))
        .collect();
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert!(
        statuses.contains(&404) && statuses.contains(&429),
        "{statuses:?}"
    );
    let hasty = replies.iter().find(|reply| reply.status == 429);
    assert_eq!(
        hasty.and_then(|reply| reply.header("retry-after")),
        Some("1")
    );
    // Others do not suffer.
    assert_eq!(own.get(EXAMS, "/api/v1/batches/none").status, 404);
}

fn waits_are_counted_for_each_tenant(own: &Own) {
    let token = SLOW;
    let mut accepted = own.post(token, &python_in("w", "w", "1"));
    while accepted.status == 429 {
        accepted = own.post(token, &python_in("w", "w", "1"));
    }
    assert_eq!(accepted.status, 202, "{accepted:?}");
    // Nobody works: it is waited for until its listener goes.
    let mut listener = connect(&own.address);
    loop {
        let request = head(token, "GET", "/api/v1/batches/w/events", "");
        listener.write_all(request.as_bytes()).expect("it reads");
        let mut first = [0; 12];
        listener.read_exact(&mut first).expect("it answers");
        if &first == b"HTTP/1.1 200" {
            break;
        }
        listener = connect(&own.address);
    }
    own.until_exported("jailfleet_api_waiting 1\n");
    loop {
        let reply = own.get(token, "/api/v1/jobs/w?wait_ms=60000");
        assert_eq!(reply.status, 429, "{reply:?}");
        let message = reply.json()["error"]["message"].to_string();
        if message.contains("waiting requests") {
            break;
        }
    }
    // Whoever goes gives the place back.
    drop(listener);
    own.until_exported("jailfleet_api_waiting 0\n");
    let cancel = loop {
        let reply = own.ask(token, "DELETE", "/api/v1/jobs/w");
        if reply.status != 429 {
            break reply;
        }
    };
    assert_eq!(cancel.status, 202, "{cancel:?}");
}
