//! Artifacts: how they are ordered with a run, and how they are read once it is over.
//!
//! What comes was written in the jail: it is read up to a bound and within a deadline, and what of it
//! makes no sense is left out. Nothing of it is evidence.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use jailfleet::artifact::{ArtifactCaps, ArtifactPath, LeftOutReason};
use jailfleet::job::Job;
use jailfleet_sandbox::artifacts::{self, Gathered};
use jailfleet_sandbox::client::sealed_memfd;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::readers::{Captured, capture_at_most};

/// How long they may come after the run's end: a little longer than the jail gives its collector.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long they may come after the worker was told to end.
const AFTER_A_STOP: Duration = Duration::from_secs(2);

/// What a run whose artifacts are wanted needs beside the rest of its order.
#[derive(Debug)]
pub(crate) struct ArtifactsOrder {
    /// The paths and the bounds, sealed.
    pub(crate) wanted: OwnedFd,
    paths: Vec<ArtifactPath>,
    caps: ArtifactCaps,
}

/// The order for a job that wants artifacts, `None` for any other.
pub(crate) fn order(job: &Job, caps: ArtifactCaps) -> io::Result<Option<ArtifactsOrder>> {
    if job.artifacts.is_empty() {
        return Ok(None);
    }
    let wanted = artifacts::wanted(&job.artifacts, &caps);
    Ok(Some(ArtifactsOrder {
        wanted: sealed_memfd("jailfleet-artifacts", &wanted)?,
        paths: job.artifacts.clone(),
        caps,
    }))
}

/// Artifacts on their way.
#[derive(Debug)]
pub(crate) struct Coming {
    pipe: OwnedFd,
    paths: Vec<ArtifactPath>,
    caps: ArtifactCaps,
}

impl ArtifactsOrder {
    /// What will be read from `pipe`, and the sealed memfd that goes to the jail.
    pub(crate) fn through(self, pipe: OwnedFd) -> (Coming, OwnedFd) {
        let Self {
            wanted,
            paths,
            caps,
        } = self;
        (Coming { pipe, paths, caps }, wanted)
    }
}

impl Coming {
    /// Reads them to their end; where `stop` comes, for a moment more. The run is over, so that nobody but
    /// the jail's collector writes.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub(crate) async fn take(self, stop: &CancellationToken) -> io::Result<Gathered> {
        let Self { pipe, paths, caps } = self;
        let most = artifacts::most_stream_bytes(paths.len(), &caps);
        let mut captured = Captured::default();
        let late = async {
            let stopped = async {
                stop.cancelled().await;
                sleep(AFTER_A_STOP).await;
            };
            tokio::select! {
                () = sleep(DEADLINE) => {}
                () = stopped => {}
            }
        };
        tokio::select! {
            biased;
            read = capture_at_most(pipe, most, &mut captured) => read?,
            () = late => {
                tracing::warn!("artifacts did not come to their end in time; what came is kept");
            }
        }
        Ok(artifacts::read(&captured.bytes, &paths, &caps))
    }

    /// Says of all of them that no program ran that could have left them.
    pub(crate) fn without_a_run(self) -> Gathered {
        Gathered::nothing(&self.paths, LeftOutReason::NoRun)
    }
}
