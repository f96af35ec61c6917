//! What runs leave on the machine: compared before and after, it must be nothing.

use crate::table::Table;
use anyhow::{Context, Result, bail};
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

/// The uids that slots lease, from the embedded configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotUids {
    /// The first.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
}

impl Traces {
    /// Looks at processes, mounts, cgroups and scratch folders.
    pub(crate) fn now(uids: SlotUids) -> Result<Self> {
        let mut traces = Self::default();
        traces.processes(uids)?;
        traces.mounts()?;
        traces.folders("cgroup", Path::new("/sys/fs/cgroup"), 4)?;
        for place in ["/tmp", "/run", "/dev/shm"] {
            traces.folders("folder", Path::new(place), 1)?;
        }
        Ok(traces)
    }

    /// An error that lists what is there now and was not there `before`.
    pub(crate) fn nothing_since(&self, before: &Self) -> Result<()> {
        let new: Vec<_> = self.found.difference(&before.found).collect();
        if new.is_empty() {
            println!("Nothing was left: no process, mount, cgroup or folder of a slot");
            return Ok(());
        }
        let mut table = Table::new(&["kind", "left over"]);
        for (kind, what) in &new {
            table.row([(*kind).to_owned(), what.clone()]);
        }
        print!("{}", table.render());
        bail!("leave nothing behind: {} things are left", new.len());
    }

    fn processes(&mut self, uids: SlotUids) -> Result<()> {
        let leased = uids.first..uids.first.saturating_add(uids.count);
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
            let ours = ["jailfleet-worker", "jailfleet-warden", "jailfleet-producer"];
            let program = words.split(' ').next().unwrap_or_default();
            if leased.contains(&meta.uid()) || ours.iter().any(|ours| program.ends_with(ours)) {
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
