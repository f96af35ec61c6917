//! The loop: each job goes to both sides at the same time, a few jobs at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jailfleet::job::{EpochMs, Job, JobId};
use jailfleet_program::{Clock, Moment, output};
use jailfleet_queue::OutboxError;

use super::answer::{Side, compare};
use super::report::{Compared, Report};
use super::service::Service;
use super::{CompareError, Settled, request};
use crate::client::{Arrival, Client, ClientError};
use crate::correlation::CorrelationId;
use crate::dedupe::{Claim, Ledger, PROVISIONAL_GRACE, Reception};
use crate::progress::{Progress, Stand};
use crate::stop::Stop;

/// How often the loop looks at clocks.
const TICK: Duration = Duration::from_millis(50);
/// So many jobs in a row without any answer of one side, and it is not asked again.
const SILENCES: u32 = 20;

/// Whom a job is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    /// The codejail service.
    Codejail,
    /// Our fleet.
    Jailfleet,
}

/// How the comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Every job was sent to both.
    Complete,
    /// That side is away.
    Silent(Party),
    /// A signal came.
    Stopped,
}

/// A job under way.
struct Pair {
    line: u64,
    job: Job,
    since: Moment,
    codejail: Option<(Side, Option<Duration>)>,
    jailfleet: Option<(Side, Option<Duration>)>,
}

/// What a request or a publish came to, by its job's number.
enum Event {
    Codejail(usize, Side),
    Published(usize, Result<(), OutboxError>),
}

/// A comparison under way.
pub(super) struct Both<'a> {
    settled: &'a Settled,
    clock: Clock,
    waiting: VecDeque<usize>,
    pairs: HashMap<usize, Pair>,
    ledger: Ledger,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Jobs in a row without an answer of the service, and of the fleet.
    silences: [u32; 2],
    published: usize,
    pub(super) report: Report,
}

impl<'a> Both<'a> {
    pub(super) fn new(settled: &'a Settled) -> Self {
        Self {
            settled,
            clock: Clock::start(),
            waiting: (0..settled.input.lines.len()).collect(),
            pairs: HashMap::new(),
            ledger: Ledger::new(PROVISIONAL_GRACE),
            events: FuturesUnordered::new(),
            silences: [0; 2],
            published: 0,
            report: Report::beside(settled.input.bad.len()),
        }
    }

    /// Runs every job on both sides, or as many as there is an end before.
    pub(super) async fn run(&mut self, client: &mut Client) -> Result<End, CompareError> {
        let mut progress = Progress::start(&self.stand(None));
        let mut tick = tokio::time::interval(TICK);
        let mut stop = Stop::listen().map_err(CompareError::Signals)?;
        let end = loop {
            self.send_more(client)?;
            if self.pairs.is_empty() {
                break End::Complete;
            }
            if let Some(party) = self.silent() {
                break End::Silent(party);
            }
            tokio::select! {
                Some(event) = self.events.next(), if !self.events.is_empty() => self.hear(event)?,
                arrival = client.next() => self.receive(arrival.ok_or(ClientError::Closed)?).await?,
                _ = tick.tick() => {
                    let now = self.clock.now();
                    self.expire(now)?;
                    progress.show(&self.stand(client.trouble()), now);
                }
                () = stop.came() => break End::Stopped,
            }
        };
        progress.finish(&self.stand(client.trouble()), self.clock.now());
        Ok(end)
    }

    /// The side that has not answered for too long.
    fn silent(&self) -> Option<Party> {
        let [codejail, jailfleet] = self.silences;
        if codejail >= SILENCES {
            return Some(Party::Codejail);
        }
        (jailfleet >= SILENCES).then_some(Party::Jailfleet)
    }

    /// Counts an answer of one side, or that there is none.
    fn heard(&mut self, party: Party, side: &Side) {
        let [codejail, jailfleet] = &mut self.silences;
        let silences = match party {
            Party::Codejail => codejail,
            Party::Jailfleet => jailfleet,
        };
        *silences = match side {
            Side::Nothing(_) => *silences + 1,
            Side::Ran(_) | Side::Refused(_) => 0,
        };
    }

    /// The jobs of the input that were not compared yet.
    pub(super) fn missing(&self) -> u64 {
        let all = u64::try_from(self.settled.input.lines.len()).unwrap_or(u64::MAX);
        all.saturating_sub(self.report.jobs())
    }

    fn stand(&self, trouble: Option<String>) -> Stand {
        Stand {
            jobs: self.settled.input.lines.len(),
            confirmed: self.published,
            stored: usize::try_from(self.report.jobs()).unwrap_or(usize::MAX),
            resumed: 0,
            held: self.ledger.held(),
            trouble,
        }
    }

    /// Sends the next jobs, as many as may be under way.
    fn send_more(&mut self, client: &Client) -> Result<(), CompareError> {
        while self.pairs.len() < self.settled.parallel
            && let Some(seat) = self.waiting.pop_front()
        {
            let input = &self.settled.input;
            let Some(line) = input.lines.get(seat) else {
                continue;
            };
            let id = line.id.clone().unwrap_or_else(crate::bulk::fresh_id);
            let mut job = input.job(line, &id)?;
            // Nobody waits for what is run later.
            let latest = after(self.clock.epoch_ms(), self.settled.within);
            job.deadline = Some(job.deadline.map_or(latest, |own| own.min(latest)));
            // It could be one when the input was read.
            let request = request::of(&job).map_err(|what| CompareError::Changed {
                line: line.number,
                what,
            })?;
            let correlation = CorrelationId::random();
            let number = self.ledger.expect(id, correlation);
            let (within, most) = (self.settled.within, self.settled.answer_bytes);
            let service: Service = self.settled.service.clone();
            self.events.push(Box::pin(async move {
                Event::Codejail(number, service.ask(request, within, most).await)
            }));
            let (publisher, sent) = (client.publisher(), job.clone());
            self.events.push(Box::pin(async move {
                Event::Published(number, publisher.publish(&sent, correlation).await)
            }));
            let pair = Pair {
                line: line.number,
                job,
                since: self.clock.now(),
                codejail: None,
                jailfleet: None,
            };
            self.pairs.insert(number, pair);
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), CompareError> {
        let now = self.clock.now();
        match event {
            Event::Published(_, Ok(())) => {
                self.published += 1;
                Ok(())
            }
            Event::Published(number, Err(error)) => {
                let why = Side::Nothing(format!("publish: {error}"));
                self.jailfleet(number, why, None)
            }
            Event::Codejail(number, side) => {
                self.heard(Party::Codejail, &side);
                let silent = matches!(side, Side::Nothing(_));
                let Some(pair) = self.pairs.get_mut(&number) else {
                    return Ok(());
                };
                let took = (!silent).then(|| now.saturating_sub(pair.since));
                pair.codejail = Some((side, took));
                self.close(number)
            }
        }
    }

    /// Takes notice of a result. `worker_lost` waits for a better one until the job's time is over.
    async fn receive(&mut self, arrival: Arrival) -> Result<(), CompareError> {
        let now = self.clock.now();
        let answered = match &arrival.content {
            Ok(content) => {
                let claim = Claim {
                    correlation: arrival.correlation,
                    job_id: content.result.job_id.as_ref(),
                    outcome: content.result.outcome,
                    digest: &content.digest,
                };
                match self.ledger.receive(&claim, now) {
                    Reception::Accepted { job } | Reception::Replaces { job } => {
                        let given = self.pairs.get(&job).map(|pair| &pair.job);
                        given.map(|given| (job, Side::of_result(given, &content.result)))
                    }
                    Reception::Held { .. }
                    | Reception::Duplicate { .. }
                    | Reception::Conflict { .. }
                    | Reception::Stranger => None,
                }
            }
            Err(unreadable) => {
                let why = format!("the result does not read: {}", unreadable.what);
                let job = self.ledger.job_of(arrival.correlation);
                job.map(|job| (job, Side::Nothing(why)))
            }
        };
        if let Err(error) = arrival.take().await {
            tracing::debug!(%error, "a result comes again");
        }
        match answered {
            Some((number, side)) => self.jailfleet(number, side, Some(now)),
            None => Ok(()),
        }
    }

    /// Gives up on results that did not come in time. The service's own time is its request's.
    fn expire(&mut self, now: Moment) -> Result<(), CompareError> {
        let within = self.settled.within;
        let late = self.pairs.iter().filter(|(_, pair)| {
            pair.jailfleet.is_none() && now.saturating_sub(pair.since) >= within
        });
        let late: Vec<usize> = late.map(|(number, _)| *number).collect();
        for number in late {
            let why = format!("no result within {} s", within.as_secs());
            self.jailfleet(number, Side::Nothing(why), None)?;
        }
        Ok(())
    }

    fn jailfleet(
        &mut self,
        number: usize,
        side: Side,
        at: Option<Moment>,
    ) -> Result<(), CompareError> {
        let Some(pair) = self.pairs.get(&number) else {
            return Ok(());
        };
        let took = at.map(|at| at.saturating_sub(pair.since));
        // Of two words about one job only the first says anything about the fleet.
        let first = pair.jailfleet.is_none();
        if first {
            self.heard(Party::Jailfleet, &side);
        }
        let Some(pair) = self.pairs.get_mut(&number) else {
            return Ok(());
        };
        pair.jailfleet = Some((side, took));
        self.close(number)
    }

    /// Compares a job that has both its answers.
    fn close(&mut self, number: usize) -> Result<(), CompareError> {
        let both = |pair: &Pair| pair.codejail.is_some() && pair.jailfleet.is_some();
        if !self.pairs.get(&number).is_some_and(both) {
            return Ok(());
        }
        let Some(Pair {
            line,
            job,
            codejail: Some(codejail),
            jailfleet: Some(jailfleet),
            ..
        }) = self.pairs.remove(&number)
        else {
            return Ok(());
        };
        let one = Compared {
            line,
            job_id: JobId::as_str(&job.id).to_owned(),
            verdict: compare(&codejail.0, &jailfleet.0),
            codejail: codejail.1,
            jailfleet: jailfleet.1,
        };
        if self.settled.json {
            let line = format!("{}\n", one.to_json());
            output::print(line.as_bytes()).map_err(CompareError::Print)?;
        }
        self.report.add(one, self.settled.show);
        Ok(())
    }
}

/// The moment so much later.
fn after(now: EpochMs, within: Duration) -> EpochMs {
    let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    EpochMs(now.0.saturating_add(within))
}

#[cfg(test)]
mod tests;
