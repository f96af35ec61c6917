//! The loop of a batch: plan, publish, receive, store, in the order that survives a crash.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jailfleet::settings::ProducerSettings;
use jailfleet_program::{Clock, Moment};
use jailfleet_queue::OutboxError;

use super::{BulkError, Seat};
use crate::client::{Arrival, Client, Publisher};
use crate::dedupe::{Claim, Ledger, Reception};
use crate::input::{Input, hex};
use crate::journal::Journal;
use crate::progress::{Progress, Stand};
use crate::results::{Aside, ResultsFile};
use crate::stop::Stop;
use crate::summary::{Summary, Tally};

/// How often the loop looks at clocks.
const TICK: Duration = Duration::from_millis(100);
/// How long publishing rests after a queue was full.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// The most results that one sync of the results file pays for.
const STORE_TOGETHER: usize = 512;

/// How long nothing must have come before a reply queue counts as empty.
const REST: Duration = Duration::from_secs(1);

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every job has a result.
    Complete,
    /// No news for too long.
    Quiet,
    /// A signal came.
    Stopped,
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) clock: Clock,
    pub(super) input: Input,
    pub(super) seats: Vec<Seat>,
    pub(super) journal: Journal,
    pub(super) results: ResultsFile,
    pub(super) aside: Aside,
    pub(super) ledger: Ledger,
    pub(super) summary: Summary,
    pub(super) tally: Tally,
    /// Results that say `worker_lost`, not yet taken from the broker: after a crash they come again.
    pub(super) held: HashMap<usize, Arrival>,
    /// Jobs to be published.
    pub(super) waiting: VecDeque<usize>,
    pub(super) pause_until: Moment,
    /// Where the broker takes no more jobs now.
    pub(super) full: Option<String>,
    /// Whether an earlier run deleted the reply queue.
    pub(super) closed: bool,
}

type Publishing = FuturesUnordered<BoxFuture<'static, (usize, Result<(), OutboxError>)>>;

impl Batch {
    /// Whether every job has its result.
    pub(super) fn is_complete(&self) -> bool {
        self.ledger.stored() == self.ledger.expected()
    }

    /// The counts as they are now.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            elapsed: self.clock.now(),
            ..self.tally
        }
    }

    /// Publishes and receives until every job has a result, nothing comes any more, or a signal
    /// comes.
    pub(super) async fn run(
        &mut self,
        client: &mut Client,
        settings: &ProducerSettings,
    ) -> Result<End, BulkError> {
        if self.is_complete() {
            self.take_the_rest(client).await?;
            return Ok(End::Complete);
        }
        let publisher = client.publisher();
        let window = settings.producer.window.max(1);
        let idle = settings.producer.idle_timeout_ms.duration();
        let room = usize::from(settings.producer.prefetch / 2);
        let mut stop = Stop::listen().map_err(|source| BulkError::Io {
            action: "listen to signals",
            source,
        })?;
        let mut publishing = Publishing::new();
        let mut progress = Progress::start(&self.stand(None));
        let mut tick = tokio::time::interval(TICK);
        let mut last_news = self.clock.now();
        let end = loop {
            if self.is_complete() {
                break End::Complete;
            }
            self.publish_more(&publisher, &mut publishing, window)?;
            tokio::select! {
                Some((job, answer)) = publishing.next(), if !publishing.is_empty() => {
                    let before = self.tally.published;
                    self.published(job, answer)?;
                    // Whatever else was confirmed meanwhile goes into the same write.
                    while let Some(Some((job, answer))) = publishing.next().now_or_never() {
                        self.published(job, answer)?;
                    }
                    // That a queue is full still is no news.
                    if self.tally.published > before {
                        last_news = self.clock.now();
                    }
                    self.journal.flush()?;
                }
                arrival = client.next() => {
                    last_news = self.clock.now();
                    let mut arrivals = vec![arrival.ok_or(crate::client::ClientError::Closed)?];
                    while arrivals.len() < STORE_TOGETHER
                        && let Some(arrival) = client.next_at_once()
                    {
                        arrivals.push(arrival);
                    }
                    self.receive(arrivals).await?;
                }
                _ = tick.tick() => {
                    let now = self.clock.now();
                    self.expire(now, room).await?;
                    progress.show(&self.stand(client.trouble().or_else(|| self.full())), now);
                    // A held result is news that is known to come.
                    if self.held.is_empty() && now.saturating_sub(last_news) >= idle {
                        break End::Quiet;
                    }
                }
                () = stop.came() => break End::Stopped,
            }
        };
        self.settle_publishing(publishing, client.patience())
            .await?;
        progress.finish(&self.stand(client.trouble()), self.clock.now());
        Ok(end)
    }

    /// Takes what an earlier run left in the reply queue, though it had every result: second ones, over which
    /// the queue would stay.
    async fn take_the_rest(&mut self, client: &mut Client) -> Result<(), BulkError> {
        while let Ok(arrival) = tokio::time::timeout(REST, client.next()).await {
            let arrival = arrival.ok_or(crate::client::ClientError::Closed)?;
            self.receive(vec![arrival]).await?;
        }
        Ok(())
    }

    /// Notes the next jobs in the journal, syncs it once for all of them, and publishes them. Waits
    /// for half a window of room, so that one sync is paid by many.
    fn publish_more(
        &mut self,
        publisher: &Publisher,
        publishing: &mut Publishing,
        window: usize,
    ) -> Result<(), BulkError> {
        let room = window.saturating_sub(publishing.len());
        let enough = window.div_ceil(2).min(self.waiting.len());
        if self.waiting.is_empty() || room < enough || self.clock.now() < self.pause_until {
            return Ok(());
        }
        let mut ready = Vec::with_capacity(room.min(self.waiting.len()));
        let mut planned = false;
        while ready.len() < room
            && let Some(job) = self.waiting.pop_front()
        {
            let Some(seat) = self.seats.get_mut(job) else {
                continue;
            };
            let message = self.input.job(&seat.line, &seat.id)?;
            if !seat.planned {
                let sha256 = hex(&seat.line.sha256);
                self.journal
                    .plan(seat.line.number, &sha256, &seat.id, seat.correlation);
                seat.planned = true;
                planned = true;
            }
            ready.push((job, message, seat.correlation));
        }
        if planned {
            self.journal.sync()?;
        }
        for (job, message, correlation) in ready {
            let publisher = publisher.clone();
            let publish = async move { (job, publisher.publish(&message, correlation).await) };
            publishing.push(publish.boxed());
        }
        Ok(())
    }

    fn published(&mut self, job: usize, answer: Result<(), OutboxError>) -> Result<(), BulkError> {
        let Some(seat) = self.seats.get_mut(job) else {
            return Ok(());
        };
        match answer {
            Ok(()) => {
                seat.confirmed = true;
                self.journal.confirmed(seat.line.number);
                self.tally.published += 1;
                self.full = None;
                Ok(())
            }
            // Workers make room: nothing is wrong but our haste.
            Err(OutboxError::Full { destination }) => {
                if self.full.is_none() {
                    tracing::warn!(destination, "the queue is full; its jobs wait for workers");
                }
                self.full = Some(destination);
                self.waiting.push_back(job);
                self.pause_until = self.clock.now().saturating_add(FULL_PAUSE);
                Ok(())
            }
            Err(source) => {
                // What was confirmed up to here must be known to the next run.
                self.journal.flush()?;
                Err(BulkError::Publish {
                    line: seat.line.number,
                    source,
                })
            }
        }
    }

    /// Waits a while for the confirms that are under way: each that is not seen is a job that the
    /// next run publishes again.
    async fn settle_publishing(
        &mut self,
        mut publishing: Publishing,
        within: Duration,
    ) -> Result<(), BulkError> {
        let all = async {
            while let Some((job, answer)) = publishing.next().await {
                self.published(job, answer)?;
            }
            Ok::<(), BulkError>(())
        };
        if let Ok(settled) = tokio::time::timeout(within, all).await {
            settled?;
        }
        Ok(self.journal.flush()?)
    }

    /// Decides about results, stores those that count, and only then tells the broker.
    async fn receive(&mut self, arrivals: Vec<Arrival>) -> Result<(), BulkError> {
        let now = self.clock.now();
        let mut done = Vec::with_capacity(arrivals.len());
        for mut arrival in arrivals {
            let reception = self.judge(&arrival, now)?;
            match reception {
                Reception::Accepted { job } | Reception::Replaces { job } => {
                    let replaces = matches!(reception, Reception::Replaces { .. });
                    self.tally.replaced += u64::from(replaces);
                    self.store(job, &mut arrival);
                    done.extend(self.held.remove(&job));
                    done.push(arrival);
                }
                Reception::Held { job } => {
                    self.held.insert(job, arrival);
                }
                // The same word again, because its session broke: the newer ticket is the valid one.
                Reception::Duplicate { job } if self.held.contains_key(&job) => {
                    done.extend(self.held.insert(job, arrival));
                }
                Reception::Duplicate { .. } => {
                    self.tally.duplicates += 1;
                    done.push(arrival);
                }
                Reception::Conflict { job } => {
                    if let Ok(content) = &arrival.content {
                        self.aside.conflict(content)?;
                    }
                    self.tally.conflicts += 1;
                    self.journal.conflict(self.line(job));
                    done.push(arrival);
                }
                Reception::Stranger => done.push(arrival),
            }
        }
        self.commit(done).await
    }

    fn judge(&mut self, arrival: &Arrival, now: Moment) -> Result<Reception, BulkError> {
        let reception = match &arrival.content {
            Ok(content) => self.ledger.receive(
                &Claim {
                    correlation: arrival.correlation,
                    job_id: content.result.job_id.as_ref(),
                    outcome: content.result.outcome,
                    digest: &content.digest,
                },
                now,
            ),
            Err(unreadable) => {
                if let Some(job) = self.ledger.job_of(arrival.correlation) {
                    let id = self.seats.get(job).map_or("", |seat| seat.id.as_str());
                    tracing::warn!(job_id = id, what = %unreadable.what, "a result that does not read");
                    self.aside.unreadable(id, unreadable)?;
                    self.tally.unreadable += 1;
                    return Ok(Reception::Stranger);
                }
                Reception::Stranger
            }
        };
        if reception == Reception::Stranger {
            self.tally.strangers += 1;
        }
        Ok(reception)
    }

    /// Gives up waiting for better results than `worker_lost`.
    async fn expire(&mut self, now: Moment, room: usize) -> Result<(), BulkError> {
        let mut done = Vec::new();
        for job in self.ledger.expire(now, room) {
            if let Some(mut arrival) = self.held.remove(&job) {
                self.store(job, &mut arrival);
                done.push(arrival);
            }
        }
        self.commit(done).await
    }

    fn store(&mut self, job: usize, arrival: &mut Arrival) {
        let Ok(content) = &mut arrival.content else {
            return;
        };
        if let Some(seat) = self.seats.get(job) {
            content.name_job(&seat.id);
        }
        self.results.push(&content.line);
        self.summary.add(&content.result);
        self.tally.stored += 1;
        self.journal.received(self.line(job));
        if let Some(seat) = self.seats.get_mut(job) {
            seat.confirmed = true;
        }
    }

    /// Results to the disk, then the journal, then the word to the broker that it may forget them.
    async fn commit(&mut self, done: Vec<Arrival>) -> Result<(), BulkError> {
        self.results.sync()?;
        self.journal.flush()?;
        for settled in join_all(done.into_iter().map(Arrival::take)).await {
            if let Err(error) = settled {
                tracing::debug!(%error, "a stored result comes again and will be a duplicate");
            }
        }
        Ok(())
    }

    /// Hands held results back to the broker: the next run receives them.
    pub(super) async fn hand_back(&mut self) {
        for (_, arrival) in self.held.drain() {
            if let Err(error) = arrival.hand_back().await {
                tracing::debug!(%error, "a held result goes back by itself");
            }
        }
    }

    /// The words for a queue that is full.
    pub(super) fn full(&self) -> Option<String> {
        let destination = self.full.as_ref()?;
        Some(format!(
            "the queue behind {destination} is full: jobs wait until workers make room, or its bound is raised"
        ))
    }

    fn line(&self, job: usize) -> u64 {
        self.seats.get(job).map_or(0, |seat| seat.line.number)
    }

    fn stand(&self, trouble: Option<String>) -> Stand {
        Stand {
            jobs: self.tally.jobs,
            confirmed: self.seats.iter().filter(|seat| seat.confirmed).count(),
            stored: self.ledger.stored(),
            resumed: self.tally.resumed,
            held: self.ledger.held(),
            trouble,
        }
    }
}
