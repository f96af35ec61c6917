//! Artifacts: what a job may ask for, from which minor version on, and how a result that is too large
//! loses them.

use super::super::*;
use super::refusals::{refusal, with};
use super::results::{artifact, full, left_out};
use super::{FULL, decode};
use crate::artifact::{ArtifactKind, LeftOutReason};
use crate::blob::Blob;
use crate::outcome::ErrorCode;
use crate::rejection::RejectionCode;

fn asking_for(paths: &str) -> String {
    with(&format!(r#""minor":1,"artifacts":[{paths}]"#))
}

#[test]
fn files_and_folders_are_asked_for_in_their_order() {
    let job = decode(FULL).expect("every field is right");
    let wanted: Vec<_> = job
        .artifacts
        .iter()
        .map(|path| (path.to_string(), path.kind()))
        .collect();
    let expected = [
        ("report.json".to_owned(), ArtifactKind::File),
        ("tmp/plots/".to_owned(), ArtifactKind::Folder),
    ];
    assert_eq!(wanted, expected);
}

#[test]
fn a_job_with_artifacts_must_say_the_minor_that_brought_them_and_is_written_with_it() {
    for minor in ["", r#""minor":0,"#] {
        let rejection = refusal(&with(&format!(r#"{minor}"artifacts":["a"]"#)));
        assert_eq!(rejection.code, RejectionCode::UnknownField, "{rejection}");
        assert!(
            rejection.message.contains(r#"say "minor": 1"#),
            "{rejection}"
        );
    }
    let job = decode(&asking_for(r#""a""#)).expect("it says so");
    let written = String::from_utf8(encode_job(&job)).expect("JSON is UTF-8");
    assert!(written.starts_with(r#"{"v":1,"minor":1,"#), "{written}");
    // Whoever has no use for them is understood by every worker.
    let plain = decode(&asking_for("")).expect("a job");
    let written = String::from_utf8(encode_job(&plain)).expect("JSON is UTF-8");
    assert!(!written.contains("minor"), "{written}");
}

#[test]
fn paths_that_could_lead_elsewhere_or_name_one_file_twice_are_refused() {
    for (paths, code, words) in [
        (r#""../a""#, RejectionCode::BadPath, "artifacts[0]: "),
        (
            r#""a","/etc/passwd""#,
            RejectionCode::BadPath,
            "artifacts[1]: ",
        ),
        (r#""a","""#, RejectionCode::BadPath, "artifacts[1]: "),
        (r#""/""#, RejectionCode::BadPath, "artifacts[0]: "),
        (r#""a//""#, RejectionCode::BadPath, "artifacts[0]: "),
        (r#""a\u0000b""#, RejectionCode::BadPath, "NUL"),
        (
            r#""a","b","a""#,
            RejectionCode::DuplicatePath,
            "artifacts[2]: ",
        ),
        (
            r#""out/","out/a""#,
            RejectionCode::DuplicatePath,
            "artifacts[1]: ",
        ),
        (
            r#""out/a","out""#,
            RejectionCode::DuplicatePath,
            "leave one out",
        ),
        ("1", RejectionCode::WrongType, "artifacts[0]"),
        ("null", RejectionCode::WrongType, "artifacts[0]"),
    ] {
        let rejection = refusal(&asking_for(paths));
        assert_eq!(rejection.code, code, "{paths}: {rejection}");
        assert!(rejection.message.contains(words), "{paths}: {rejection}");
    }
    decode(&asking_for(r#""out/a","out/b","outer","tmp/""#)).expect("none meets another");
}

#[test]
fn a_result_that_is_too_large_loses_its_artifacts_before_its_output_and_says_which() {
    let mut result = full();
    result.artifacts = vec![artifact("report.json", Blob::new(vec![b'x'; 100_000]))];
    let encoded = encode_result(&result, 10_000);
    assert!(encoded.body.len() <= 10_000);
    let read = decode_result(&encoded.body).expect("still a result");
    assert_eq!(read.artifacts, []);
    assert_eq!(
        read.artifacts_left_out,
        [
            left_out("report.json", LeftOutReason::ResultTooLarge),
            left_out("out/pipe", LeftOutReason::NotARegularFile),
        ]
    );
    assert_eq!((&read.stdout, &read.error), (&result.stdout, &result.error));
    assert_eq!(result_digest(&encoded.body), Ok(encoded.digest));
}

#[test]
fn where_even_the_names_of_artifacts_are_too_many_all_payloads_go() {
    let mut result = full();
    let file = |number| artifact(&format!("{number}/{}", "x".repeat(200)), Blob::default());
    result.artifacts = (0..100).map(file).collect();
    let encoded = encode_result(&result, 10_000);
    let read = decode_result(&encoded.body).expect("still a result");
    assert_eq!(
        (read.artifacts.len(), read.artifacts_left_out.len()),
        (0, 0)
    );
    let error = read.error.expect("it says why");
    assert_eq!((error.code, read.stdout), (ErrorCode::ResultTooLarge, None));
}

#[test]
fn the_digest_covers_artifacts_and_what_was_left_out() {
    let digest = |result: &crate::result::JobResult| encode_result(result, 1 << 20).digest;
    let mut other = full();
    other.artifacts[0].content = Blob::new("[]");
    assert_ne!(digest(&full()), digest(&other));
    let mut other = full();
    other.artifacts_left_out.clear();
    assert_ne!(digest(&full()), digest(&other));
}

#[test]
fn a_result_whose_artifact_could_lead_elsewhere_does_not_read() {
    let body = |path: &str| {
        format!(
            r#"{{"v":1,"outcome":"exited","artifacts":[{{"path":"{path}","content":""}}],
            "worker":{{"host":"h","version":"1","attempt":1}}}}"#
        )
    };
    decode_result(body("a/b").as_bytes()).expect("a plain path");
    for path in ["../a", "/a", "a/", "a/../b", ""] {
        let error = decode_result(body(path).as_bytes()).expect_err(path);
        assert!(error.message.starts_with("artifacts"), "{error}");
    }
}

#[test]
fn a_reason_that_only_a_newer_worker_knows_reads_as_other() {
    let body = br#"{"v":1,"outcome":"exited","artifacts_left_out":[{"path":"a/","reason":"moon"}],
        "worker":{"host":"h","version":"1","attempt":1}}"#;
    let read = decode_result(body).expect("a result");
    assert_eq!(
        read.artifacts_left_out,
        [left_out("a/", LeftOutReason::Other)]
    );
}

#[test]
fn a_result_with_as_many_artifacts_as_any_worker_may_look_at_reads_back() {
    // The most that the configuration allows: entries of folders, and each path that was asked for.
    const MOST: usize = 8192 + 1000;
    let mut result = full();
    let file = |number| crate::artifact::Artifact {
        executable: true,
        ..artifact(&format!("out/{number}"), Blob::new([255_u8; 3]))
    };
    result.artifacts = (0..MOST).map(file).collect();
    let asked = (0..1000).map(|number| left_out(&format!("no/{number}/"), LeftOutReason::TooMany));
    result.artifacts_left_out = asked.collect();
    let encoded = encode_result(&result, usize::MAX);
    assert_eq!(decode_result(&encoded.body), Ok(result));
}
