//! Tests of the results file, on real files.

use std::fs;

use super::*;
use jailfleet::job::JobId;
use jailfleet::outcome::Outcome;
use jailfleet::result::{JobResult, WorkerStamp};
use jailfleet::wire;

fn content(id: &str) -> Content {
    let worker = WorkerStamp {
        host: "h".to_owned(),
        version: "0".to_owned(),
        slot: None,
        attempt: 1,
        last_canary: None,
    };
    let id = JobId::parse(id).expect("an id");
    let result = JobResult::without_run(Some(id), Outcome::Exited, None, worker);
    let body = wire::encode_result(&result, usize::MAX).body;
    Content::read(&body, usize::MAX).expect("our own result")
}

fn ids(path: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    ResultsFile::open(path, 1 << 20, |content| {
        ids.push(content.result.job_id.expect("an id").to_string());
        Ok(())
    })
    .expect("a readable file");
    ids
}

#[test]
fn a_results_file_cut_anywhere_keeps_its_whole_lines_and_takes_more() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("results.jsonl");
    let mut file = ResultsFile::open(&path, 1 << 20, |_| Ok(())).expect("a new file");
    file.push(&content("a").line);
    file.push(&content("b").line);
    file.sync().expect("room on the disk");
    let bytes = fs::read(&path).expect("the file");
    for length in 0..=bytes.len() {
        fs::write(&path, &bytes[..length]).expect("room on the disk");
        let whole = bytes[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let mut file = ResultsFile::open(&path, 1 << 20, |_| Ok(())).expect("a cut file opens");
        file.push(&content("c").line);
        file.sync().expect("room on the disk");
        let expected: Vec<&str> = ["a", "b"].into_iter().take(whole).chain(["c"]).collect();
        assert_eq!(ids(&path), expected, "cut at {length}");
    }
}

#[test]
fn a_line_that_is_no_result_is_refused_by_its_number() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("results.jsonl");
    fs::write(&path, format!("{}\nnonsense\n", content("a").line)).expect("room on the disk");
    let refused = ResultsFile::open(&path, 1 << 20, |_| Ok(()));
    assert!(
        matches!(refused, Err(ResultsError::Damaged { line: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_result_without_an_id_gets_the_one_that_its_secret_proves() {
    let mut nameless = content("a");
    nameless.line = nameless.line.replace("\"job_id\":\"a\",", "");
    nameless.result.job_id = None;
    assert!(!nameless.line.contains("job_id"), "{}", nameless.line);
    nameless.name_job(&JobId::parse("a").expect("an id"));
    let read = Content::read(nameless.line.as_bytes(), 1 << 20).expect("a result");
    assert_eq!(read.result.job_id, nameless.result.job_id);
}

#[test]
fn what_is_put_aside_is_one_json_object_a_line() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("results.jsonl.aside");
    let mut aside = Aside::at(path.clone());
    assert!(!path.exists());
    aside.conflict(&content("a")).expect("room on the disk");
    let broken = Unreadable {
        what: "no json".to_owned(),
        body: b"\xff\n".as_slice().into(),
    };
    aside.unreadable("b", &broken).expect("room on the disk");
    let text = fs::read_to_string(&path).expect("the file");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    assert_eq!(lines[0]["result"]["job_id"], "a");
    assert_eq!(lines[1]["base64"], "/wo=");
}
