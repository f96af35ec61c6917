//! Sends the cancels that callers ask for, several at a time.

use std::time::Duration;

use jailfleet::cancel::{Cancel, MOST_JOBS, Target};
use jailfleet::job::EpochMs;
use jailfleet::settings::AmqpSection;
use jailfleet_program::Clock;
use jailfleet_queue::amqp::canceller;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::Failure;

/// Cancels that may wait to be sent.
const WAITING: usize = 1024;

/// Where cancels are ordered.
#[derive(Debug, Clone)]
pub(super) struct Canceller(mpsc::Sender<Wish>);

#[derive(Debug)]
struct Wish {
    target: Target,
    kept: oneshot::Sender<()>,
}

/// Where they are sent.
#[derive(Debug)]
pub(super) struct Wishes(mpsc::Receiver<Wish>);

/// Both ends.
pub(super) fn channel() -> (Canceller, Wishes) {
    let (wish, wishes) = mpsc::channel(WAITING);
    (Canceller(wish), Wishes(wishes))
}

impl Canceller {
    /// Cancels a job or a batch, and returns once the broker keeps that.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) async fn cancel(&self, target: Target, within: Duration) -> Result<(), Failure> {
        let (kept, told) = oneshot::channel();
        let sending = async {
            self.0.send(Wish { target, kept }).await.ok()?;
            told.await.ok()
        };
        match timeout(within, sending).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(Failure::no_broker()),
        }
    }
}

impl Wishes {
    /// Sends what is asked for until `stop`.
    pub(super) async fn serve(mut self, amqp: AmqpSection, clock: Clock, stop: CancellationToken) {
        let mut wishes = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = self.0.recv_many(&mut wishes, MOST_JOBS) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            let (targets, told): (Vec<_>, Vec<_>) = wishes
                .drain(..)
                .map(|wish| (wish.target, wish.kept))
                .unzip();
            match canceller::send(&amqp, &cancels(targets, clock.epoch_ms())).await {
                Ok(()) => {
                    let gone = told.into_iter().map(|kept| kept.send(()));
                    let gone = gone.filter(Result::is_err).count();
                    tracing::debug!(gone, "cancels were sent");
                }
                // Who waits is told nothing, and answers so.
                Err(error) => tracing::warn!(%error, "cancels could not be sent"),
            }
        }
    }
}

/// One cancel for all the jobs, and one for each batch.
fn cancels(targets: Vec<Target>, sent: EpochMs) -> Vec<Cancel> {
    let (jobs, batches): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .partition(|target| matches!(target, Target::Job(_)));
    let cancel = |targets| Cancel {
        targets,
        pool: None,
        sent,
    };
    let jobs = (!jobs.is_empty()).then_some(jobs);
    let batches = batches.into_iter().map(|batch| vec![batch]);
    jobs.into_iter().chain(batches).map(cancel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::job::JobId;
    use jailfleet::wire::{decode_cancel, encode_cancel};

    #[test]
    fn jobs_share_a_cancel_that_workers_read_and_each_batch_has_its_own() {
        let job = |id: usize| Target::Job(JobId::parse(&format!("t:{id}")).expect("an id"));
        let batch = |name: &str| Target::batch(name).expect("a batch");
        let mut targets: Vec<_> = (0..MOST_JOBS - 2).map(job).collect();
        targets.insert(1, batch("t:a"));
        targets.push(batch("t:b"));
        let cancels = cancels(targets.clone(), EpochMs(7));
        assert_eq!(cancels.len(), 3);
        let read = cancels.iter().flat_map(|cancel| {
            let read = decode_cancel(&encode_cancel(cancel)).expect("a worker reads it");
            read.targets
        });
        let mut read: Vec<_> = read.collect();
        read.sort();
        targets.sort();
        assert_eq!(read, targets);
    }
}
