//! Every resource limit of a run's processes: what each should be is computed ahead of the fork,
//! the child only applies it.

use crate::init::HeldBy;
use jailfleet::limits::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// One resource with the soft and the hard limit that a run gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// What the kernel enforces.
    pub soft: u64,
    /// How far the program may raise the soft one.
    pub hard: u64,
}

/// All resource limits of one run, never above what is in force here already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimits {
    all: Vec<Rlimit>,
}

/// Signals that may be queued for the slot's uid; timers take one each.
const PENDING_SIGNALS: u64 = 1024;

impl Rlimits {
    /// The resource limits for `limits`, under the hard limits of this process.
    #[must_use]
    pub fn of(limits: &Limits, tasks: HeldBy, memory: HeldBy) -> Self {
        let under_ours = |wanted: Rlimit| match getrlimit(wanted.resource) {
            Ok((_, ours)) => wanted.under(ours),
            // Nothing is known of ours; the stage fails aloud if this is above it.
            Err(_) => wanted,
        };
        Self {
            all: wanted(limits, tasks, memory)
                .into_iter()
                .map(under_ours)
                .collect(),
        }
    }

    /// Puts the limits in force for this process.
    ///
    /// # Async-signal-safety
    /// Safe between fork and exec: one system call a limit, no allocation.
    ///
    /// # Errors
    /// The first refusal.
    pub fn apply(&self) -> io::Result<()> {
        for limit in &self.all {
            setrlimit(limit.resource, limit.soft, limit.hard)?;
        }
        Ok(())
    }
}

impl Rlimit {
    const fn both(resource: Resource, value: u64) -> Self {
        Self {
            resource,
            soft: value,
            hard: value,
        }
    }

    /// The same, cut to the hard limit that is in force: raising it takes a capability that
    /// containers do not have, and never is ours to do.
    fn under(self, hard: u64) -> Self {
        Self {
            soft: self.soft.min(hard),
            hard: self.hard.min(hard),
            ..self
        }
    }
}

/// What a run's processes should have. The CPU limit counts for each process alone and stands behind
/// the clock of the whole run; its hard value lies a second above, so that SIGXCPU comes first.
fn wanted(limits: &Limits, tasks: HeldBy, memory: HeldBy) -> Vec<Rlimit> {
    let cpu_s = limits.cpu_ms.get().div_ceil(1000);
    let mut all = vec![
        Rlimit {
            resource: Resource::RLIMIT_CPU,
            soft: cpu_s,
            hard: cpu_s.saturating_add(1),
        },
        Rlimit::both(Resource::RLIMIT_FSIZE, limits.file_bytes.get()),
        Rlimit::both(Resource::RLIMIT_NOFILE, limits.open_files.get()),
        Rlimit::both(Resource::RLIMIT_STACK, limits.stack_bytes.get()),
        Rlimit::both(Resource::RLIMIT_RSS, limits.memory_bytes.get()),
        Rlimit::both(Resource::RLIMIT_SIGPENDING, PENDING_SIGNALS),
        // No core is written below a page; and exactly 1 keeps a helper of the host's from running at
        // a crash, which 0 does not (core(5), "Piping core dumps to a program").
        Rlimit::both(Resource::RLIMIT_CORE, 1),
        // No locked memory, no message queues (so that none can outlive a run), no real
        // time, no better priority, no leases on files.
        Rlimit::both(Resource::RLIMIT_MEMLOCK, 0),
        Rlimit::both(Resource::RLIMIT_MSGQUEUE, 0),
        Rlimit::both(Resource::RLIMIT_RTPRIO, 0),
        Rlimit::both(Resource::RLIMIT_RTTIME, 0),
        Rlimit::both(Resource::RLIMIT_NICE, 0),
        Rlimit::both(Resource::RLIMIT_LOCKS, 0),
    ];
    let data = match (limits.address_space_bytes, memory) {
        (Some(bytes), HeldBy::Cgroup) => Some(bytes.get()),
        (Some(bytes), HeldBy::Rlimit) => Some(bytes.get().min(limits.memory_bytes.get())),
        (None, HeldBy::Rlimit) => Some(limits.memory_bytes.get()),
        (None, HeldBy::Cgroup) => None,
    };
    all.extend(data.map(|bytes| Rlimit::both(Resource::RLIMIT_DATA, bytes)));
    if let Some(bytes) = limits.address_space_bytes {
        all.push(Rlimit::both(Resource::RLIMIT_AS, bytes.get()));
    }
    match tasks {
        HeldBy::Cgroup => {}
        HeldBy::Rlimit => {
            all.push(Rlimit::both(Resource::RLIMIT_NPROC, limits.processes.get()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Rlimit, wanted};
    use crate::init::HeldBy;
    use jailfleet::limits::{Limits, LimitsRequest};
    use nix::sys::resource::Resource;

    fn limits() -> Limits {
        LimitsRequest {
            cpu_ms: Some(1500),
            wall_ms: Some(3000),
            memory_bytes: Some(1 << 28),
            address_space_bytes: None,
            file_bytes: Some(0),
            disk_bytes: Some(1 << 20),
            disk_files: Some(10),
            processes: Some(7),
            open_files: Some(32),
            output_bytes: Some(1 << 20),
            stack_bytes: Some(1 << 23),
        }
        .complete()
        .expect("all are named")
    }

    fn of(resource: Resource, held: HeldBy, limits: &Limits) -> Option<(u64, u64)> {
        let all = wanted(limits, held, held);
        all.iter()
            .find(|one| one.resource == resource)
            .map(|one| (one.soft, one.hard))
    }

    #[test]
    fn a_part_of_a_second_of_cpu_time_counts_as_a_whole_one_and_the_kill_comes_a_second_later() {
        assert_eq!(
            of(Resource::RLIMIT_CPU, HeldBy::Cgroup, &limits()),
            Some((2, 3))
        );
    }

    #[test]
    fn file_bytes_of_zero_means_that_no_file_may_grow() {
        assert_eq!(
            of(Resource::RLIMIT_FSIZE, HeldBy::Cgroup, &limits()),
            Some((0, 0))
        );
    }

    #[test]
    fn the_number_of_tasks_is_a_resource_limit_only_where_no_cgroup_counts_them() {
        assert_eq!(of(Resource::RLIMIT_NPROC, HeldBy::Cgroup, &limits()), None);
        assert_eq!(
            of(Resource::RLIMIT_NPROC, HeldBy::Rlimit, &limits()),
            Some((7, 7))
        );
    }

    #[test]
    fn the_address_space_is_limited_only_when_asked() {
        let mut limits = limits();
        assert_eq!(of(Resource::RLIMIT_AS, HeldBy::Cgroup, &limits), None);
        limits.address_space_bytes = Some(limits.memory_bytes);
        let asked = Some((1 << 28, 1 << 28));
        assert_eq!(of(Resource::RLIMIT_AS, HeldBy::Cgroup, &limits), asked);
    }

    #[test]
    fn without_a_memory_cgroup_each_process_is_limited() {
        assert_eq!(of(Resource::RLIMIT_DATA, HeldBy::Cgroup, &limits()), None);
        let each = Some((1 << 28, 1 << 28));
        assert_eq!(of(Resource::RLIMIT_DATA, HeldBy::Rlimit, &limits()), each);
    }

    #[test]
    fn a_limit_of_the_host_that_is_lower_wins() {
        let wanted = Rlimit::both(Resource::RLIMIT_NOFILE, 64);
        assert_eq!(wanted.under(10), Rlimit::both(Resource::RLIMIT_NOFILE, 10));
        assert_eq!(wanted.under(1000), wanted);
    }
}
