//! Tests of the journal, on real files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const INPUT: &str = "11f0";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn id(line: u64) -> JobId {
    JobId::parse(&format!("job-{line}")).expect("a valid id")
}

fn open(path: &Path) -> (Journal, Replayed) {
    Journal::open(path, INPUT, "bulk-fresh").expect("a journal that opens")
}

#[test]
fn a_resumed_run_has_the_reply_queue_and_the_ids_of_the_first() {
    let folder = folder();
    let path = folder.path().join("r.journal");
    let secret = CorrelationId::random();
    let (mut first, _) = Journal::open(&path, INPUT, "bulk-first").expect("a new journal");
    first.plan(1, "aa", &id(1), secret);
    first.sync().expect("room on the disk");
    drop(first);
    let (second, replayed) = Journal::open(&path, INPUT, "bulk-second").expect("the same journal");
    assert_eq!(second.reply(), "bulk-first");
    let known = &replayed.jobs[&1];
    assert_eq!(known.id, id(1));
    assert!(known.correlation == secret && !known.confirmed && !known.received);
}

#[test]
fn a_changed_input_is_refused() {
    let folder = folder();
    let path = folder.path().join("r.journal");
    drop(open(&path));
    let refused = Journal::open(&path, "22f0", "bulk-fresh");
    assert!(matches!(refused, Err(JournalError::OtherInput { .. })));
}

#[test]
fn two_runs_of_one_batch_at_the_same_time_are_refused() {
    let folder = folder();
    let path = folder.path().join("r.journal");
    let (held, _) = open(&path);
    let refused = Journal::open(&path, INPUT, "bulk-fresh");
    assert!(matches!(refused, Err(JournalError::Locked { .. })));
    drop(held);
    open(&path);
}

#[test]
fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
    let folder = folder();
    let path = folder.path().join("r.journal");
    let (mut journal, _) = open(&path);
    journal.plan(1, "aa", &id(1), CorrelationId::random());
    journal.sync().expect("room on the disk");
    drop(journal);
    let mut text = fs::read_to_string(&path).expect("the journal");
    text.push_str("{\"confirmed\":2}\n");
    fs::write(&path, &text).expect("room on the disk");
    let refused = Journal::open(&path, INPUT, "bulk-fresh");
    assert!(
        matches!(refused, Err(JournalError::Damaged { line: 3, .. })),
        "{refused:?}"
    );
}

#[test]
fn only_the_owner_can_read_a_journal() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("r.journal");
    drop(open(&path));
    let mode = fs::metadata(&path)
        .expect("the journal")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0);
}

/// One step of a batch, as the run would note it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Plan,
    Confirm(usize),
    Receive(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Plan),
        any::<usize>().prop_map(Step::Confirm),
        any::<usize>().prop_map(Step::Receive),
    ];
    prop::collection::vec(step, 0..24)
}

/// Notes `steps` in a journal and returns its bytes, with what was known after each whole line.
fn written(steps: &[Step]) -> (Vec<u8>, BTreeMap<u64, CorrelationId>) {
    let folder = folder();
    let path = folder.path().join("r.journal");
    let (mut journal, _) = Journal::open(&path, INPUT, "bulk-first").expect("a new journal");
    let mut secrets = BTreeMap::new();
    for step in steps {
        let pick = |index: usize| u64::try_from(index % secrets.len().max(1) + 1).expect("small");
        match *step {
            Step::Plan => {
                let line = u64::try_from(secrets.len() + 1).expect("small");
                let secret = CorrelationId::random();
                journal.plan(line, "aa", &id(line), secret);
                secrets.insert(line, secret);
            }
            Step::Confirm(index) if !secrets.is_empty() => journal.confirmed(pick(index)),
            Step::Receive(index) if !secrets.is_empty() => journal.received(pick(index)),
            Step::Confirm(_) | Step::Receive(_) => {}
        }
    }
    journal.sync().expect("room on the disk");
    (fs::read(&path).expect("the journal"), secrets)
}

/// A run that died after any byte of its journal can be resumed: ids and secrets of what was
/// planned are the old ones, nothing confirmed would be published again, nothing is invented,
/// and what the resumed run notes reads back.
///
/// Without the macro, for which a number of cases from outside goes before the test's own: each case here
/// writes a file for each of its bytes.
#[test]
fn a_journal_can_be_resumed_from_every_truncation_point() {
    let usual = ProptestConfig::default();
    let cases = (usual.cases / 20).max(1);
    let mut runner = TestRunner::new(ProptestConfig { cases, ..usual });
    if let Err(error) = runner.run(&steps(), |steps| resumed_from_everywhere(&steps)) {
        panic!("{error}\n{runner}");
    }
}

fn resumed_from_everywhere(steps: &[Step]) -> Result<(), TestCaseError> {
    let (bytes, secrets) = written(steps);
    let folder = folder();
    let path = folder.path().join("r.journal");
    let mut confirmed_before = BTreeSet::new();
    for length in 0..=bytes.len() {
        fs::write(&path, &bytes[..length]).expect("room on the disk");
        let (mut journal, replayed) =
            Journal::open(&path, INPUT, "bulk-second").expect("a cut journal opens");
        let has_header = bytes[..length].contains(&b'\n');
        let reply = if has_header {
            "bulk-first"
        } else {
            "bulk-second"
        };
        prop_assert_eq!(journal.reply(), reply);
        for (line, known) in &replayed.jobs {
            prop_assert_eq!(&known.id, &id(*line));
            prop_assert!(known.correlation == secrets[line]);
        }
        // What a resumed run publishes is what is planned and not confirmed. A longer journal
        // never takes a confirm back, so whatever was confirmed stays unpublished.
        let confirmed = replayed.jobs.iter().filter(|(_, known)| known.confirmed);
        let confirmed: BTreeSet<u64> = confirmed.map(|(line, _)| *line).collect();
        prop_assert!(confirmed.is_superset(&confirmed_before));
        let mut known = replayed.jobs.values();
        prop_assert!(known.all(|known| known.confirmed || !known.received));
        confirmed_before = confirmed;

        let next = u64::try_from(replayed.jobs.len() + 1).expect("small");
        journal.plan(next, "bb", &id(next), CorrelationId::random());
        journal.confirmed(next);
        journal.flush().expect("room on the disk");
        drop(journal);
        let (_, again) = Journal::open(&path, INPUT, "bulk-third").expect("it opens again");
        prop_assert_eq!(again.jobs.len(), replayed.jobs.len() + 1);
        prop_assert!(again.jobs[&next].confirmed);
    }
    Ok(())
}

proptest! {
    /// No bytes whatever make the reader panic or read beyond whole lines.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(replayed) = replay(&bytes) {
            prop_assert!(replayed.valid_bytes <= bytes.len());
        }
    }
}
