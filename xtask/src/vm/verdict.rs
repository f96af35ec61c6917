//! What a test program's end in the guest says about its test.

use crate::vm::machine::Done;
use jailfleet_guest::{End, Left};
use std::fmt;

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ran, and all was as it says.
    Passed,
    /// It said aloud that it could not run.
    Skipped,
    /// For this reason.
    Failed(String),
}

impl Verdict {
    /// Judges a program that was told to run exactly one test, without capturing its output.
    pub(crate) fn of(done: &Done) -> Self {
        match (&done.end, done.left) {
            (End::NotStarted(words), _) => Self::Failed(format!("could not be started: {words}")),
            (End::TimedOut, _) => Self::Failed("did not end in time".to_owned()),
            (End::Signaled(signal), _) => Self::Failed(format!("ended by signal {signal}")),
            (End::Exited(0), Left::Processes) => Self::Failed("left processes behind".to_owned()),
            (End::Exited(0), Left::Nothing) => Self::of_words(done),
            (End::Exited(code), _) => Self::Failed(format!("exited with {code}")),
        }
    }

    /// A name that fits no test is no error to a test program.
    fn of_words(done: &Done) -> Self {
        let out = String::from_utf8_lossy(&done.stdout);
        let err = String::from_utf8_lossy(&done.stderr);
        if !out.contains("test result: ok. 1 passed; 0 failed") {
            return Self::Failed("ran no test".to_owned());
        }
        // Nothing ends the line `test NAME ... ` before what the test itself writes.
        if err.contains("SKIPPED") || out.contains("SKIPPED") {
            return Self::Skipped;
        }
        Self::Passed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped => f.write_str("skipped"),
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
            Verdict::Skipped => self.skipped += 1,
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
    use super::{Tally, Verdict};
    use crate::vm::machine::Done;
    use jailfleet_guest::{End, Left};
    use std::time::Duration;

    fn done(end: End, left: Left, stdout: &str, stderr: &str) -> Verdict {
        Verdict::of(&Done {
            end,
            left,
            took: Duration::ZERO,
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
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

    #[test]
    fn a_test_that_says_so_was_skipped_and_is_counted_apart() {
        let verdict = done(
            End::Exited(0),
            Left::Nothing,
            OK,
            "SKIPPED: no Landlock here\n",
        );
        assert_eq!(verdict, Verdict::Skipped);
        let mut tally = Tally::default();
        tally.note(&verdict);
        tally.note(&Verdict::Passed);
        tally.note(&Verdict::Failed("x".to_owned()));
        assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
    }
}
