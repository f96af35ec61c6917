//! `doctor`: what this host offers, wall by wall, and how to fix what is missing.

use std::io::{self, IsTerminal, Write};

use jailfleet::settings::WorkerSettings;
use jailfleet::wall::{Wall, WallSet};
use jailfleet_program::output;
use jailfleet_sandbox::apparmor;
use jailfleet_sandbox::probe::{State, WallReport, held_walls, notes, probe};
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::fitness;
use crate::programs::Offer;

/// Everything that was found.
struct Finding<'a> {
    set: WallSet,
    walls: &'a [WallReport],
    missing: &'a [Wall],
    /// What keeps the worker from starting, apart from walls.
    troubles: &'a [String],
    runtimes: &'a [String],
    /// What is no wall and yet worth knowing.
    notes: &'a [String],
}

/// Looks at every wall and says what was found.
///
/// # Errors
/// When the answer cannot be written.
pub fn examine(settings: &WorkerSettings, json: bool) -> io::Result<Exit> {
    let set = settings.worker.walls;
    let walls = probe(settings);
    let missing = fitness::missing_walls(set, &held_walls(&walls), apparmor::enforced());
    let mut troubles = Vec::new();
    let offer = Offer::survey(settings).unwrap_or_else(|error| {
        troubles.push(format!("the worker would fail to {error}"));
        Offer::default()
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = settings.worker.slots.count(cores);
    let memory = fitness::memory_bytes();
    if let Err(error) = fitness::check_memory(settings, &offer, slots, memory) {
        troubles.push(format!("the worker would fail to {error}"));
    }
    let runtimes: Vec<String> = offer.names(settings).map(str::to_owned).collect();
    let finding = Finding {
        set,
        walls: &walls,
        missing: &missing,
        troubles: &troubles,
        runtimes: &runtimes,
        notes: &notes(),
    };
    let mut out = Vec::new();
    if json {
        writeln!(out, "{}", finding.to_json())?;
    } else {
        finding.write_table(&mut out, io::stdout().is_terminal())?;
    }
    output::print(&out)?;
    let fit = missing.is_empty() && troubles.is_empty();
    Ok(if fit { Exit::Done } else { Exit::Unfit })
}

const fn state_word(state: State) -> &'static str {
    match state {
        State::Held => "held",
        State::Degraded => "degraded",
        State::Missing => "missing",
    }
}

impl Finding<'_> {
    fn required(&self, wall: Wall) -> bool {
        self.set.required().contains(&wall)
            || (self.set.required_where_offered().contains(&wall) && apparmor::enforced())
    }

    fn to_json(&self) -> Value {
        let walls: Vec<Value> = self
            .walls
            .iter()
            .map(|report| {
                let mut wall = json!({
                    "wall": report.wall.as_str(),
                    "state": state_word(report.state),
                    "required": self.required(report.wall),
                    "evidence": report.evidence,
                });
                if let Some(wall) = wall.as_object_mut() {
                    let fields = [("fix", &report.fix), ("detail", &report.detail)];
                    for (name, text) in fields {
                        if let Some(text) = text {
                            wall.insert(name.to_owned(), json!(text));
                        }
                    }
                }
                wall
            })
            .collect();
        let missing: Vec<&str> = self.missing.iter().map(|wall| wall.as_str()).collect();
        json!({
            "set": self.set.as_str(),
            "fit": self.missing.is_empty() && self.troubles.is_empty(),
            "missing": missing,
            "troubles": self.troubles,
            "runtimes": self.runtimes,
            "notes": self.notes,
            "walls": walls,
        })
    }

    fn write_table(&self, out: &mut impl Write, terminal: bool) -> io::Result<()> {
        let header = ("wall", "state", "required", "evidence");
        writeln!(
            out,
            "{:<14} {:<9} {:<9} {}",
            header.0, header.1, header.2, header.3
        )?;
        for report in self.walls {
            let required = if self.required(report.wall) {
                "yes"
            } else {
                ""
            };
            let state = format!("{:<9}", state_word(report.state));
            let state = if terminal {
                painted(report.state, &state)
            } else {
                state
            };
            let wall = report.wall.as_str();
            writeln!(out, "{wall:<14} {state} {required:<9} {}", report.evidence)?;
            if let (Some(fix), State::Missing | State::Degraded) = (&report.fix, report.state) {
                writeln!(out, "{:<14} fix: {fix}", "")?;
            }
        }
        writeln!(out, "\nruntimes: {}", self.runtimes.join(", "))?;
        for note in self.notes {
            writeln!(out, "note: {note}")?;
        }
        for trouble in self.troubles {
            writeln!(out, "trouble: {trouble}")?;
        }
        if self.missing.is_empty() {
            return writeln!(out, "every wall of the set {} holds", self.set);
        }
        let missing: Vec<&str> = self.missing.iter().map(|wall| wall.as_str()).collect();
        writeln!(
            out,
            "the set {} needs {}: the worker would not take jobs here (a weaker set: --walls)",
            self.set,
            missing.join(", ")
        )
    }
}

fn painted(state: State, text: &str) -> String {
    let colour = match state {
        State::Held => 32,
        State::Degraded => 33,
        State::Missing => 31,
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wall: Wall, state: State, fix: Option<&str>) -> WallReport {
        let fix = fix.map(str::to_owned);
        WallReport {
            wall,
            state,
            evidence: "as tried".to_owned(),
            fix,
            detail: None,
        }
    }

    #[test]
    fn a_missing_wall_is_shown_with_its_fix_and_makes_the_host_unfit() {
        let walls = [
            report(Wall::Seccomp, State::Held, None),
            report(Wall::CgroupPids, State::Missing, Some("delegate a cgroup")),
        ];
        let finding = Finding {
            set: WallSet::Full,
            walls: &walls,
            missing: &[Wall::CgroupPids],
            troubles: &[],
            runtimes: &["python".to_owned()],
            notes: &["so it is".to_owned()],
        };
        let mut table = Vec::new();
        finding.write_table(&mut table, false).expect("writable");
        let table = String::from_utf8(table).expect("text");
        assert!(table.contains("fix: delegate a cgroup"), "{table}");
        assert!(table.contains("note: so it is"), "{table}");
        assert!(table.contains("the set full needs cgroup_pids"), "{table}");
        let json = finding.to_json();
        assert_eq!(json.get("fit"), Some(&json!(false)));
        let second = json.pointer("/walls/1/fix");
        assert_eq!(second, Some(&json!("delegate a cgroup")));
        assert_eq!(
            json.pointer("/walls/0/fix"),
            None,
            "what does not apply is left out"
        );
    }
}
