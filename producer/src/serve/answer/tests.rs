//! The bytes of each answer.

use super::super::verdict::{CORRUPTED, SEE_LOGS};
use super::*;
use jailfleet::blob::Blob;
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::result::WorkerStamp;
use proptest::prelude::*;

fn result(outcome: Outcome, exit_code: Option<i32>, signal: Option<i32>) -> JobResult {
    let worker = WorkerStamp {
        host: "h".to_owned(),
        version: "0".to_owned(),
        slot: None,
        attempt: 1,
        last_canary: None,
    };
    let mut result = JobResult::without_run(None, outcome, None, worker);
    (result.exit_code, result.signal) = (exit_code, signal);
    result
}

fn body(result: &JobResult) -> String {
    let answer = Answer::of_result(result, "{\"x\": 1}", ServeShape::Openedx);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn globals_that_were_left_are_laid_over_those_that_were_given() {
    let mut ended = result(Outcome::Exited, Some(0), None);
    ended.globals = Some("{\"new\": [NaN, \"\\u00e9\"], \"\\u0078\": 2}".to_owned());
    let answer = Answer::of_result(&ended, "{\"x\": 1, \"deleted\": null}", ServeShape::Openedx);
    assert_eq!(
        answer.body,
        "{\"globals_dict\":{\"x\":2,\"deleted\":null,\"new\":[NaN,\"é\"]}}"
    );
    assert_eq!((answer.status, answer.end), (200, End::Success));
}

#[test]
fn a_failed_run_gives_the_globals_back_as_they_came_and_says_what_happened() {
    let mut raised = result(Outcome::Exited, Some(1), None);
    raised.stderr = Some(Blob::new("it's \"so\"\n"));
    raised.stdout = Some(Blob::new("printed"));
    assert_eq!(
        body(&raised),
        "{\"globals_dict\":{\"x\":1},\"emsg\":\"Couldn't execute jailed code: stdout: b'', stderr: \
         b'it\\\\'s \\\"so\\\"\\\\n' with status code: 1\"}"
    );
}

#[test]
fn each_end_of_a_run_has_codejails_status() {
    let status = |result: &JobResult| {
        let body = body(result);
        let (_, status) = body.rsplit_once(' ').expect("words");
        status.trim_end_matches("\"}").to_owned()
    };
    for (outcome, code, signal, expected) in [
        (Outcome::Exited, Some(7), None, "7"),
        (Outcome::Signaled, None, Some(11), "-11"),
        (Outcome::CpuLimit, None, Some(9), "-24"),
        (Outcome::WallLimit, None, Some(9), "-9"),
        (Outcome::OutputLimit, None, Some(9), "-9"),
        (Outcome::MemoryLimit, None, Some(9), "-9"),
        (Outcome::MemoryLimit, Some(0), None, "-9"),
        (Outcome::MemoryLimit, Some(3), None, "3"),
    ] {
        assert_eq!(
            status(&result(outcome, code, signal)),
            expected,
            "{outcome}"
        );
    }
    assert_eq!(
        body(&result(Outcome::WallLimit, None, Some(9))),
        "{\"globals_dict\":{\"x\":1},\"emsg\":\"Couldn't execute jailed code: stdout: b'', stderr: b'' \
         with status code: -9\"}"
    );
}

#[test]
fn a_good_end_without_globals_is_corrupted_output_and_a_cut_result_is_not_explained() {
    let ended = result(Outcome::Exited, Some(0), None);
    assert!(body(&ended).contains(CORRUPTED));
    for (outcome, code, signal) in [
        (Outcome::Exited, Some(0), None),
        (Outcome::Exited, Some(1), None),
        (Outcome::Signaled, None, Some(11)),
        (Outcome::CpuLimit, None, Some(9)),
        (Outcome::WallLimit, None, Some(9)),
        (Outcome::MemoryLimit, Some(3), None),
        (Outcome::OutputLimit, None, Some(9)),
    ] {
        let mut cut = result(outcome, code, signal);
        cut.error = Some(ErrorDetail::new(ErrorCode::ResultTooLarge, "too large"));
        assert!(body(&cut).contains(SEE_LOGS), "{outcome}");
    }
}

#[test]
fn trouble_of_ours_is_never_a_200() {
    for outcome in [
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::WorkerLost,
        Outcome::EngineFault,
        Outcome::Rejected,
    ] {
        let answer = Answer::of_result(&result(outcome, None, None), "{}", ServeShape::Openedx);
        assert_eq!(answer.status, 503, "{outcome}");
        assert!(answer.body.starts_with("{\"error\":\""), "{answer:?}");
    }
}

#[test]
fn a_caller_hears_of_the_mistakes_that_it_can_make_and_all_others_are_faults_of_ours() {
    for code in RejectionCode::ALL {
        let answer = Answer::rejected(*code, "so");
        let told = (answer.status, answer.end);
        let expected = match code.as_str() {
            "too_large" | "files_too_large" => (413, End::TooLarge),
            "too_deep" | "bad_globals" | "bad_path" | "duplicate_path" | "bad_python_path"
            | "no_code" => (400, End::Job),
            _ => (500, End::Fault),
        };
        assert_eq!(told, expected, "{code}");
        assert_eq!(answer.body.contains("\"so\""), told.0 < 500, "{code}");
    }
}

#[test]
fn every_other_word_is_the_services_own() {
    for (answer, status, body) in [
        (
            Answer::disabled(),
            500,
            r#"{"error":"Codejail service not enabled"}"#,
        ),
        (
            Answer::not_safe(),
            500,
            r#"{"error":"Codejail service is not correctly configured"}"#,
        ),
        (
            Answer::refused(&Refused::Missing),
            400,
            r#"{"error":"Missing 'payload' parameter in POST body"}"#,
        ),
        (
            Answer::refused(&Refused::Unsafely),
            400,
            r#"{"error":"Refusing codejail execution with unsafely=true"}"#,
        ),
        (
            Answer::method("GET"),
            405,
            r#"{"detail":"Method \"GET\" not allowed."}"#,
        ),
        (
            Answer::no_form(&NoForm::MediaType("application/json".to_owned())),
            415,
            r#"{"detail":"Unsupported media type \"application/json\" in request."}"#,
        ),
    ] {
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }
}

#[test]
fn the_older_shape_always_says_emsg() {
    let mut ended = result(Outcome::Exited, Some(0), None);
    ended.globals = Some("{\"a\": 1}".to_owned());
    let answer = Answer::of_result(&ended, "{}", ServeShape::Edunext);
    assert_eq!(answer.body, "{\"emsg\":null,\"globals_dict\":{\"a\":1}}\n");
    let failed = Answer::failed("so", "{}", ServeShape::Edunext);
    assert_eq!(failed.body, "{\"emsg\":\"so\",\"globals_dict\":{}}\n");
}

#[test]
fn each_end_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = End::ALL.iter().map(|end| end.as_str()).collect();
    assert_eq!(words.len(), End::ALL.len());
}

proptest! {
    #[test]
    fn what_is_merged_is_what_a_dict_would_hold(
        given in proptest::collection::btree_map("[a-c\u{e9}\"\\\\]{0,2}", 0..9_i32, 0..5),
        left in proptest::collection::btree_map("[a-c\u{e9}\"\\\\]{0,2}", 0..9_i32, 0..5),
    ) {
        let text = |map| serde_json::to_string(map).expect("JSON");
        let merged: serde_json::Value =
            serde_json::from_str(&merged(&text(&given), &text(&left))).expect("JSON");
        let mut expected = given;
        expected.extend(left);
        prop_assert_eq!(merged, serde_json::to_value(expected).expect("JSON"));
    }
}
