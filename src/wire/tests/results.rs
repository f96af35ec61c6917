//! Results: written, read back, digested, and cut when they are too large.

use super::super::*;
use crate::artifact::{Artifact, ArtifactPath, LeftOut, LeftOutReason};
use crate::blob::Blob;
use crate::job::{JobId, ProfileName};
use crate::outcome::{ErrorCode, ErrorDetail, Outcome};
use crate::result::{JobResult, LimitsInForce, Stream, Timing, Usage, WorkerStamp};
use crate::units::Elapsed;
use crate::wall::{HeldWall, Wall};

pub(super) fn artifact(path: &str, content: Blob) -> Artifact {
    Artifact {
        path: crate::job::RelativePath::parse(path).expect("a path"),
        content,
        executable: false,
    }
}

pub(super) fn left_out(path: &str, reason: LeftOutReason) -> LeftOut {
    LeftOut {
        path: ArtifactPath::parse(path).expect("a path"),
        reason,
    }
}

/// A result that says everything.
pub(super) fn full() -> JobResult {
    let limits = crate::limits::LimitsRequest {
        cpu_ms: Some(1000),
        wall_ms: Some(3000),
        memory_bytes: Some(1 << 28),
        address_space_bytes: None,
        file_bytes: Some(0),
        disk_bytes: Some(1 << 20),
        disk_files: Some(100),
        processes: Some(16),
        open_files: Some(64),
        output_bytes: Some(1 << 16),
        stack_bytes: Some(1 << 23),
    };
    JobResult {
        job_id: Some(JobId::parse("exam-7.1").expect("an id")),
        slug: Some("exercise 7".to_owned()),
        batch: Some("exam-7".to_owned()),
        outcome: Outcome::OutputLimit,
        exit_code: None,
        signal: Some(9),
        stdout: Some(Blob::new("x\n")),
        stderr: Some(Blob::new([255_u8, 0])),
        truncated: vec![Stream::Stdout],
        globals: Some("{\"x\": NaN}".to_owned()),
        artifacts: vec![
            artifact("report.json", Blob::new("{}")),
            Artifact {
                executable: true,
                ..artifact("out/a b.bin", Blob::new([255_u8]))
            },
        ],
        artifacts_left_out: vec![left_out("out/pipe", LeftOutReason::NotARegularFile)],
        error: Some(ErrorDetail::new(ErrorCode::NoGlobals, "two objects")),
        usage: Some(Usage {
            cpu: Elapsed::from_micros(12_345),
            user: Elapsed::from_micros(12_000),
            system: Elapsed::from_micros(345),
            wall: Elapsed::from_micros(3_000_001),
            peak_memory_bytes: Some(123_456),
            processes_peak: None,
        }),
        limits: Some(LimitsInForce {
            limits: limits.complete().expect("all are named"),
            profile: Some(ProfileName::parse("course").expect("a name")),
            config_digest: "ab".repeat(32),
        }),
        timing: Some(Timing {
            queued: Some(Elapsed::from_micros(1)),
            setup: Elapsed::from_micros(2_500),
            run: Elapsed::from_micros(3_000_001),
            total: Elapsed::from_micros(3_100_000),
        }),
        walls: vec![
            HeldWall::plain(Wall::Netns),
            HeldWall::detailed(Wall::Landlock, "7"),
        ],
        worker: WorkerStamp {
            host: "host".to_owned(),
            version: "0.1.0".to_owned(),
            slot: Some(3),
            attempt: 2,
            last_canary: Some("2026-11-23T18:00:00Z".to_owned()),
        },
        grade: None,
    }
}

#[test]
fn a_result_reads_back_as_it_was_written() {
    let encoded = encode_result(&full(), 1 << 20);
    assert_eq!(encoded.message_id, "exam-7.1.2");
    assert_eq!(decode_result(&encoded.body).expect("just written"), full());
    let text = String::from_utf8(encoded.body).expect("JSON is UTF-8");
    for part in [
        r#""cpu_ms":12.345,"user_ms":12,"system_ms":0.345"#,
        r#""landlock:7""#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(
        !text.contains("null"),
        "a field that does not apply is left out: {text}"
    );
}

#[test]
fn the_digest_ignores_what_honest_attempts_differ_in_and_nothing_else() {
    let digest = |result: &JobResult| encode_result(result, 1 << 20).digest;
    let mut other = full();
    other.worker.attempt = 3;
    other.usage = None;
    other.timing = None;
    other.walls.clear();
    assert_eq!(digest(&full()), digest(&other));
    assert_eq!(digest(&full()).len(), 64);
    let sent = encode_result(&other, 1 << 20);
    assert_eq!(result_digest(&sent.body).as_ref(), Ok(&sent.digest));
    let newer =
        br#"{"v":1,"new":1,"outcome":"exited","worker":{"host":"h","version":"9","attempt":1}}"#;
    let known = br#"{"v":1,"outcome":"exited","worker":{"host":"h","version":"9","attempt":1}}"#;
    assert_ne!(
        result_digest(newer),
        result_digest(known),
        "what is new counts too"
    );
    result_digest(b"{}").expect_err("no result");
    other.stdout = Some(Blob::new("y\n"));
    assert_ne!(digest(&full()), digest(&other));
}

#[test]
fn a_result_that_is_too_large_loses_its_payloads_and_says_so() {
    let mut result = full();
    result.stdout = Some(Blob::new(vec![b'x'; 100_000]));
    let encoded = encode_result(&result, 10_000);
    assert!(encoded.body.len() <= 10_000);
    let read = decode_result(&encoded.body).expect("still a result");
    assert_eq!((read.outcome, read.signal), (Outcome::OutputLimit, Some(9)));
    assert_eq!(
        (&read.stdout, &read.stderr, &read.globals),
        (&None, &None, &None)
    );
    assert_eq!(read.truncated, [Stream::Stdout, Stream::Stderr]);
    let error = read.error.expect("it says why");
    assert_eq!(error.code, ErrorCode::ResultTooLarge);
    assert!(error.message.contains("10000") && error.message.contains("no_globals"));
    result.stdout = Some(Blob::new("small"));
    let encoded = encode_without_payloads(&result, "not taken");
    let read = decode_result(&encoded.body).expect("still a result");
    assert_eq!((&read.stdout, read.truncated.len()), (&None, 2));
    let error = read.error.expect("it says why");
    assert_eq!(error.code, ErrorCode::ResultTooLarge);
    assert!(error.message.starts_with("not taken; it said no_globals: "));
}

#[test]
fn the_result_of_a_job_without_an_id_has_a_message_id_all_the_same() {
    let result = JobResult::without_run(None, Outcome::Rejected, None, full().worker);
    let encoded = encode_result(&result, 1 << 20);
    assert_eq!(encoded.message_id, "unidentified.2");
    assert_eq!(decode_result(&encoded.body).expect("just written"), result);
}

#[test]
fn fields_of_a_newer_worker_are_passed_over_and_a_newer_version_is_not() {
    let body = br#"{"v":1,"minor":3,"new":{},"outcome":"exited",
        "worker":{"host":"h","version":"9","attempt":1,"rack":7}}"#;
    assert_eq!(
        decode_result(body).expect("of this version").outcome,
        Outcome::Exited
    );
    let body = br#"{"v":1,"outcome":"accepted","truncated":["trace"],"walls":["moat"],
        "error":{"code":"too_good","message":"m"},"worker":{"host":"h","version":"9","attempt":1}}"#;
    let newer = decode_result(body).expect("words of a newer worker are no mistake");
    assert_eq!(newer.outcome, Outcome::Other);
    assert_eq!(newer.error.expect("there").code, ErrorCode::Other);
    assert!(newer.truncated.is_empty() && newer.walls.is_empty());
    for body in [
        &br#"{"v":2,"outcome":"exited","worker":{"host":"h","version":"9","attempt":1}}"#[..],
        br#"{"v":1,"outcome":"exited"}"#,
        b"",
    ] {
        decode_result(body).expect_err("no result of version 1");
    }
}
