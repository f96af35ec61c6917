//! What workers say while most of the nodes are away.

use super::{LOOK, SLOW, WORD};
use crate::clock::Stopwatch;
use crate::fleet::Fleet;
use crate::http;
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// A line of the log and what `/readyz` answers with it: where the connection lasts, where a new one comes to
/// nothing, and where it was to one of the dead nodes.
const WORDS: [(&str, &str); 3] = [
    (SLOW, "the broker blocks publishing"),
    (SLOW, "not connected for"),
    ("no session with the broker", "not connected for"),
];

/// One worker, and how far its log was read.
#[derive(Debug)]
pub(super) struct Listened {
    number: usize,
    address: String,
    log: PathBuf,
    before: usize,
}

impl Listened {
    /// Listens to all workers of a fleet from now on.
    pub(super) fn to_all(fleet: &mut Fleet) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for number in fleet.numbers() {
            let log = fleet.log(number);
            let before = std::fs::read(&log).context("read a worker's log")?.len();
            all.push(Self {
                number,
                address: fleet.wait_for_admin_port(number)?,
                log,
                before,
            });
        }
        Ok(all)
    }

    /// Waits until the log says that the broker does not answer and `/readyz` says that no job is taken; a row
    /// with how long that took since `lost`.
    fn first_word(&self, fleet: &mut Fleet, lost: Stopwatch) -> Result<[String; 3]> {
        loop {
            let log = std::fs::read(&self.log).context("read a worker's log")?;
            let new = String::from_utf8_lossy(log.get(self.before..).unwrap_or_default());
            let unready = http::refused(&self.address, "/readyz")?;
            if let Some((line, reason)) = names_it(&new, unready.as_deref()) {
                let name = format!("worker {}", self.number);
                let says = format!("{line}; /readyz: {reason}");
                return Ok([name, format!("{:.1?}", lost.elapsed()), says]);
            }
            ensure!(
                lost.elapsed() < WORD,
                "hear worker {} within {WORD:?} that nothing answers: /readyz says {unready:?}\n{new}",
                self.number
            );
            // The wait paces the looks.
            let ended = fleet.living(self.number)?.wait_within(LOOK)?;
            ensure!(
                ended.is_none(),
                "keep worker {}: it ended with {ended:?}",
                self.number
            );
        }
    }
}

/// Hears all of them: each must have its word in time, and the time runs since `lost`.
pub(super) fn hear(all: &[Listened], fleet: &mut Fleet, lost: Stopwatch) -> Result<()> {
    let mut table = Table::new(&["program", "after", "says"]);
    for worker in all {
        table.row(worker.first_word(fleet, lost)?);
    }
    print!("{}", table.render());
    Ok(())
}

/// The line of a log and the reason of `/readyz` that together tell people of a broker that does not answer.
fn names_it<'a>(log: &'a str, unready: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let unready = unready?;
    WORDS.iter().find_map(|(word, reason)| {
        let line = log.lines().find(|line| line.contains(word))?;
        unready
            .contains(reason)
            .then_some((line.trim(), unready.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::names_it;

    #[test]
    fn a_worker_has_said_it_when_its_log_and_its_readiness_have() {
        let slow = "WARN the broker takes longer than a second to answer; it is waited for what=\"confirm\"";
        let log = format!("INFO before\n  {slow}\nINFO after");
        for reason in [
            "the broker blocks publishing\n",
            "not connected for consuming",
        ] {
            let said = names_it(&log, Some(reason));
            assert_eq!(said, Some((slow, reason.trim())));
        }
        assert_eq!(names_it(&log, None), None, "it says that it is ready");
        assert_eq!(names_it(&log, Some("draining")), None, "of something else");
        let reason = Some("the broker blocks publishing");
        assert_eq!(names_it("INFO before", reason), None, "nothing in its log");
        let away = "WARN no session with the broker; it is tried again";
        let unconnected = Some("not connected for consuming");
        assert!(names_it(away, unconnected).is_some(), "of a dead node");
        assert_eq!(
            names_it(away, reason),
            None,
            "the two do not belong together"
        );
    }
}
