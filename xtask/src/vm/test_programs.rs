//! The sandbox's test programs, built here and run in the guest.

use crate::build::{WALL_REMOVAL, without_walls};
use crate::programs::{capture, cargo, command};
use crate::vm::selection::TestName;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::PathBuf;

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// As cargo names its target.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// The package whose tests need a kernel.
const PACKAGE: &str = "jailfleet-sandbox";

/// Builds them, with the programs that they start: those of the sandbox as it is shipped, and the one
/// that takes single walls down.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<TestProgram>> {
    println!("Building the tests of {PACKAGE} ...");
    let mut programs = built(workspace, &["--package", PACKAGE])?;
    let target = without_walls(workspace);
    let removal = [&WALL_REMOVAL[..], &["--test=real_walls", &target]].concat();
    programs.extend(built(workspace, &removal)?);
    Ok(programs)
}

fn built(workspace: &Workspace, arguments: &[&str]) -> Result<Vec<TestProgram>> {
    let mut build = cargo();
    build
        .current_dir(workspace.root())
        .args(["test", "--no-run", "--quiet"])
        .arg("--message-format=json-render-diagnostics")
        .args(arguments);
    let programs = programs(&capture("cargo test --no-run", &mut build)?)?;
    ensure!(!programs.is_empty(), "build any test of {PACKAGE}");
    Ok(programs)
}

/// Asks each program for its tests.
pub(crate) fn names(programs: &[TestProgram]) -> Result<Vec<TestName>> {
    let mut names = Vec::new();
    for program in programs {
        let mut list = command(&program.path);
        let text = capture(&program.name, list.args(["--list", "--format", "terse"]))?;
        names.extend(listed(&text).map(|test| TestName {
            program: program.name.clone(),
            test: test.to_owned(),
        }));
    }
    Ok(names)
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// What cargo says of each thing that it built; other messages have none of this.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

fn programs(messages: &str) -> Result<Vec<TestProgram>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("understand cargo")?;
        let is_test = message.profile.is_some_and(|profile| profile.test);
        if message.reason == "compiler-artifact"
            && is_test
            && let (Some(target), Some(path)) = (message.target, message.executable)
        {
            programs.push(TestProgram {
                name: target.name,
                path,
            });
        }
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::{listed, programs};

    #[test]
    fn test_programs_are_told_from_the_programs_they_start() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"warden"},"profile":{"test":false},"executable":"/t/warden"}
{"reason":"compiler-artifact","target":{"name":"real_jail"},"profile":{"test":true},"executable":"/t/real_jail-1"}
{"reason":"compiler-artifact","target":{"name":"nix"},"profile":{"test":false},"executable":null}
{"reason":"build-script-executed","package_id":"x"}
{"reason":"build-finished","success":true}
"#;
        let found = programs(messages).expect("cargo's words");
        let found: Vec<_> = found
            .iter()
            .map(|program| (program.name.as_str(), program.path.to_str()))
            .collect();
        assert_eq!(found, [("real_jail", Some("/t/real_jail-1"))]);
    }

    #[test]
    fn a_list_of_tests_is_read_without_the_benches() {
        let text = "ends::a: test\nb: benchmark\nc: test\n";
        assert_eq!(listed(text).collect::<Vec<_>>(), ["ends::a", "c"]);
    }
}
