//! What runs leave on the machine: compared before and after, it must be nothing.

mod owners;

pub(crate) use owners::Owners;

use crate::table::Table;
use anyhow::{Context, Result, bail};
use owners::ipc_objects;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everything on this machine that bears our marks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    found: BTreeSet<(&'static str, String)>,
}

/// The warden's `state_dir` as the embedded configuration has it.
const STATE: &str = "/run/jailfleet";
/// Where a host shows its POSIX message queues, if it does.
const QUEUES: &str = "/dev/mqueue";

impl Traces {
    /// Looks at processes, mounts, cgroups, IPC objects, folders and files.
    pub(crate) fn now(owners: &Owners) -> Result<Self> {
        let mut traces = Self::default();
        traces.processes(owners)?;
        traces.mounts()?;
        traces.ipc(owners)?;
        traces.folders("cgroup", Path::new("/sys/fs/cgroup"), 4)?;
        for place in ["/tmp", "/run", "/dev/shm"] {
            traces.folders("folder", Path::new(place), 1)?;
        }
        for place in ["/dev/shm", "/tmp", "/var/tmp", "/run/lock"] {
            traces.owned("file", Path::new(place), owners)?;
        }
        if Path::new(QUEUES).is_dir() {
            traces.owned("message queue", Path::new(QUEUES), owners)?;
        } else {
            println!("NOT LOOKED AT: POSIX message queues, which nothing shows at {QUEUES}");
        }
        Ok(traces)
    }

    /// An error that lists what is there now and was not there `before`.
    pub(crate) fn nothing_since(&self, before: &Self) -> Result<()> {
        let new: Vec<_> = self.found.difference(&before.found).collect();
        if new.is_empty() {
            println!(
                "Nothing was left: no process, mount, cgroup, IPC object, file or folder of a slot"
            );
            return Ok(());
        }
        let mut table = Table::new(&["kind", "left over"]);
        for (kind, what) in &new {
            table.row([(*kind).to_owned(), what.clone()]);
        }
        print!("{}", table.render());
        bail!("leave nothing behind: {} things are left", new.len());
    }

    fn processes(&mut self, owners: &Owners) -> Result<()> {
        for entry in std::fs::read_dir("/proc").context("read /proc")? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|letter| letter.is_ascii_digit()) {
                continue;
            }
            // Any of these may fail when the process ends meanwhile: then it is no leftover.
            let Ok(meta) = entry.metadata() else { continue };
            let Ok(words) = std::fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            let ours = [
                "jailfleet-worker",
                "jailfleet-worker-halting",
                "jailfleet-warden",
                "jailfleet-producer",
            ];
            let program = words.split(' ').next().unwrap_or_default();
            if owners.include(meta.uid()) || ours.iter().any(|ours| program.ends_with(ours)) {
                self.found
                    .insert(("process", format!("{name} uid {} {words}", meta.uid())));
            }
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<()> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        for line in mounts.lines().filter(|line| is_ours(line)) {
            self.found.insert(("mount", line.to_owned()));
        }
        Ok(())
    }

    /// System V objects outlive whoever made them. Those of a slot die with its namespace: what this
    /// finds was made outside of one.
    fn ipc(&mut self, owners: &Owners) -> Result<()> {
        for (kind, table) in [
            ("shared memory", "/proc/sysvipc/shm"),
            ("semaphores", "/proc/sysvipc/sem"),
            ("message queue", "/proc/sysvipc/msg"),
        ] {
            let text = std::fs::read_to_string(table).with_context(|| format!("read {table}"))?;
            let objects = ipc_objects(&text).with_context(|| format!("understand {table}"))?;
            for object in objects {
                let [owner, maker] = object.uids;
                if owners.include(owner) || owners.include(maker) {
                    let what = format!("{} of uid {owner}, made by {maker}", object.id);
                    self.found.insert((kind, what));
                }
            }
        }
        Ok(())
    }

    /// What lies in `place` itself and belongs to a slot.
    fn owned(&mut self, kind: &'static str, place: &Path, owners: &Owners) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(place) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry.context("read a folder's entry")?;
            // Gone since the folder was read: no leftover.
            let Ok(meta) = entry.metadata() else { continue };
            if owners.include(meta.uid()) {
                let what = format!("{} of uid {}", entry.path().display(), meta.uid());
                self.found.insert((kind, what));
            }
        }
        Ok(())
    }

    fn state(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).context("read the warden's folder")? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("uid-") {
                self.found
                    .insert(("state", entry.path().display().to_string()));
            }
        }
        Ok(())
    }

    fn folders(&mut self, kind: &'static str, place: &Path, depth: usize) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(place) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry.context("read a folder's entry")?;
            // A link would lead round and round.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if path == Path::new(STATE) {
                // The locks of uids stay until the next boot; anything else in there must not.
                self.state(&path)?;
            } else if is_ours(&entry.file_name().to_string_lossy()) {
                self.found.insert((kind, path.display().to_string()));
            } else if depth > 1 {
                self.folders(kind, &path, depth - 1)?;
            }
        }
        Ok(())
    }
}

fn is_ours(text: &str) -> bool {
    text.contains("jailfleet") || text.contains("codejail-")
}

#[cfg(test)]
mod tests {
    use super::{Owners, Traces};
    use crate::programs::{capture, command};
    use jailfleet_harness::{TestUids, require};
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;

    fn seen(kind: &str, part: &str) -> bool {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let owners = Owners::find(&root).expect("the embedded configuration");
        let traces = Traces::now(&owners).expect("a look");
        let mut found = traces.found.iter();
        found.any(|(seen, what)| *seen == kind && what.contains(part))
    }

    #[test]
    fn a_file_of_a_uid_that_only_tests_lease_is_a_leftover() {
        require!(Root);
        let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
        let path = file.path().display().to_string();
        assert!(!seen("file", &path));
        chown(file.path(), Some(TestUids::Jails.base()), None).expect("root may");
        assert!(seen("file", &path));
    }

    #[test]
    fn a_shared_memory_segment_that_outlived_its_maker_is_a_leftover() {
        require!(Root);
        let uid = TestUids::Jails.base();
        let mut make = command("ipcmk");
        let said = capture("ipcmk", make.args(["--shmem", "1"]).uid(uid)).expect("a segment");
        let id = said.rsplit(' ').next().expect("its number").trim();
        let left = seen("shared memory", &format!("{id} of uid {uid}"));
        capture("ipcrm", command("ipcrm").args(["--shmem-id", id])).expect("it is removed");
        assert!(left, "segment {id} of uid {uid} was not seen");
    }

    #[test]
    fn a_process_of_a_uid_that_only_tests_lease_is_a_leftover() {
        require!(Root);
        let uid = TestUids::Parts.base();
        let mut sleep = command("sleep");
        let process = crate::programs::Owned::start("sleep", sleep.arg("600").uid(uid));
        let process = process.expect("a process");
        assert!(seen("process", &format!("{} uid {uid}", process.pid())));
    }
}
