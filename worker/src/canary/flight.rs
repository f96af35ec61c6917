//! One canary: what it tries, how it is sent, and what its end says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jailfleet::evidence::{End, Evidence};
use jailfleet::runtime::{Program, Runtime};
use jailfleet::settings::WorkerSettings;
use jailfleet::units::Millis;
use jailfleet_sandbox::client::sealed_memfd;
use jailfleet_sandbox::payload::{self, Payload};
use tokio_util::sync::CancellationToken;

use super::Sang;
use crate::programs::Offer;
use crate::run::{self, RunEnded, RunOrder, Stops};
use crate::slots::Lease;

const PYTHON: &str = include_str!("escape.py");
const SHELL: &str = include_str!("escape.sh");
/// A canary takes milliseconds; a host on which it takes longer than this tells us nothing.
const WALL: Duration = Duration::from_secs(10);

/// One kind of canary: a runtime and the attempts in its language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    runtime: u16,
    attempts: &'static str,
}

/// One canary on its way.
pub(super) struct Flight {
    pub(super) settings: Arc<WorkerSettings>,
    pub(super) kind: Option<Kind>,
}

impl Flight {
    pub(super) async fn fly(self, mut lease: Lease) -> Sang {
        match self.order() {
            Ok(order) => {
                // Nobody ends a canary early: its own wall limit is short.
                let never = CancellationToken::new();
                match run::run(&mut lease, order, Stops::by(&never)).await {
                    Ok(ran) => heard(&ran),
                    Err(error) => Sang::Silent(error.to_string()),
                }
            }
            Err(why) => Sang::Silent(why),
        }
    }

    fn order(&self) -> Result<RunOrder, String> {
        let kind = self.kind.ok_or("there is none")?;
        let runtime = self.settings.runtimes.get(usize::from(kind.runtime));
        let runtime = runtime.ok_or("its runtime is gone")?;
        let mut limits = runtime.limits;
        if let Some(wall) = Millis::new(u64::try_from(WALL.as_millis()).unwrap_or(u64::MAX)) {
            limits.wall_ms = wall.min(runtime.ceiling.0.wall_ms);
        }
        let payload = Payload {
            main: Some(kind.attempts.as_bytes()),
            files: &[],
            argv: &[],
            env: &[],
        };
        let payload = payload::encode(&payload).map_err(|error| error.to_string())?;
        let sealed = |name, bytes: &[u8]| {
            sealed_memfd(name, bytes).map_err(|error| format!("it could not be sealed: {error}"))
        };
        Ok(RunOrder {
            runtime: kind.runtime,
            limits,
            payload: sealed("jailfleet-payload", &payload)?,
            stdin: sealed("jailfleet-stdin", b"")?,
            globals: None,
            artifacts: None,
        })
    }
}

/// What a canary's run says. Its output is believed: the program is ours.
fn heard(ran: &RunEnded) -> Sang {
    understand(&ran.evidence, &ran.stdout.bytes)
}

fn understand(evidence: &Evidence, stdout: &[u8]) -> Sang {
    let text = String::from_utf8_lossy(stdout);
    let mut ways = text.lines().filter_map(|line| line.strip_prefix("BROKEN "));
    if let Some(way) = ways.next() {
        return Sang::Escaped(way.to_owned());
    }
    match (evidence.end, evidence.acted, text.as_ref()) {
        (End::Exited(0), None, "done\n") => Sang::Held,
        (end, acted, _) => Sang::Silent(format!("it ended with {end:?}, acted on: {acted:?}")),
    }
}

/// One kind for each language that a runtime speaks.
pub(super) fn kinds(settings: &WorkerSettings, offer: &Offer) -> Vec<Kind> {
    let offered = settings.runtimes.iter().enumerate();
    let speaking = offered
        .filter(|(index, _)| offer.has(*index))
        .filter_map(|(index, runtime)| {
            Some(Kind {
                runtime: u16::try_from(index).ok()?,
                attempts: attempts_for(runtime)?,
            })
        });
    let mut kinds: Vec<Kind> = Vec::new();
    for kind in speaking {
        if kinds.iter().all(|other| other.attempts != kind.attempts) {
            kinds.push(kind);
        }
    }
    kinds
}

fn attempts_for(runtime: &Runtime) -> Option<&'static str> {
    let Program::Path(path) = &runtime.program else {
        return None;
    };
    let name = Path::new(path).file_name()?.to_str()?;
    match name {
        "bash" => Some(SHELL),
        _ if name.starts_with("python") => Some(PYTHON),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::evidence::Acted;

    fn ended(end: End) -> Evidence {
        Evidence {
            end,
            ..Evidence::LOST
        }
    }

    #[test]
    fn only_a_canary_that_made_every_attempt_in_vain_proves_anything() {
        let good = ended(End::Exited(0));
        assert_eq!(understand(&good, b"done\n"), Sang::Held);
        for (evidence, stdout) in [
            (&good, &b""[..]),
            (&good, b"done"),
            (&ended(End::Exited(1)), b"done\n"),
            (&ended(End::Signaled(9)), b""),
            (&Evidence::LOST, b""),
        ] {
            assert!(matches!(understand(evidence, stdout), Sang::Silent(_)));
        }
        let cut = Evidence {
            acted: Some(Acted::Output),
            ..good
        };
        assert!(matches!(understand(&cut, b"done\n"), Sang::Silent(_)));
    }

    #[test]
    fn a_canary_that_got_out_is_believed_however_it_ended() {
        for end in [End::Exited(0), End::Exited(1), End::Signaled(9), End::Lost] {
            let sang = understand(&ended(end), b"BROKEN lists the root\ndone\n");
            assert_eq!(sang, Sang::Escaped("lists the root".to_owned()));
        }
    }
}
