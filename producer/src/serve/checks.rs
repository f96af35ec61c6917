//! The safety checks without which no stranger's code is run: small programs of our own that try to
//! get out, through the whole fleet and back.
//!
//! They are those of the service that is replaced, but for its look whether the service itself can
//! reach the internet: what a gateway can reach is its broker, and only a firewall knows of more.

use jailfleet::blob::Blob;
use jailfleet::outcome::Outcome;
use jailfleet::result::JobResult;

use super::call::Call;
use super::json;

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Code runs, and its globals come back.
    Functionality,
    /// It cannot look around on the disk.
    Disk,
    /// Nor can a program that it starts.
    Exec,
    /// It gets no socket.
    Network,
}

/// Whether code may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nobody has answered the checks yet.
    Starting,
    /// All of them passed.
    Safe,
    /// One of them failed.
    Unsafe,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Passed,
    Failed(String),
    /// No word about walls: nobody answered, or trouble of ours.
    Nothing(String),
}

const DENIED: &str = "PermissionError: [Errno 13] Permission denied";

impl Check {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 4] = [Self::Functionality, Self::Disk, Self::Exec, Self::Network];

    /// The word for it in metrics and logs.
    #[must_use]
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Functionality => "functionality",
            Self::Disk => "disk",
            Self::Exec => "exec",
            Self::Network => "network",
        }
    }

    /// Its program.
    pub(super) fn call(self) -> Call {
        let (code, globals) = match self {
            Self::Functionality => ("x = x + 1", "{\"x\": 16}"),
            Self::Disk => ("import os\nret = os.listdir('/')", "{}"),
            Self::Exec => (
                "import subprocess\nret = subprocess.check_output(['ls', '/'])",
                "{}",
            ),
            Self::Network => (
                "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:\n    \
                 ret = s.fileno()",
                "{}",
            ),
        };
        Call {
            code: code.into(),
            globals: globals.to_owned(),
            files: Vec::new(),
            python_path: Vec::new(),
            context: None,
            slug: Some(format!("jailfleet gateway check {}", self.as_str())),
        }
    }

    /// What a result says of it.
    pub(super) fn judge(self, result: &JobResult) -> Told {
        let message = result.error.as_ref().map(|error| error.message.as_str());
        let message = message.unwrap_or_default();
        match result.outcome {
            Outcome::Exited => {}
            Outcome::Expired
            | Outcome::Cancelled
            | Outcome::WorkerLost
            | Outcome::EngineFault
            | Outcome::Other
            // A busy host can do this to any program.
            | Outcome::WallLimit => {
                return Told::Nothing(format!("{} {message}", result.outcome));
            }
            Outcome::Rejected
            | Outcome::Signaled
            | Outcome::CpuLimit
            | Outcome::MemoryLimit
            | Outcome::OutputLimit => return Told::Failed(format!("{} {message}", result.outcome)),
        }
        let stderr = result.stderr.as_ref().map(Blob::as_bytes);
        let stderr = String::from_utf8_lossy(stderr.unwrap_or_default());
        let ran = result.exit_code == Some(0);
        let accepted: &[&str] = match self {
            Self::Functionality => {
                let left = result.globals.as_deref().unwrap_or_default();
                return match json::read(left).map(|left| left.members()) {
                    Ok(members)
                        if members
                            .iter()
                            .any(|(name, x)| *name == "\"x\"" && x.raw == "17") =>
                    {
                        Told::Passed
                    }
                    Ok(_) | Err(_) => {
                        Told::Failed(format!("no x of 17 came back: {left} {stderr}"))
                    }
                };
            }
            Self::Disk | Self::Network => &[DENIED],
            // Where the program starts, it is in the same jail.
            Self::Exec => &[
                DENIED,
                "BlockingIOError: [Errno 11] Resource temporarily unavailable",
                "returned non-zero exit status",
            ],
        };
        match accepted.iter().any(|words| stderr.contains(words)) {
            true if !ran => Told::Passed,
            true | false => Told::Failed(format!("the code was not stopped: {stderr}")),
        }
    }
}

impl Gate {
    /// The gate after a round of checks. Silence opens nothing, and closes nothing that was open:
    /// a fleet that does not answer runs no code either.
    pub(super) fn after(self, round: &Told) -> Self {
        match (self, round) {
            (_, Told::Passed) => Self::Safe,
            (_, Told::Failed(_)) => Self::Unsafe,
            (gate, Told::Nothing(_)) => gate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::result::WorkerStamp;

    fn result(outcome: Outcome, exit_code: i32, stderr: &str, globals: Option<&str>) -> JobResult {
        let worker = WorkerStamp {
            host: "h".to_owned(),
            version: "0".to_owned(),
            slot: None,
            attempt: 1,
            last_canary: None,
        };
        let mut result = JobResult::without_run(None, outcome, None, worker);
        result.exit_code = Some(exit_code);
        result.stderr = Some(Blob::new(stderr));
        result.globals = globals.map(str::to_owned);
        result
    }

    fn passed(check: Check, code: i32, stderr: &str, globals: Option<&str>) -> bool {
        check.judge(&result(Outcome::Exited, code, stderr, globals)) == Told::Passed
    }

    #[test]
    fn code_that_works_passes_also_with_more_globals_than_asked_for() {
        assert!(passed(Check::Functionality, 0, "", Some("{\"x\": 17}")));
        assert!(passed(
            Check::Functionality,
            0,
            "",
            Some("{\"x\": 17, \"y\": 1}")
        ));
    }

    #[test]
    fn code_that_leaves_another_x_or_none_fails() {
        for globals in [
            Some("{\"x\": 16}"),
            Some("{\"x\": \"17\"}"),
            Some("{}"),
            None,
        ] {
            assert!(!passed(Check::Functionality, 0, "", globals), "{globals:?}");
        }
    }

    #[test]
    fn code_that_is_stopped_with_the_right_words_passes_and_any_other_end_fails() {
        for check in [Check::Disk, Check::Exec, Check::Network] {
            assert!(
                passed(check, 1, &format!("...\n{DENIED}: '/'\n"), None),
                "{check:?}"
            );
            for (code, stderr) in [(0, ""), (0, DENIED), (1, "OSError: [Errno 5]"), (1, "")] {
                assert!(
                    !passed(check, code, stderr, Some("{}")),
                    "{check:?} {code} {stderr}"
                );
            }
        }
    }

    #[test]
    fn a_child_that_cannot_be_made_or_that_is_stopped_itself_passes() {
        let eagain = "BlockingIOError: [Errno 11] Resource temporarily unavailable\n";
        assert!(passed(Check::Exec, 1, eagain, None));
        assert!(!passed(Check::Disk, 1, eagain, None));
        let status =
            "subprocess.CalledProcessError: Command '['ls', '/']' returned non-zero exit status 2.";
        assert!(passed(Check::Exec, 1, status, None));
    }

    #[test]
    fn only_a_passed_round_opens_the_gate_a_failed_one_closes_it_and_silence_does_neither() {
        let failed = Told::Failed(String::new());
        let nothing = Told::Nothing(String::new());
        for gate in [Gate::Starting, Gate::Safe, Gate::Unsafe] {
            assert_eq!(gate.after(&Told::Passed), Gate::Safe);
            assert_eq!(gate.after(&failed), Gate::Unsafe);
            assert_eq!(gate.after(&nothing), gate);
        }
    }

    #[test]
    fn trouble_of_ours_says_nothing_and_a_refused_check_fails() {
        for outcome in [Outcome::EngineFault, Outcome::Expired, Outcome::WorkerLost] {
            let told = Check::Disk.judge(&result(outcome, 0, "", None));
            assert!(matches!(told, Told::Nothing(_)), "{outcome}");
        }
        let told = Check::Functionality.judge(&result(Outcome::Rejected, 0, "", None));
        assert!(matches!(told, Told::Failed(_)));
    }
}
