//! What these tests do to a fleet besides running jobs in it, and how they look for what it left.

use crate::fleet::{Fleet, Going};
use jailfleet_sandbox::protocol::Report;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::time::Duration;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Fleet {
    /// Closes the socket and waits until the warden has ended.
    pub(crate) fn wait_for_end(&mut self) {
        if let Some(warden) = self.warden.take() {
            let status = warden.wait().expect("the warden is our child");
            assert!(status.success(), "{status}");
        }
    }

    pub(crate) fn kill_warden(&mut self) {
        let warden = self.warden.take().expect("it was not stopped");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(warden.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is our child");
        warden.wait().expect("the warden is our child");
    }

    /// The inits are the warden's children.
    pub(crate) fn kill_inits(&self) {
        let path = format!("/proc/{0}/task/{0}/children", self.warden().pid());
        for pid in std::fs::read_to_string(path)
            .expect("a list")
            .split_whitespace()
        {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
        }
    }

    pub(crate) fn start_again(self) -> Self {
        Self::start_in(self.state, self.idle.len(), "")
    }

    /// Processes whose uid is one of those that this fleet may lease. A plain user's slots run under its
    /// own uid: there it is those of its processes that live in a pid namespace of their own. In
    /// neither case are the inits counted.
    pub(crate) fn processes_of_slots(&self) -> Vec<String> {
        use std::os::unix::fs::MetadataExt;
        let base = self.settings.warden.uid_base;
        let leased = base..base + self.settings.warden.uid_count;
        let own = nix::unistd::geteuid();
        let is_of_a_slot = |process: &std::path::Path, uid: u32| {
            if own.is_root() {
                return leased.contains(&uid);
            }
            let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let inner = pids.and_then(|pids| pids.split_whitespace().nth(1));
            uid == own.as_raw() && inner.is_some_and(|pid| pid != "1")
        };
        let proc = std::fs::read_dir("/proc").expect("there is a /proc");
        proc.flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter(|entry| {
                let seen = entry.metadata();
                seen.is_ok_and(|seen| is_of_a_slot(&entry.path(), seen.uid()))
            })
            .map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
            .collect()
    }

    /// What a run that goes on has written first.
    pub(crate) fn first_line(&self, going: &Going) -> String {
        self.wait_for_output(going);
        let [stdout, _] = &going.outputs;
        let mut bytes = [0; 256];
        let length = nix::unistd::read(stdout, &mut bytes).expect("it can be read");
        let text = String::from_utf8_lossy(bytes.get(..length).expect("so much was read"));
        text.lines().next().expect("a line").to_owned()
    }

    /// The warden has nothing to report for as long as this.
    pub(crate) fn says_nothing_for(&self, patience: Duration) {
        let mut waits = [PollFd::new(self.warden().socket(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).expect("it fits");
        assert_eq!(poll(&mut waits, timeout), Ok(0), "it reports something");
    }

    /// Folders of this fleet's cgroups.
    pub(crate) fn cgroups(&self) -> Vec<std::path::PathBuf> {
        let name = self.settings.warden.cgroup_name.as_str();
        let mut found = Vec::new();
        let mut open = vec![(std::path::PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((folder, depth)) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry.file_name().to_string_lossy() == name {
                        found.push(entry.path());
                    } else if depth < 4 {
                        open.push((entry.path(), depth + 1));
                    }
                }
            }
        }
        found
    }

    pub(crate) fn wait_until_no_process_is_left(&self) {
        let deadline = jailfleet_sandbox::clock::now() + PATIENCE;
        while !self.processes_of_slots().is_empty() {
            assert!(
                jailfleet_sandbox::clock::now() < deadline,
                "{:?}",
                self.processes_of_slots()
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.processes_of_slots(), Vec::<String>::new());
        assert_eq!(self.cgroups(), Vec::<std::path::PathBuf>::new());
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a list");
        assert!(
            !mounts.contains("codejail") && !mounts.contains("scratch"),
            "{mounts}"
        );
    }

    pub(crate) fn wait_started(&mut self, run: u64) {
        loop {
            match self.report() {
                Some(Report::Started { run: started, .. }) if started == run => return,
                Some(Report::Idle { .. }) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}
