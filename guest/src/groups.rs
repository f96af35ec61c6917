//! A control group for each errand, delegated as a service manager delegates one to a unit.

use anyhow::{Context, Result};
use jailfleet_guest::{PLAIN_ID, User};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";

/// Makes every controller usable in the groups of errands.
pub(crate) fn prepare() -> Result<()> {
    let top = Path::new(TOP);
    let there = std::fs::read_to_string(top.join("cgroup.controllers"))
        .context("read the kernel's controllers")?;
    let words: Vec<String> = there
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    write(&top.join("cgroup.subtree_control"), &words.join(" "))
}

/// The group of one errand.
#[derive(Debug)]
pub(crate) struct ErrandGroup(PathBuf);

impl ErrandGroup {
    /// Makes it, and makes it the user's.
    pub(crate) fn make(errand: usize, user: User) -> Result<Self> {
        let folder = Path::new(TOP).join(format!("errand-{errand}"));
        std::fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        if user == User::Plain {
            for name in [
                "",
                "cgroup.procs",
                "cgroup.subtree_control",
                "cgroup.threads",
            ] {
                let path = folder.join(name);
                chown(&path, Some(PLAIN_ID), Some(PLAIN_ID))
                    .with_context(|| format!("delegate {}", path.display()))?;
            }
        }
        Ok(Self(folder))
    }

    /// Runs `start` inside: its children are born there. We ourselves come out again.
    pub(crate) fn inside<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        write(&self.0.join("cgroup.procs"), "0")?;
        let started = start();
        write(&Path::new(TOP).join("cgroup.procs"), "0")?;
        Ok(started)
    }

    /// Removes it with everything below; nobody is in it any more.
    pub(crate) fn remove(self) -> Result<()> {
        remove_below(&self.0)
    }
}

fn remove_below(folder: &Path) -> Result<()> {
    let words = || format!("remove {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(words)? {
        let entry = entry.with_context(words)?;
        if entry.file_type().with_context(words)?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder).with_context(words)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {text} to {}", path.display()))
}
