//! Code that runs like `exec(code, globals)`, through the embedded door and the real warden.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing from a result has to fail the test"
)]

#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that have a broker")]
mod worker;
#[path = "real_globals/as_codejail.rs"]
mod as_codejail;
#[path = "real_globals/hostile.rs"]
mod hostile;
#[path = "real_globals/python_path.rs"]
mod python_path;
#[path = "real_globals/refused.rs"]
mod refused;
#[path = "real_globals/round_trip.rs"]
mod round_trip;

use serde_json::{Map, Value, json};

/// A job that runs `code` with `globals`.
fn job(code: &str, globals: &str) -> Value {
    json!({ "v": 1, "id": "a", "runtime": "python", "code": code, "globals": globals })
}

/// What became of one job.
fn run(job: &Value) -> Value {
    run_all(std::slice::from_ref(job)).remove(0)
}

/// What became of jobs, in their order, all in one worker.
fn run_all(jobs: &[Value]) -> Vec<Value> {
    let named = |at: usize| format!("j{at}");
    let lines = jobs.iter().enumerate().map(|(at, job)| {
        let mut job = job.clone();
        job["id"] = json!(named(at));
        job.to_string()
    });
    let (code, results) = worker::local(&lines.collect::<Vec<_>>(), &[]);
    assert_eq!(code, 0);
    assert_eq!(results.len(), jobs.len());
    let of = |at| {
        let mut found = results
            .iter()
            .filter(|result| result["job_id"] == json!(named(at)));
        found.next().cloned().expect("each job gets a result")
    };
    (0..jobs.len()).map(of).collect()
}

/// The text of the globals that a run left.
fn text_of(result: &Value) -> &str {
    assert!(result.get("error").is_none(), "{result}");
    result["globals"]
        .as_str()
        .unwrap_or_else(|| panic!("no globals in {result}"))
}

/// The globals that a run left, which must be plain JSON.
fn left(result: &Value) -> Map<String, Value> {
    serde_json::from_str(text_of(result)).expect("an object")
}

/// The globals that `code` leaves behind when it is run with `globals`.
fn exec(code: &str, globals: &str) -> Value {
    Value::Object(left(&run(&job(code, globals))))
}

/// A run that left no globals, and says why in words that hold `why`.
fn assert_none(result: &Value, why: &str) {
    assert_eq!(result["error"]["code"], "no_globals", "{result}");
    let message = result["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(why), "{result}");
    assert!(result.get("globals").is_none(), "{result}");
}

fn assert_ended(result: &Value, outcome: &str, exit_code: i64) {
    assert_eq!(result["outcome"], outcome, "{result}");
    assert_eq!(result["exit_code"], exit_code, "{result}");
}
