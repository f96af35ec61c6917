//! What the decoder takes and refuses, and that what is written reads back.

use super::*;
use crate::job::{EpochMs, Job, JobFileKind};
use crate::rejection::RejectionCode;

mod artifacts;
mod caps;
mod limits;
mod properties;
mod refusals;
mod results;

/// Decodes as if the body came without any message around it.
fn decode(body: &str) -> Result<Job, Refused> {
    decode_job(
        body.as_bytes(),
        &DecodeHint::default(),
        &WireCaps::default(),
    )
}

/// A job that says everything that this version can say, but grading.
const FULL: &str = r#"{
    "v": 1, "minor": 1, "id": "exam-7:alice.1", "runtime": "python",
    "code": "print(input())",
    "files": [
        {"path": "data/in.txt", "content": "hello\n"},
        {"path": "lib/", "directory": true},
        {"path": "bin/tool", "content": {"base64": "AP8Q"}, "executable": true}
    ],
    "argv": ["--fast", "data/in.txt"], "env": {"LANG": "C.UTF-8", "TZ": "UTC"},
    "stdin": {"base64": "aGkK"}, "globals": "{\"x\": NaN}", "python_path": ["lib", "data/"],
    "artifacts": ["report.json", "tmp/plots/"],
    "limits": {"cpu_ms": 500, "file_bytes": 0}, "limit_profile": "course-v1:X+Y+2026",
    "slug": "exercise 7", "pool": "gpu", "lane": "interactive", "batch": "exam-7",
    "deadline": "2026-11-23T18:00:00.250+01:00"
}"#;

#[test]
fn a_job_that_says_everything_is_read_field_by_field() {
    let job = decode(FULL).expect("every field is right");
    assert_eq!(job.id.as_str(), "exam-7:alice.1");
    assert_eq!(job.runtime.as_str(), "python");
    assert_eq!(
        job.code.as_ref().map(|code| code.as_bytes()),
        Some(&b"print(input())"[..])
    );
    assert_eq!(job.files.len(), 3);
    assert_eq!(job.files[1].path.as_str(), "lib");
    assert_eq!(job.files[1].kind, JobFileKind::Directory);
    let content = crate::blob::Blob::new([0_u8, 255, 16]);
    assert_eq!(
        job.files[2].kind,
        JobFileKind::File {
            content,
            executable: true
        }
    );
    assert_eq!(job.argv, ["--fast", "data/in.txt"]);
    assert_eq!(job.env[1], ("TZ".to_owned(), "UTC".to_owned()));
    assert_eq!(
        job.stdin.as_ref().map(|stdin| stdin.as_bytes()),
        Some(&b"hi\n"[..])
    );
    assert_eq!(job.globals.as_deref(), Some("{\"x\": NaN}"));
    assert_eq!(job.python_path[1].as_str(), "data");
    assert_eq!(
        (job.limits.cpu_ms, job.limits.file_bytes),
        (Some(500), Some(0))
    );
    assert_eq!(job.limits.wall_ms, None);
    assert_eq!(
        job.limit_profile.as_ref().map(|name| name.as_str()),
        Some("course-v1:X+Y+2026")
    );
    assert_eq!(job.slug.as_deref(), Some("exercise 7"));
    assert_eq!((job.pool.as_str(), job.lane), ("gpu", Lane::Interactive));
    assert_eq!(job.batch.as_deref(), Some("exam-7"));
    assert_eq!(job.deadline, Some(EpochMs(1_795_453_200_250)));
}

#[test]
fn a_job_that_says_little_gets_the_documented_defaults() {
    let job = decode(r#"{"v":1,"id":"a","runtime":"bash","code":""}"#).expect("valid");
    assert_eq!((job.pool.as_str(), job.lane), ("default", Lane::Bulk));
    assert_eq!(job.limits, crate::limits::LimitsRequest::default());
    assert!(job.files.is_empty() && job.env.is_empty() && job.deadline.is_none());
}

#[test]
fn a_missing_id_is_taken_from_the_message_and_two_must_be_equal() {
    let read = |body: &str, message_id| {
        let hint = DecodeHint {
            message_id,
            ..DecodeHint::default()
        };
        decode_job(body.as_bytes(), &hint, &WireCaps::default())
    };
    let with = r#"{"v":1,"id":"a","runtime":"bash","code":""}"#;
    let without = r#"{"v":1,"runtime":"bash","code":""}"#;
    assert_eq!(read(without, Some("m")).expect("carried").id.as_str(), "m");
    assert_eq!(read(with, Some("a")).expect("equal").id.as_str(), "a");
    let refused = read(with, Some("b")).expect_err("two different ones");
    assert_eq!(refused.rejection.code, RejectionCode::IdMismatch);
    let refused = read(without, None).expect_err("none at all");
    assert_eq!(refused.rejection.code, RejectionCode::MissingField);
    let refused = read(without, Some("not an id")).expect_err("a bad one");
    assert_eq!(
        (refused.rejection.code, refused.job_id),
        (RejectionCode::BadId, None)
    );
}

#[test]
fn the_queue_is_the_authority_on_pool_and_lane() {
    let gpu = Name::parse("gpu").expect("a name");
    let hint = DecodeHint {
        pool: Some(&gpu),
        lane: Some(Lane::Interactive),
        ..DecodeHint::default()
    };
    let read = |body: &str| decode_job(body.as_bytes(), &hint, &WireCaps::default());
    let job = read(r#"{"v":1,"id":"a","runtime":"bash","code":""}"#).expect("says neither");
    assert_eq!((job.pool.as_str(), job.lane), ("gpu", Lane::Interactive));
    for body in [
        r#"{"v":1,"id":"a","runtime":"bash","code":"","pool":"default"}"#,
        r#"{"v":1,"id":"a","runtime":"bash","code":"","lane":"bulk"}"#,
    ] {
        let refused = read(body).expect_err("says another");
        assert_eq!(refused.rejection.code, RejectionCode::WrongQueue);
    }
}

#[test]
fn a_newer_minor_is_handed_on_and_not_called_a_mistake() {
    for body in [
        r#"{"v":1,"minor":7,"id":"a","runtime":"bash","code":""}"#,
        r#"{"v":1,"minor":7,"id":"a","runtime":"bash","magic":[1],"slug":"s","batch":"b"}"#,
    ] {
        let refused = decode(body).expect_err("of the future");
        assert!(refused.newer);
        assert_eq!(refused.rejection.code, RejectionCode::UnsupportedMinor);
        assert_eq!(
            refused.job_id.map(|id| id.to_string()).as_deref(),
            Some("a")
        );
    }
}

#[test]
fn a_refusal_carries_what_names_the_job() {
    let body = r#"{"v":1,"id":"a","runtime":"bash","slug":"s","batch":"b","cod":""}"#;
    let refused = decode(body).expect_err("a field that nobody knows");
    assert_eq!(
        refused.job_id.map(|id| id.to_string()).as_deref(),
        Some("a")
    );
    assert_eq!(
        (refused.slug.as_deref(), refused.batch.as_deref()),
        (Some("s"), Some("b"))
    );
    let hint = DecodeHint {
        message_id: Some("m"),
        ..DecodeHint::default()
    };
    let refused = decode_job(b"\xff{", &hint, &WireCaps::default()).expect_err("no text");
    assert_eq!(
        refused.job_id.map(|id| id.to_string()).as_deref(),
        Some("m")
    );
}
