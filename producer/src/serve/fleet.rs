//! The gateway's side of the broker: jobs out, and each result to whoever waits for it.
//!
//! All requests share one reply queue and one pair of connections. A caller that goes away drops its
//! [`Fleet::run`], and with that its job: what nobody waits for is cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jailfleet::cancel::{Cancel, MOST_JOBS, Target};
use jailfleet::job::{Job, JobId};
use jailfleet::outcome::Outcome;
use jailfleet::result::JobResult;
use jailfleet::settings::AmqpSection;
use jailfleet_program::Clock;
use jailfleet_queue::OutboxError;
use jailfleet_queue::amqp::canceller;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::metrics::{Came, Dropped, Metrics, Place};
use crate::client::{Client, Content, Publisher, Unreadable};
use crate::correlation::CorrelationId;

/// Cancels that may wait to be sent: a thousand callers that go away at one time.
const CROWD: usize = 1024;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("get a result in time")]
    Deadline,
    #[error("hand the job to the broker in time")]
    Unsent,
    #[error("send the job")]
    Broker(#[from] OutboxError),
    #[error("read the result")]
    Unreadable,
}

/// Sends jobs and waits for their results.
#[derive(Debug)]
pub(super) struct Fleet {
    publisher: Publisher,
    waiting: Waiting,
    unwanted: mpsc::Sender<JobId>,
    metrics: Arc<Metrics>,
}

/// What a waiter is told: a result, or that there will be none.
type Answered = Result<Box<JobResult>, Lost>;

/// Who waits for which result.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<CorrelationId, Waiter>>>);

#[derive(Debug)]
struct Waiter {
    job: JobId,
    tell: oneshot::Sender<Answered>,
}

impl Fleet {
    /// A fleet behind that client, and the ends at which results and unwanted jobs are dealt with.
    pub(super) fn new(client: &Client, metrics: Arc<Metrics>) -> (Self, Waiting, Unwanted) {
        let (unwanted, jobs) = mpsc::channel(CROWD);
        let waiting = Waiting::default();
        let fleet = Self {
            publisher: client.publisher(),
            waiting: waiting.clone(),
            unwanted,
            metrics: Arc::clone(&metrics),
        };
        (fleet, waiting, Unwanted { jobs, metrics })
    }

    /// Runs a job somewhere in the fleet.
    ///
    /// # Errors
    /// When the broker does not take it, or no real result comes in time, or one that does not read.
    /// A word that a worker is lost is none: a better one may come.
    ///
    /// # Cancel safety
    /// A dropped call cancels its job, and so does one whose time is up.
    pub(super) async fn run(&self, job: &Job, within: Duration) -> Answered {
        let correlation = CorrelationId::random();
        let (mut wanted, told) = self.want(job, correlation);
        let mut late = Lost::Unsent;
        let asking = async {
            self.publisher.publish(job, correlation).await?;
            late = Lost::Deadline;
            // The other end lives as long as `wanted`.
            told.await.unwrap_or(Err(Lost::Deadline))
        };
        let answer = timeout(within, asking).await;
        let answer = answer.unwrap_or(Err(late));
        wanted.settled = match &answer {
            // The broker may have it, or get it later.
            Err(Lost::Deadline | Lost::Unsent) => false,
            // A job that the broker refused needs no cancel.
            Ok(_) | Err(Lost::Broker(_) | Lost::Unreadable) => true,
        };
        answer
    }

    fn want(
        &self,
        job: &Job,
        correlation: CorrelationId,
    ) -> (Wanted<'_>, oneshot::Receiver<Answered>) {
        let (tell, told) = oneshot::channel();
        let waiter = Waiter {
            job: job.id.clone(),
            tell,
        };
        self.waiting.all().insert(correlation, waiter);
        let wanted = Wanted {
            fleet: self,
            correlation,
            job: job.id.clone(),
            settled: false,
            _place: self.metrics.waiting().take(),
        };
        (wanted, told)
    }
}

/// Somebody waits for this job. Dropped before it is settled, it has the job cancelled.
#[derive(Debug)]
struct Wanted<'a> {
    fleet: &'a Fleet,
    correlation: CorrelationId,
    job: JobId,
    settled: bool,
    _place: Place,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.fleet.waiting.all().remove(&self.correlation);
        if !self.settled && self.fleet.unwanted.try_send(self.job.clone()).is_err() {
            self.fleet.metrics.dropped(Dropped::Crowded, 1);
        }
    }
}

impl Waiting {
    fn all(&self) -> MutexGuard<'_, HashMap<CorrelationId, Waiter>> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to whoever waits for it.
    fn hand(
        &self,
        correlation: Option<CorrelationId>,
        content: &Result<Content, Unreadable>,
    ) -> Came {
        let content = match content {
            Ok(content) => content,
            Err(unreadable) => {
                tracing::warn!(what = %unreadable.what, "a message that is no result");
                // No better one comes from the worker that sent it, and the secret says whose it is.
                if let Some(waiter) = correlation.and_then(|id| self.all().remove(&id))
                    && waiter.tell.send(Err(Lost::Unreadable)).is_err()
                {
                    tracing::debug!("nobody waits for it any longer");
                }
                return Came::Unreadable;
            }
        };
        let mut all = self.all();
        let waiter = correlation.and_then(|id| all.get(&id));
        let named = content.result.job_id.as_ref();
        // The secret says whose it is; a job's name that differs is a stranger's.
        if waiter.is_none_or(|waiter| named.is_some_and(|id| *id != waiter.job)) {
            return Came::Unawaited;
        }
        if content.result.outcome == Outcome::WorkerLost {
            return Came::Provisional;
        }
        let waiter = correlation.and_then(|id| all.remove(&id));
        let result = Box::new(content.result.clone());
        match waiter.map(|waiter| waiter.tell.send(Ok(result))) {
            Some(Ok(())) => Came::Awaited,
            Some(Err(_)) | None => Came::Unawaited,
        }
    }

    /// Hands out what comes until `stop`, or until the door is closed under our hands.
    pub(super) async fn serve(
        self,
        mut client: Client,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        loop {
            let arrival = tokio::select! {
                () = stop.cancelled() => break,
                arrival = client.next() => arrival,
            };
            let Some(arrival) = arrival else { break };
            metrics.result(self.hand(arrival.correlation, &arrival.content));
            if let Err(error) = arrival.take().await {
                tracing::debug!(%error, "a result comes again");
            }
        }
        client.close().await;
    }
}

/// The jobs that nobody waits for any longer.
#[derive(Debug)]
pub(super) struct Unwanted {
    jobs: mpsc::Receiver<JobId>,
    metrics: Arc<Metrics>,
}

impl Unwanted {
    /// Cancels them until `stop`, as many at a time as one cancel can name.
    pub(super) async fn serve(mut self, amqp: AmqpSection, clock: Clock, stop: CancellationToken) {
        let mut jobs = Vec::new();
        loop {
            jobs.clear();
            tokio::select! {
                biased;
                count = self.jobs.recv_many(&mut jobs, MOST_JOBS) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            let count = jobs.len();
            let cancel = Cancel {
                targets: jobs.drain(..).map(Target::Job).collect(),
                pool: None,
                sent: clock.epoch_ms(),
            };
            match canceller::send(&amqp, &[cancel]).await {
                Ok(()) => self.metrics.dropped(Dropped::Cancelled, count),
                Err(error) => {
                    tracing::warn!(%error, jobs = count, "jobs that nobody waits for run on");
                    self.metrics.dropped(Dropped::Failed, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn waiter(waiting: &Waiting) -> (CorrelationId, oneshot::Receiver<Answered>) {
        let (tell, told) = oneshot::channel();
        let job = JobId::parse("a").expect("an id");
        let correlation = CorrelationId::random();
        waiting.all().insert(correlation, Waiter { job, tell });
        (correlation, told)
    }

    #[test]
    fn a_result_that_does_not_read_is_told_at_once_to_whoever_waits_for_it_and_to_nobody_else() {
        let waiting = Waiting::default();
        let ((correlation, mut told), (_, mut other)) = (waiter(&waiting), waiter(&waiting));
        let unreadable = Err(Unreadable {
            what: "cut off".to_owned(),
            body: Bytes::new(),
        });
        for stranger in [None, Some(CorrelationId::random())] {
            assert_eq!(waiting.hand(stranger, &unreadable), Came::Unreadable);
            told.try_recv().expect_err("it is somebody else's");
        }
        let came = waiting.hand(Some(correlation), &unreadable);
        assert_eq!(came, Came::Unreadable);
        let told = told.try_recv().expect("told at once");
        assert!(matches!(told, Err(Lost::Unreadable)), "{told:?}");
        other.try_recv().expect_err("that one waits on");
    }
}
