//! Messages of wire version 1 as they are kept: what was sent once is read for ever, and written the same.
//!
//! `v1` holds what this version writes, one file a message; `newer` what a version to come might. Workers and
//! producers of a fleet are not upgraded at one moment: each must read what another has written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::rejection::RejectionCode;
use jailfleet::wire::{
    DecodeHint, WireCaps, decode_cancel, decode_job, decode_result, encode_cancel, encode_job,
    encode_result, result_digest,
};

mod words;

/// With it set, messages that have no file yet are written. A file that is there is never changed: others
/// speak what is in it.
const WRITE: &str = "JAILFLEET_GOLDEN_WRITE";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; {WRITE}=1 writes what is missing",
            path.display()
        )
    })
}

/// Every message of today as this version writes it, by the name of its file.
fn written() -> BTreeMap<String, Vec<u8>> {
    let jobs = words::jobs().into_iter().map(|(name, job)| {
        let body = encode_job(&job);
        (format!("v1/jobs/{name}.json"), body)
    });
    let results = words::results().into_iter().map(|(name, result)| {
        let body = encode_result(&result, usize::MAX).body;
        (format!("v1/results/{name}.json"), body)
    });
    let cancels = words::cancels().into_iter().map(|(name, cancel)| {
        let body = encode_cancel(&cancel);
        (format!("v1/cancels/{name}.json"), body)
    });
    let lines = jobs.chain(results).chain(cancels).map(|(path, mut body)| {
        body.push(b'\n');
        (path, body)
    });
    lines.chain([(DIGESTS.to_owned(), digests())]).collect()
}

/// The digests of the results: two versions that compute them in two ways see conflicts where there are none.
const DIGESTS: &str = "v1/digests";

fn digests() -> Vec<u8> {
    let line = |(name, result)| {
        let digest = encode_result(&result, usize::MAX).digest;
        format!("{digest}  {name}\n")
    };
    words::results()
        .into_iter()
        .map(line)
        .collect::<String>()
        .into_bytes()
}

/// The files below a folder of ours.
fn files(below: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder().join(below)).expect("the folder is there") {
        let entry = entry.expect("it can be read");
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn what_this_version_writes_is_what_version_1_has_always_been() {
    let written = written();
    if std::env::var_os(WRITE).is_some() {
        for (path, body) in &written {
            let path = folder().join(path);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("it can be made");
            if !path.exists() {
                fs::write(path, body).expect("it can be written");
            }
        }
    }
    for (path, body) in &written {
        let (kept, body) = (read(path), String::from_utf8_lossy(body));
        let kept = String::from_utf8_lossy(&kept);
        assert_eq!(kept, body, "{path}: what is written has changed");
    }
    let names: Vec<String> = written.into_keys().collect();
    assert_eq!(
        files("v1"),
        names,
        "a file without its words, or the reverse"
    );
}

#[test]
fn every_golden_message_reads_to_the_words_that_it_was_written_from() {
    for (name, job) in words::jobs() {
        let body = read(&format!("v1/jobs/{name}.json"));
        let read = decode_job(&body, &DecodeHint::default(), &WireCaps::default());
        assert_eq!(read.as_ref(), Ok(&job), "{name}");
    }
    for (name, result) in words::results() {
        let body = read(&format!("v1/results/{name}.json"));
        assert_eq!(decode_result(&body).as_ref(), Ok(&result), "{name}");
        let digest = encode_result(&result, usize::MAX).digest;
        assert_eq!(result_digest(&body), Ok(digest), "{name}");
    }
    for (name, cancel) in words::cancels() {
        let body = read(&format!("v1/cancels/{name}.json"));
        assert_eq!(decode_cancel(&body).as_ref(), Ok(&cancel), "{name}");
    }
}

#[test]
fn there_is_a_golden_result_of_each_outcome_and_each_error_code() {
    let results = words::results();
    for outcome in Outcome::ALL {
        let found = results.iter().any(|(_, result)| result.outcome == *outcome);
        assert!(found, "no golden result is {outcome}");
    }
    let rejections = RejectionCode::ALL.iter().copied().map(ErrorCode::Rejected);
    for code in ErrorCode::OWN.iter().copied().chain(rejections) {
        let says = |error: &jailfleet::outcome::ErrorDetail| error.code == code;
        let found = results
            .iter()
            .any(|(_, result)| result.error.as_ref().is_some_and(says));
        assert!(found, "no golden result says {}", code.as_str());
    }
}

#[test]
fn a_job_of_a_newer_minor_is_handed_on_under_its_own_name_whatever_it_says() {
    let paths = files("newer/jobs");
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let read = decode_job(&read(&path), &DecodeHint::default(), &WireCaps::default());
        let refused = read.expect_err(&path);
        assert!(refused.newer, "{path}: {refused}");
        let code = refused.rejection.code;
        assert_eq!(code, RejectionCode::UnsupportedMinor, "{path}: {refused}");
        let named = refused.job_id.as_ref().map(ToString::to_string);
        assert_eq!(named.as_deref(), Some("exam-7:alice.1"), "{path}");
        assert_eq!(refused.slug.as_deref(), Some("exercise 7"), "{path}");
        assert_eq!(refused.batch.as_deref(), Some("exam-7"), "{path}");
    }
}

#[test]
fn the_same_fields_without_a_newer_minor_are_mistakes_that_are_named() {
    for path in files("newer/jobs") {
        let text = String::from_utf8(read(&path)).expect("text");
        let today = text.replace("\"minor\": 2", "\"minor\": 0");
        assert_ne!(today, text, "{path} says another minor");
        let read = decode_job(
            today.as_bytes(),
            &DecodeHint::default(),
            &WireCaps::default(),
        );
        let refused = read.expect_err(&path);
        assert!(!refused.newer, "{path}: {refused}");
        let said = refused.rejection.code;
        let plain = [
            RejectionCode::UnknownField,
            RejectionCode::WrongType,
            RejectionCode::BadLane,
        ];
        assert!(plain.contains(&said), "{path}: {refused}");
    }
}

#[test]
fn results_of_a_newer_worker_read_as_far_as_this_version_knows_words() {
    for (path, expected) in words::newer_results() {
        let body = read(&format!("newer/results/{path}.json"));
        assert_eq!(decode_result(&body), Ok(expected), "{path}");
        let digest = result_digest(&body).expect("it reads");
        assert_eq!(
            digest.len(),
            64,
            "{path}: what is new counts into the digest"
        );
    }
    assert_eq!(files("newer/results").len(), words::newer_results().len());
}

#[test]
fn a_cancel_of_a_newer_minor_is_refused_by_that_name() {
    for path in files("newer/cancels") {
        let refused = decode_cancel(&read(&path)).expect_err(&path);
        let known = [RejectionCode::UnsupportedMinor, RejectionCode::UnknownField];
        assert!(known.contains(&refused.code), "{path}: {refused}");
    }
}
