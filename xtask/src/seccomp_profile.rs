//! `cargo xtask seccomp-profile`: the system calls of a whole container, put together from the policies
//! of those who live in it.

use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where the profile lies, below the repository.
const PLACE: &str = "deploy/seccomp-worker.json";
/// What a call gets that nobody needs, as on a kernel that does not have it.
const ENOSYS: u32 = 38;

/// Calls of other architectures, such as those of 32-bit programs, end the process, as they do in jails.
/// A runtime that does not know `defaultErrnoRet` still answers ENOSYS to calls that are newer than all of
/// these, but only for architectures that are named.
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"];

/// A policy of those who live in the container; what it denies it denies by a filter of its own.
#[derive(Debug, Deserialize)]
struct Policy {
    allow: Vec<Group>,
    #[serde(default)]
    only: Vec<Only>,
}

/// Calls that pass, for one reason.
#[derive(Debug, Deserialize)]
struct Group {
    reason: String,
    calls: Vec<String>,
}

/// Calls that pass with some values only.
#[derive(Debug, Deserialize)]
struct Only {
    reason: String,
    calls: Vec<String>,
    argument: u8,
    one_of: Vec<u32>,
}

/// Writes the profile.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let file = workspace.root().join(PLACE);
    let text = profile(&policies()?)?;
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// Programs, worker, and then what warden and inits need beyond them.
fn policies() -> Result<Vec<Policy>> {
    let texts = [
        include_str!("../../config/seccomp/jail.toml"),
        include_str!("../../config/seccomp/worker.toml"),
        include_str!("../../config/seccomp/container.toml"),
    ];
    let read = texts.map(|text| toml::from_str(text).context("read a system call policy"));
    read.into_iter().collect()
}

/// The profile's text. A call stands in the first group that names it, or with its values alone.
fn profile(policies: &[Policy]) -> Result<String> {
    let only: Vec<&Only> = policies.iter().flat_map(|policy| &policy.only).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut entries = Vec::new();
    for only in &only {
        for call in &only.calls {
            ensure!(seen.insert(call), "give {call} one list of values");
        }
    }
    for group in policies.iter().flat_map(|policy| &policy.allow) {
        let fresh = group.calls.iter().filter(|call| seen.insert(call));
        let names: Vec<&String> = fresh.collect();
        if !names.is_empty() {
            entries.push(entry(&group.reason, &json!(names), &json!([])));
        }
    }
    // Entries with the same call are alternatives, so that each value gets one.
    for only in only {
        for value in &only.one_of {
            let condition = json!([{
                "index": only.argument,
                "value": value,
                "op": "SCMP_CMP_EQ",
            }]);
            entries.push(entry(&only.reason, &json!(only.calls), &condition));
        }
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": ARCHITECTURES,
        "syscalls": entries,
    });
    let text = serde_json::to_string_pretty(&profile).context("write the profile as JSON")?;
    Ok(text + "\n")
}

fn entry(reason: &str, names: &Value, conditions: &Value) -> Value {
    json!({
        "comment": reason,
        "names": names,
        "action": "SCMP_ACT_ALLOW",
        "args": conditions,
    })
}

#[cfg(test)]
mod tests {
    use super::{PLACE, Policy, policies, profile};
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn written() -> Value {
        let text = profile(&policies().expect("the policies are read")).expect("a profile");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// The calls that pass, with or without conditions.
    fn allowed() -> BTreeSet<String> {
        let profile = written();
        let entries = profile["syscalls"].as_array().expect("entries").clone();
        let names = entries
            .iter()
            .flat_map(|entry| entry["names"].as_array().expect("names").clone());
        names
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    }

    #[test]
    fn the_containers_profile_is_what_the_policies_make() {
        let text = profile(&policies().expect("the policies are read")).expect("a profile");
        let there = std::fs::read_to_string(root().join(PLACE)).unwrap_or_default();
        assert!(
            there == text,
            "{PLACE} is not up to date: cargo xtask seccomp-profile"
        );
    }

    #[test]
    fn every_call_that_the_sandbox_makes_by_number_passes_the_containers_profile() {
        let allowed = allowed();
        let folder = root().join("sandbox/src/sys");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            for rest in text.split("libc::SYS_").skip(1) {
                let end =
                    rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let call = rest.get(..end.unwrap_or(rest.len())).expect("within it");
                assert!(allowed.contains(call), "{} calls {call}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 10, "only {seen} calls were found");
    }

    #[test]
    fn what_most_escapes_were_made_of_is_in_no_containers_profile() {
        let allowed = allowed();
        for call in [
            "ptrace",
            "process_vm_writev",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "keyctl",
            "io_uring_setup",
            "open_by_handle_at",
            "setns",
            "chroot",
            "init_module",
            "kexec_load",
            "fsopen",
            "move_mount",
            "reboot",
            "swapon",
        ] {
            assert!(!allowed.contains(call), "{call} passes");
        }
    }

    #[test]
    fn a_call_with_values_passes_with_each_of_them_and_not_without() {
        let policy = |text: &str| toml::from_str::<Policy>(text).expect("a policy");
        let policies = [
            policy("allow = [{ reason = \"A.\", calls = [\"socket\", \"read\"] }]"),
            policy(
                "allow = []\n\
                 only = [{ reason = \"B.\", calls = [\"socket\"], argument = 0, one_of = [1, 2] }]",
            ),
        ];
        let text = profile(&policies).expect("a profile");
        let made: Value = serde_json::from_str(&text).expect("it is JSON");
        let entries = made["syscalls"].as_array().expect("entries");
        let of_sockets: Vec<_> = entries
            .iter()
            .filter(|entry| {
                entry["names"]
                    .as_array()
                    .expect("names")
                    .contains(&"socket".into())
            })
            .map(|entry| entry["args"][0]["value"].as_u64())
            .collect();
        assert_eq!(of_sockets, [Some(1), Some(2)]);
    }
}
