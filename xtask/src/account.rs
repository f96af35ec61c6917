//! How many tests passed, failed and were skipped.

use crate::proofs::{HERE, Passed};
use crate::vm::verdict::Tally;
use anyhow::{Context, Result};
use jailfleet_harness::noted::{NOTED, NOTES};
use jailfleet_harness::requirement::SKIPS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What is said of tests that ran without nextest.
const UNCOUNTED: &str = "NOT CHECKED: whether each test ends in time and leaves no process behind, nor how \
     many there were; `cargo install cargo-nextest --locked` brings what sees it, and cargo's own lines \
     count the tests";

/// What tests told although they passed, such as a hole that is known, and where they did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(BTreeMap<String, BTreeSet<String>>);

impl Notes {
    /// This was told at `place`.
    pub(crate) fn note(&mut self, place: &str, note: &str) {
        let places = self.0.entry(note.to_owned()).or_default();
        places.insert(place.to_owned());
    }

    /// A line for each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(note, places)| {
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            format!("{NOTED}{note} [{}]", places.join("; "))
        })
    }
}

/// What nextest's last line counts, and the skips that the tests noted themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestAccount {
    ended_well: u64,
    failed: u64,
    /// One line a skip: the test, the part of it that could not run unless all of it could not, and what
    /// that needs.
    skips: BTreeSet<(String, &'static str)>,
    /// What sets the tests that run now apart from the same ones before.
    run: &'static str,
    /// What ran in guests.
    guests: Tally,
    /// The same of guests, where the tests are counted and not the lines.
    guest_skips: BTreeSet<String>,
    passed: Passed,
    notes: Notes,
    /// Whether tests ran without nextest, whose lines are what is counted.
    uncounted: bool,
}

impl TestAccount {
    /// Tests ran that nobody counts.
    pub(crate) fn uncounted(&mut self) {
        self.uncounted = true;
        println!("{UNCOUNTED}");
    }

    /// Takes one line of nextest's.
    pub(crate) fn note(&mut self, line: &str) {
        self.passed.note_line(line);
        let Some((_, counts)) = line.split_once("tests run: ") else {
            return;
        };
        let before = |word: &str| {
            let mut parts = counts.split([',', ' ']).filter(|part| !part.is_empty());
            let mut last = parts.next()?;
            parts.find_map(|part| {
                let found = (part == word).then_some(last);
                last = part;
                found
            })
        };
        let count = |word| before(word).and_then(|text| text.parse().ok()).unwrap_or(0);
        // A test that leaves a process behind, or does not end, has failed as well.
        self.failed += count("failed") + count("timed") + count("exec");
        self.ended_well += count("passed");
    }

    /// Takes the skips that the tests noted.
    pub(crate) fn take_skips(&mut self, noted: &str) {
        let run = self.run;
        let lines = noted.lines().map(|line| (line.to_owned(), run));
        self.skips.extend(lines);
    }

    /// From here on the same tests run once more, and what sets them apart is this.
    pub(crate) fn once_more(&mut self, run: &'static str) {
        self.run = run;
    }

    /// Takes what was counted in guests.
    pub(crate) fn add_guests(&mut self, tally: Tally, passed: Passed, skips: BTreeSet<String>) {
        self.guests = tally;
        self.passed.add(passed);
        self.guest_skips = skips;
    }

    /// Takes what was told in guests.
    pub(crate) fn add_notes(&mut self, notes: Notes) {
        for (note, places) in notes.0 {
            self.notes.0.entry(note).or_default().extend(places);
        }
    }

    /// What was proven of the walls, and where.
    pub(crate) fn proven(&self) -> Passed {
        let mut passed = self.passed.clone();
        for (test, _) in self.skipped_tests() {
            passed.strike(HERE, test);
        }
        passed
    }

    /// The tests that noted a skip, each in its run; one of many parts is one test all the same.
    fn skipped_tests(&self) -> BTreeSet<(&str, &str)> {
        let test = |skip: &'_ str| {
            skip.split_once(": ")
                .map_or(skip.len(), |(test, _)| test.len())
        };
        let skips = self.skips.iter();
        skips
            .map(|(skip, run)| (skip.get(..test(skip)).unwrap_or(skip), *run))
            .collect()
    }

    /// What must be seen at the end: what was told, each skip, and the three counts.
    pub(crate) fn closing_lines(&self) -> Vec<String> {
        let here = self.skips.iter().map(|(skip, run)| format!("{skip}{run}"));
        let skips = here.chain(self.guest_skips.iter().cloned());
        let skips = skips.map(|skip| format!("SKIPPED {skip}"));
        let uncounted = self.uncounted.then(|| UNCOUNTED.to_owned());
        let counts = (!self.uncounted || self.guests != Tally::default()).then(|| self.to_string());
        let notes = self.notes.lines();
        notes.chain(skips).chain(uncounted).chain(counts).collect()
    }
}

impl fmt::Display for TestAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = match self.uncounted {
            true => 0,
            false => self.skipped_tests().len() as u64,
        };
        // For nextest a test that skipped itself has passed. For us it has not.
        let passed = self.ended_well.saturating_sub(skipped) + self.guests.passed;
        let failed = self.failed + self.guests.failed;
        let skipped = skipped + self.guests.skipped;
        let only = if self.uncounted {
            "in guests alone: "
        } else {
            ""
        };
        write!(
            f,
            "{only}{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

/// The files in which the tests of one run note what must be seen.
#[derive(Debug)]
pub(crate) struct NoteFiles {
    skips: PathBuf,
    notes: PathBuf,
}

impl NoteFiles {
    /// Empty ones in `folder`.
    pub(crate) fn fresh(folder: &Path) -> Result<Self> {
        let fresh = |name| {
            let path = folder.join(name);
            std::fs::write(&path, "").with_context(|| format!("make {}", path.display()))?;
            // Some tests become a plain user, and may skip as one.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(&path, open).context("let every test note what it has to")?;
            Ok::<_, anyhow::Error>(path)
        };
        Ok(Self {
            skips: fresh("skips")?,
            notes: fresh("notes")?,
        })
    }

    /// The variables that tell the tests.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let Self { skips, notes } = self;
        [(SKIPS, skips), (NOTES, notes)].map(|(name, path)| (name, path.display().to_string()))
    }

    /// What they noted.
    pub(crate) fn give_to(&self, account: &mut TestAccount) -> Result<()> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        account.take_skips(&read(&self.skips)?);
        for note in read(&self.notes)?.lines() {
            account.notes.note(HERE, note);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{NoteFiles, Notes, TestAccount};
    use crate::proofs::Passed;
    use crate::vm::verdict::Tally;
    use std::collections::BTreeSet;

    fn noted(line: &str) -> TestAccount {
        let mut account = TestAccount::default();
        account.note(line);
        account
    }

    #[test]
    fn the_last_line_of_nextest_is_understood() {
        let line = "     Summary [   3.756s] 14 tests run: 13 passed (2 slow), 1 failed, 0 skipped";
        assert_eq!(noted(line).to_string(), "13 passed, 1 failed, 0 skipped");
        let line =
            "     Summary [   3.756s] 9 tests run: 6 passed, 2 failed, 1 timed out, 4 skipped";
        assert_eq!(noted(line).to_string(), "6 passed, 3 failed, 0 skipped");
        let line = "        PASS [   0.005s] tests of all";
        assert_eq!(noted(line).to_string(), "0 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_test_that_skipped_itself_did_not_pass_and_is_named_at_the_end() {
        let mut account = noted("     Summary [   1.000s] 3 tests run: 3 passed, 0 skipped");
        account.take_skips("b: needs Broker\na: needs Root\nb: needs Broker\n");
        let lines = [
            "SKIPPED a: needs Root",
            "SKIPPED b: needs Broker",
            "1 passed, 0 failed, 2 skipped",
        ];
        assert_eq!(account.closing_lines(), lines);
    }

    #[test]
    fn a_test_that_skipped_itself_in_two_runs_did_not_pass_in_either() {
        let line = "     Summary [   1.000s] 1 tests run: 1 passed, 0 skipped";
        let mut account = noted(line);
        account.take_skips("a: needs Root\n");
        account.once_more(", on RabbitMQ 4.0");
        account.note(line);
        account.take_skips("a: needs Root\n");
        let lines = [
            "SKIPPED a: needs Root",
            "SKIPPED a: needs Root, on RabbitMQ 4.0",
            "0 passed, 0 failed, 2 skipped",
        ];
        assert_eq!(account.closing_lines(), lines);
    }

    #[test]
    fn a_test_that_left_out_parts_of_itself_is_one_test_and_proves_no_wall() {
        let mut account = noted("     Summary [   1.000s] 3 tests run: 3 passed, 0 skipped");
        account.note("  PASS [   0.3s] (1/3) jailfleet-sandbox::real_catalogue attacks_by_x_fail");
        account.note("  PASS [   0.3s] (2/3) jailfleet-sandbox::real_parts seals");
        let skips = [
            "real_catalogue::attacks_by_x_fail: 033_a.py: needs AppArmor",
            "real_catalogue::attacks_by_x_fail: 034_b.c: needs X86",
            "real_catalogue::attacks_by_x_fail: 034_b.c: needs AppArmor",
        ];
        account.take_skips(&skips.join("\n"));
        assert_eq!(account.to_string(), "2 passed, 0 failed, 1 skipped");
        assert_eq!(account.closing_lines().len(), skips.len() + 1);
        let left: Vec<(&str, &str)> = account.skipped_tests().into_iter().collect();
        assert_eq!(left, [("real_catalogue::attacks_by_x_fail", "")]);
    }

    #[test]
    fn a_wall_is_proven_by_no_test_that_left_out_a_part_of_itself() {
        const PROOF: &str = "attacks_on_what_other_jobs_left_fail";
        let row = |account: &TestAccount| {
            let table = account.proven().table();
            let mut rows = table.lines();
            let row = rows.find(|row| row.trim_start().starts_with("cgroupns"));
            row.expect("a row").contains("attacks_on_what")
        };
        let line = format!("  PASS [   0.3s] (1/3) jailfleet-sandbox::real_catalogue {PROOF}");
        let mut account = noted(&line);
        assert!(row(&account));
        account.take_skips(&format!(
            "real_catalogue::{PROOF}: 103_a.py: needs CgroupPids\n"
        ));
        assert!(!row(&account));
    }

    #[test]
    fn what_was_skipped_in_a_guest_is_counted_and_named_at_the_end_too() {
        let mut account = noted("     Summary [   1.000s] 1 tests run: 1 passed, 0 skipped");
        let tally = Tally {
            passed: 2,
            failed: 0,
            skipped: 1,
        };
        let skips = BTreeSet::from(["a: needs Root, in the guest 6.1 as plain".to_owned()]);
        account.add_guests(tally, Passed::default(), skips);
        let lines = [
            "SKIPPED a: needs Root, in the guest 6.1 as plain",
            "3 passed, 0 failed, 1 skipped",
        ];
        assert_eq!(account.closing_lines(), lines);
    }

    #[test]
    fn what_a_test_told_although_it_passed_stands_at_the_end_once_with_all_its_places() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = NoteFiles::fresh(folder.path()).expect("files");
        let mut account = TestAccount::default();
        for (_, path) in files.variables() {
            std::fs::write(path, "known hole: a\n").expect("it is there");
        }
        files.give_to(&mut account).expect("they can be read");
        let mut guests = Notes::default();
        guests.note("in the guest 6.1 as root", "known hole: a");
        account.add_notes(guests);
        let lines = account.closing_lines();
        assert_eq!(
            lines.first().map(String::as_str),
            Some("NOTED known hole: a [here; in the guest 6.1 as root]")
        );
        assert_eq!(
            lines.get(1).map(String::as_str),
            Some("SKIPPED known hole: a")
        );
    }

    #[test]
    fn tests_that_nobody_counted_are_not_counted_as_none() {
        let mut account = TestAccount::default();
        account.uncounted();
        account.take_skips("a: needs Root\n");
        let lines = account.closing_lines();
        assert_eq!(lines, ["SKIPPED a: needs Root", super::UNCOUNTED]);
        let tally = Tally {
            passed: 2,
            failed: 0,
            skipped: 0,
        };
        account.add_guests(tally, Passed::default(), BTreeSet::new());
        let counted = account.closing_lines().pop().expect("a last line");
        assert!(
            counted.starts_with("in guests alone: 2 passed"),
            "{counted}"
        );
    }
}
