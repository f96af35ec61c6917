//! What these tests wait for, besides the ends of runs.

use crate::fleet::{Fleet, Going, wait};
use nix::poll::{PollFd, PollFlags};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

impl Going {
    /// The same run, whose artifacts nobody will read.
    pub(crate) fn without_reader(mut self) -> Self {
        self.artifacts = None;
        self
    }
}

impl Fleet {
    /// Waits for the end of a run, and keeps what was observed for whoever finishes it.
    pub(crate) fn wait_for_end_of(&mut self, going: &Going) {
        while !self.ended.contains_key(&going.run) {
            wait(&[PollFd::new(self.warden().socket(), PollFlags::POLLIN)]);
            if let Some(evidence) = self.take_report(going.run) {
                self.ended.insert(going.run, evidence);
            }
        }
    }

    /// Waits until the slot takes the next run.
    pub(crate) fn wait_idle(&mut self, slot: usize) {
        while !self.idle[slot] {
            wait(&[PollFd::new(self.warden().socket(), PollFlags::POLLIN)]);
            self.take_report(u64::MAX);
        }
    }

    /// Waits until something of a run's artifacts has come, without taking it.
    pub(crate) fn wait_for_artifacts(&self, going: &Going) {
        let artifacts = going.artifacts.as_ref().expect("it wants some");
        wait(&[PollFd::new(artifacts.as_fd(), PollFlags::POLLIN)]);
    }

    /// A process of one of the uids that its slots may have, by its folder in `/proc`.
    pub(crate) fn process_of_a_slot(&self) -> Option<PathBuf> {
        let section = &self.settings.warden;
        let uids = section.uid_base..section.uid_base + section.uid_count;
        let is_of_a_slot = |path: &Path| {
            let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let uid = uid.and_then(|uids| uids.split_whitespace().next()?.parse::<u32>().ok());
            uid.is_some_and(|uid| uids.contains(&uid))
        };
        let entries = std::fs::read_dir("/proc").expect("there is a /proc");
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| is_of_a_slot(path))
    }
}
