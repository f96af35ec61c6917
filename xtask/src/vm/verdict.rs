//! What a test program's end in the guest says about its test.

use crate::vm::machine::Done;
use jailfleet_guest::{End, Left, User};
use jailfleet_harness::noted::NOTED;
use jailfleet_harness::requirement::Requirement;
use std::fmt;

/// What a user has in no guest, and tests may therefore ask for in vain. Everything else is there, since
/// guests are built here: whoever misses it has found a mistake.
const fn lacking(user: User) -> &'static [Requirement] {
    match user {
        // Both are of cgroup v1: nothing of version 2 keeps a process from dying.
        User::Root => &[Requirement::CgroupFreezer, Requirement::CpuQuota],
        User::Plain => &[Requirement::Root, Requirement::SlotUids],
    }
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ran, and all was as it says.
    Passed,
    /// It said aloud that it could not run, or not all of it: one line for each thing that it needs.
    Skipped(Vec<String>),
    /// For this reason.
    Failed(String),
}

impl Verdict {
    /// Judges a program that was told to run exactly one test as `user`, without capturing its output.
    pub(crate) fn of(done: &Done, user: User) -> Self {
        match (&done.end, done.left) {
            (End::NotStarted(words), _) => Self::Failed(format!("could not be started: {words}")),
            (End::TimedOut, _) => Self::Failed("did not end in time".to_owned()),
            (End::Signaled(signal), _) => Self::Failed(format!("ended by signal {signal}")),
            (End::Exited(0), Left::Processes) => Self::Failed("left processes behind".to_owned()),
            (End::Exited(0), Left::Nothing) => Self::of_words(done, user),
            (End::Exited(code), _) => Self::Failed(format!("exited with {code}")),
        }
    }

    /// A name that fits no test is no error to a test program.
    fn of_words(done: &Done, user: User) -> Self {
        let out = String::from_utf8_lossy(&done.stdout);
        let err = String::from_utf8_lossy(&done.stderr);
        if !out.contains("test result: ok. 1 passed; 0 failed") {
            return Self::Failed("ran no test".to_owned());
        }
        // Nothing ends the line `test NAME ... ` before what the test itself writes.
        let told = |line: &str| {
            line.split_once("SKIPPED")
                .map(|(_, skip)| skip.trim().to_owned())
        };
        let skips: Vec<String> = err.lines().chain(out.lines()).filter_map(told).collect();
        if let Some(skip) = skips.iter().find(|skip| !is_expected(skip, user)) {
            return Self::Failed(format!("was skipped, and the guest has it: {skip}"));
        }
        if skips.is_empty() {
            Self::Passed
        } else {
            Self::Skipped(skips)
        }
    }
}

/// What a test told to whoever reads the account, however it ended.
pub(crate) fn notes(done: &Done) -> Vec<String> {
    let [err, out] = [&done.stderr, &done.stdout].map(|text| String::from_utf8_lossy(text));
    let lines = err.lines().chain(out.lines());
    let told = lines.filter_map(|line| line.split_once(NOTED));
    told.map(|(_, note)| note.trim().to_owned()).collect()
}

/// Whether a test asked for something that this user is known to lack.
fn is_expected(skip: &str, user: User) -> bool {
    let needs = skip.rsplit_once(": needs ").map(|(_, needs)| needs);
    let mut lacking = lacking(user).iter();
    lacking.any(|requirement| needs == Some(format!("{requirement:?}").as_str()))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped(_) => f.write_str("skipped"),
            Self::Failed(_) => f.write_str("FAILED"),
        }
    }
}

/// How many tests ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Skipped.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn note(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
            Verdict::Failed(_) => self.failed += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, Verdict, notes};
    use crate::vm::machine::Done;
    use jailfleet_guest::{End, Left, User};
    use std::time::Duration;

    fn done(end: End, left: Left, stdout: &str, stderr: &str) -> Verdict {
        done_as(User::Root, end, left, stdout, stderr)
    }

    fn done_as(user: User, end: End, left: Left, stdout: &str, stderr: &str) -> Verdict {
        let done = Done {
            end,
            left,
            took: Duration::ZERO,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        Verdict::of(&done, user)
    }

    const OK: &str = "\nrunning 1 test\ntest a ... ok\n\n\
                      test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out\n";
    const NONE: &str =
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out\n";

    #[test]
    fn only_a_test_that_ran_and_left_nothing_has_passed() {
        let failed = |words: &str| Verdict::Failed(words.to_owned());
        let exited = |code| End::Exited(code);
        assert_eq!(done(exited(0), Left::Nothing, OK, ""), Verdict::Passed);
        assert_eq!(
            done(exited(0), Left::Nothing, NONE, ""),
            failed("ran no test")
        );
        assert_eq!(
            done(exited(0), Left::Processes, OK, ""),
            failed("left processes behind")
        );
        assert_eq!(
            done(exited(101), Left::Nothing, OK, ""),
            failed("exited with 101")
        );
        assert_eq!(
            done(End::TimedOut, Left::Nothing, OK, ""),
            failed("did not end in time")
        );
        assert_eq!(
            done(End::Signaled(6), Left::Nothing, OK, ""),
            failed("ended by signal 6")
        );
    }

    fn skipped(user: User, stderr: &str) -> Verdict {
        done_as(user, End::Exited(0), Left::Nothing, OK, stderr)
    }

    #[test]
    fn a_test_that_says_so_was_skipped_and_is_counted_apart_with_its_reason() {
        let verdict = skipped(
            User::Plain,
            "SKIPPED real_jail::a: needs Root\nother words\n",
        );
        let told = vec!["real_jail::a: needs Root".to_owned()];
        assert_eq!(verdict, Verdict::Skipped(told));
        let mut tally = Tally::default();
        tally.note(&verdict);
        tally.note(&Verdict::Passed);
        tally.note(&Verdict::Failed("x".to_owned()));
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_a_test_tells_comes_out_of_the_guest_from_either_stream() {
        let done = Done {
            end: End::Exited(0),
            left: Left::Nothing,
            took: Duration::ZERO,
            stdout: b"test a ... NOTED known hole: b\nok\n".to_vec(),
            stderr: b"words\nNOTED the wall x alone stops: y\n".to_vec(),
        };
        let told = ["the wall x alone stops: y", "known hole: b"];
        assert_eq!(notes(&done), told);
    }

    #[test]
    fn a_test_that_misses_what_its_guest_has_has_failed() {
        for (user, stderr) in [
            (User::Root, "SKIPPED a: needs Root"),
            (User::Plain, "SKIPPED a: needs CgroupFreezer"),
            (User::Plain, "SKIPPED a: needs Landlock"),
            (
                User::Plain,
                "SKIPPED a: needs Root\nSKIPPED b: needs AppArmor",
            ),
            (User::Plain, "SKIPPED for no reason that anybody knows"),
        ] {
            let verdict = skipped(user, stderr);
            assert!(
                matches!(verdict, Verdict::Failed(_)),
                "{stderr}: {verdict:?}"
            );
        }
    }
}
