//! The attacks of the catalogue in jails without one wall: which of them succeed.

use crate::catalogue::{self, AttackFile};
use crate::job::{bash, job, python};
use crate::programs::Programs;
use crate::trial::{Failure, Proof, Trial};
use crate::warden;
use jailfleet::evidence::End;
use jailfleet::outcome::Outcome;
use jailfleet::wall::Wall;

/// Attacks that say nothing where they succeed, and what they end as then.
const SILENT: &[(&str, Outcome)] = &[
    ("003_children_burn_together.sh", Outcome::Exited),
    (
        "025_child_dies_of_memory_and_parent_says_well.py",
        Outcome::Exited,
    ),
];

/// Whether an attack that did not end as it must has done what it wanted to.
fn succeeded(file: &AttackFile, failure: &Failure) -> bool {
    let ends = SILENT.iter().find(|(name, _)| *name == file.name);
    match ends {
        Some((_, outcome)) => failure.outcome == *outcome,
        None => failure
            .stdout
            .lines()
            .any(|line| line.starts_with("BROKEN")),
    }
}

/// What came of attacks without a wall.
#[derive(Default)]
pub(crate) struct Without<'a> {
    /// Those that succeed.
    pub(crate) broken: Vec<&'a str>,
    /// How many ran at all.
    pub(crate) ran: usize,
}

/// Runs these files' attacks without this wall, after plain programs that must do well without it: where
/// nothing works any more, every attack would seem to succeed.
pub(crate) fn without<'a>(
    wall: Wall,
    config: &'static str,
    programs: &'a Programs,
    wanted: impl Fn(&AttackFile) -> bool,
) -> Result<Without<'a>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trial = Trial::behind(warden(&folder, wall), config);
    let controls = [
        python("print('up')"),
        bash("echo up"),
        job("native", "#!/bin/sh\necho up\n"),
    ];
    for control in &controls {
        let seen = trial.control(control);
        if seen.evidence.end != End::Exited(0) || seen.out() != "up\n" {
            trial.stop();
            return Err(format!(
                "a plain {} fails without it: {seen:?}",
                control.runtime
            ));
        }
    }
    let mut without = Without::default();
    let files = programs.of(&(1..=catalogue::ITEMS));
    for file in files.filter(|file| wanted(file)) {
        match trial.run(programs, file) {
            Ok(Proof::NotHere) => continue,
            Ok(Proof::Ran) => {}
            Err(failure) if succeeded(file, &failure) => without.broken.push(file.name.as_str()),
            // It may have been harmed itself, or its slot: that shows nothing of what the wall stops.
            Err(failure) => {
                trial.stop();
                return Err(format!(
                    "{} did not succeed and did not fail: {failure}",
                    file.name
                ));
            }
        }
        without.ran += 1;
    }
    trial.stop();
    Ok(without)
}
