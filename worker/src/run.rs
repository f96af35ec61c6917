//! One run in one slot: descriptors out, evidence and output back.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use jailfleet::evidence::{Acted, Evidence};
use jailfleet::limits::Limits;
use jailfleet_program::Moment;
use jailfleet_sandbox::artifacts::Gathered;
use jailfleet_sandbox::client;
use jailfleet_sandbox::protocol::{ARTIFACT_DESCRIPTORS, RunDescriptors, SIDE_DESCRIPTORS};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactsOrder, Coming};
use crate::globals::GlobalsOrder;
use crate::readers::{Captured, OutputBudget, capture, capture_at_most};
use crate::slots::{Ended, Lease, Running, SlotError, Start};

/// How long the warden may take beyond a run's wall limit, its stages and its kill included. Past
/// that it is stuck, and nothing that it says can be relied on.
const OVERDUE: Duration = Duration::from_secs(30);
/// How long the output may still flow after the run's end. Its sweep has killed every writer.
const READ_GRACE: Duration = Duration::from_secs(2);

/// Everything that a run needs, made before a slot is taken.
#[derive(Debug)]
pub(crate) struct RunOrder {
    /// Index of the runtime in the settings.
    pub(crate) runtime: u16,
    /// The limits in force.
    pub(crate) limits: Limits,
    /// What a stranger sent, sealed.
    pub(crate) payload: OwnedFd,
    /// The program's input, sealed.
    pub(crate) stdin: OwnedFd,
    /// What a harness is given, where the job has globals.
    pub(crate) globals: Option<GlobalsOrder>,
    /// What is wanted of what it leaves, where anything is.
    pub(crate) artifacts: Option<ArtifactsOrder>,
}

/// What may end a run from outside, before its program or a limit does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stops<'a> {
    drain: &'a CancellationToken,
    cancel: Option<&'a CancellationToken>,
}

impl<'a> Stops<'a> {
    /// The worker's own stop ([`Acted::Drain`]).
    pub(crate) const fn by(drain: &'a CancellationToken) -> Self {
        Self {
            drain,
            cancel: None,
        }
    }

    /// And the end of anybody's wanting it ([`Acted::Cancel`]).
    pub(crate) const fn or_cancelled_by(self, cancel: &'a CancellationToken) -> Self {
        Self {
            cancel: Some(cancel),
            ..self
        }
    }

    /// Waits for a cancel; for ever where nobody can cancel it.
    async fn cancelled(&self) {
        match self.cancel {
            Some(cancel) => cancel.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// What a run brought.
#[derive(Debug)]
pub(crate) struct RunEnded {
    /// When its slot was leased.
    pub(crate) leased: Moment,
    /// The program's start, if it came to that.
    pub(crate) start: Option<Start>,
    /// When we heard of its end.
    pub(crate) ended: Moment,
    /// What was observed.
    pub(crate) evidence: Evidence,
    /// Its standard output.
    pub(crate) stdout: Captured,
    /// Its standard error.
    pub(crate) stderr: Captured,
    /// A harness's answer, where there was one to come, and the most that it might be.
    pub(crate) answer: Option<(Captured, usize)>,
    /// What came of the artifacts that were wanted, and what did not.
    pub(crate) gathered: Gathered,
}

/// Why a run could not be carried through. Never the program's doing.
#[derive(Debug, Error)]
pub(crate) enum RunFault {
    /// The warden could not be reached.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// No pipe for the output: out of descriptors, most likely.
    #[error("make the pipes for a run's output")]
    Pipe(#[source] io::Error),
    /// The output could not be read.
    #[error("read a run's output")]
    Read(#[source] io::Error),
    /// The warden did not report the run's end in time.
    #[error("hear the end of a run from the warden: it is overdue")]
    Overdue,
}

/// Runs `order` in the leased slot and waits for its end, which `stops` may bring about early.
///
/// # Errors
/// [`RunFault`]: trouble of ours.
pub(crate) async fn run(
    lease: &mut Lease,
    order: RunOrder,
    stops: Stops<'_>,
) -> Result<RunEnded, RunFault> {
    let (out, out_write) = client::output_pipe().map_err(RunFault::Pipe)?;
    let (err, err_write) = client::output_pipe().map_err(RunFault::Pipe)?;
    let RunOrder {
        runtime,
        limits,
        payload,
        stdin,
        globals,
        artifacts,
    } = order;
    let budget = OutputBudget::new(limits.output_bytes.get());
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let (answer, side) = side(globals)?.unzip();
    let (coming, wanted) = coming(artifacts)?.unzip();
    let descriptors = RunDescriptors {
        run: [payload, stdin, out_write, err_write],
        side,
        artifacts: wanted,
    };
    let running = lease.start(runtime, limits, descriptors).await?;
    let mut answered = answer
        .as_ref()
        .map(|(_, most)| (Captured::default(), *most));
    let mut ended = {
        let mut reading = pin!(async {
            let out = capture(out, &budget, &mut stdout);
            let err = capture(err, &budget, &mut stderr);
            let aside = take_answer(answer, &mut answered);
            tokio::try_join!(out, err, aside)
        });
        let mut ending = pin!(end(running, &budget, limits.wall_ms.duration(), stops));
        // Both streams usually close before the warden has swept and reported.
        tokio::select! {
            ended = &mut ending => {
                if let Ok(read) = timeout(READ_GRACE, &mut reading).await {
                    read.map_err(RunFault::Read)?;
                } else {
                    tracing::warn!("a run's output stayed open after its end; what came is kept");
                }
                ended?
            }
            read = &mut reading => {
                read.map_err(RunFault::Read)?;
                ending.await?
            }
        }
    };
    mark_output(&mut ended.evidence, stdout.truncated || stderr.truncated);
    let Ended {
        leased,
        start,
        at,
        evidence,
    } = ended;
    let gathered = gather(coming, start, &evidence, stops).await?;
    let start = start.map(|start| Start {
        at: begun(start.at, at, evidence.wall),
        ..start
    });
    Ok(RunEnded {
        leased,
        start,
        ended: at,
        evidence,
        stdout,
        stderr,
        answer: answered,
        gathered,
    })
}

/// When the program began, as near as we can tell. We hear of it late, and of its end too; how long it
/// ran was measured beside it, by the same kernel clock. The start is no later than the word of it, and no
/// later than the word of the end less the run: so set-up and run together never exceed the whole.
fn begun(heard: Moment, ended: Moment, ran: Duration) -> Moment {
    heard.min(ended.saturating_sub(ran))
}

/// The end of a harness's answer to read and the most that may come, and the descriptors of its side.
type Side = ((OwnedFd, usize), [OwnedFd; SIDE_DESCRIPTORS]);

fn side(globals: Option<GlobalsOrder>) -> Result<Option<Side>, RunFault> {
    let Some(GlobalsOrder {
        given,
        answer_bytes,
    }) = globals
    else {
        return Ok(None);
    };
    let (read, write) = client::output_pipe().map_err(RunFault::Pipe)?;
    Ok(Some(((read, answer_bytes), [given, write])))
}

/// The artifacts to come and the descriptors that bring them about.
type Bringing = (Coming, [OwnedFd; ARTIFACT_DESCRIPTORS]);

fn coming(artifacts: Option<ArtifactsOrder>) -> Result<Option<Bringing>, RunFault> {
    let Some(order) = artifacts else {
        return Ok(None);
    };
    let (read, write) = client::output_pipe().map_err(RunFault::Pipe)?;
    let (coming, wanted) = order.through(read);
    Ok(Some((coming, [wanted, write])))
}

/// What a run that is over left. One that is going to be handed back is not asked.
async fn gather(
    coming: Option<Coming>,
    start: Option<Start>,
    evidence: &Evidence,
    stops: Stops<'_>,
) -> Result<Gathered, RunFault> {
    match (coming, start) {
        (None, _) => Ok(Gathered::default()),
        (Some(_), Some(_)) if evidence.acted == Some(Acted::Drain) => Ok(Gathered::default()),
        (Some(coming), None) => Ok(coming.without_a_run()),
        (Some(coming), Some(_)) => coming.take(stops.drain).await.map_err(RunFault::Read),
    }
}

async fn take_answer(
    answer: Option<(OwnedFd, usize)>,
    answered: &mut Option<(Captured, usize)>,
) -> io::Result<()> {
    match (answer, answered) {
        (Some((pipe, most)), Some((captured, _))) => capture_at_most(pipe, most, captured).await,
        (None | Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

/// The program may end by itself between the byte too many and our kill. It passed the limit all
/// the same, and its output is cut: the outcome must not depend on who was faster.
fn mark_output(evidence: &mut Evidence, cut: bool) {
    if cut && evidence.acted.is_none() {
        evidence.acted = Some(Acted::Output);
    }
}

/// Waits for the end, and brings it about where the output, a cancel or the worker's own stop asks
/// for it. The warden keeps the first reason that it acts on.
async fn end(
    mut running: Running<'_>,
    budget: &OutputBudget,
    wall: Duration,
    stops: Stops<'_>,
) -> Result<Ended, RunFault> {
    let mut overdue = pin!(sleep(wall + OVERDUE));
    let (mut output_told, mut cancel_told, mut drain_told) = (false, false, false);
    loop {
        tokio::select! {
            biased;
            ended = running.ended() => return Ok(ended?),
            () = budget.passed(), if !output_told => {
                output_told = true;
                running.kill(Acted::Output).await?;
            }
            () = stops.cancelled(), if !cancel_told => {
                cancel_told = true;
                running.kill(Acted::Cancel).await?;
            }
            () = stops.drain.cancelled(), if !drain_told => {
                drain_told = true;
                running.kill(Acted::Drain).await?;
            }
            () = &mut overdue => {
                running.warden_is_stuck();
                return Err(RunFault::Overdue);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setup_and_run_never_exceed_what_the_attempt_took() {
        let ms = Duration::from_millis;
        // Heard of at once: the word of the start is right.
        assert_eq!(begun(ms(10), ms(21), ms(10)), ms(10));
        // Heard of 3 ms late, and of the end at once: the run tells when it must have begun.
        assert_eq!(begun(ms(13), ms(20), ms(10)), ms(10));
        for heard in 0..40 {
            for ended in heard..40 {
                let (heard, ended) = (ms(heard), ms(ended));
                for ran in 0..=40 {
                    let ran = ms(ran).min(ended);
                    let at = begun(heard, ended, ran);
                    assert!(at <= heard && at + ran <= ended);
                }
            }
        }
    }

    #[test]
    fn cut_output_is_the_output_limit_unless_another_limit_came_first() {
        let after = |acted, cut| {
            let mut evidence = Evidence {
                acted,
                ..Evidence::LOST
            };
            mark_output(&mut evidence, cut);
            evidence.acted
        };
        assert_eq!(after(None, true), Some(Acted::Output));
        assert_eq!(after(None, false), None);
        assert_eq!(after(Some(Acted::Wall), true), Some(Acted::Wall));
    }
}
