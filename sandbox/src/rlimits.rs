//! Every resource limit of a program, set before it becomes the program.

use crate::init::PidsLimit;
use jailfleet::limits::Limits;
use jailfleet::units::ByteCount;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::io;

/// One limit: what the kernel acts on first, and what the program cannot raise it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// The soft limit.
    pub soft: rlim_t,
    /// The hard limit.
    pub hard: rlim_t,
}

/// The limits of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimits {
    limits: Vec<Rlimit>,
}

impl Rlimits {
    /// What these limits mean to the kernel. Pure.
    #[must_use]
    pub fn of(limits: &Limits, pids_limit: PidsLimit) -> Self {
        let both = |resource, value| Rlimit { resource, soft: value, hard: value };
        // Seconds are all that the kernel counts here. The second one in the hard limit lets
        // SIGXCPU come first, as it does outside.
        let cpu_seconds = limits.cpu_ms.get().div_ceil(1000);
        let mut list = vec![
            Rlimit {
                resource: Resource::RLIMIT_CPU,
                soft: cpu_seconds,
                hard: cpu_seconds.saturating_add(1),
            },
            both(Resource::RLIMIT_FSIZE, limits.file_bytes.get()),
            both(Resource::RLIMIT_NOFILE, limits.open_files.get()),
            both(Resource::RLIMIT_STACK, limits.stack_bytes.get()),
            both(Resource::RLIMIT_CORE, 0),
            both(Resource::RLIMIT_MEMLOCK, 0),
            both(Resource::RLIMIT_MSGQUEUE, 0),
            both(Resource::RLIMIT_RTPRIO, 0),
            both(Resource::RLIMIT_NICE, 0),
            both(Resource::RLIMIT_RTTIME, 0),
            both(Resource::RLIMIT_LOCKS, limits.open_files.get()),
            both(Resource::RLIMIT_SIGPENDING, 1024),
            both(Resource::RLIMIT_DATA, limits.memory_bytes.get()),
        ];
        list.pop();
        if let Some(space) = limits.address_space_bytes {
            list.push(both(Resource::RLIMIT_AS, ByteCount::get(space)));
        }
        match pids_limit {
            PidsLimit::Cgroup => {}
            PidsLimit::Rlimit => {
                list.push(both(Resource::RLIMIT_NPROC, limits.processes.get()));
            }
        }
        Self { limits: list }
    }

    /// Sets them all. A hard limit is never raised: what the host gave us less of stays less.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn apply(&self) -> io::Result<()> {
        for limit in &self.limits {
            let (_, host_hard) = getrlimit(limit.resource)?;
            let hard = limit.hard.min(host_hard);
            setrlimit(limit.resource, limit.soft.min(hard), hard)?;
        }
        Ok(())
    }
}
