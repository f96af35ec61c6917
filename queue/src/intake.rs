//! The intake: where deliveries come out, the interactive ones first.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

use crate::counters::DoorCounters;
use crate::envelope::{Delivery, Source};

/// What an intake asks of the task that owns its channels.
#[derive(Debug)]
pub(crate) enum IntakeOrder {
    /// Cancel the consumers; settlements of what is out go on.
    Stop(oneshot::Sender<()>),
}

/// The number of the current session; 0 before the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}

/// Where deliveries come out.
#[derive(Debug)]
pub struct Intake {
    lines: Vec<(Source, mpsc::Receiver<Delivery>)>,
    orders: mpsc::Sender<IntakeOrder>,
    epoch: Epoch,
    counters: Arc<DoorCounters>,
}

impl Intake {
    pub(crate) fn new(
        mut lines: Vec<(Source, mpsc::Receiver<Delivery>)>,
        orders: mpsc::Sender<IntakeOrder>,
        epoch: Epoch,
        counters: Arc<DoorCounters>,
    ) -> Self {
        lines.sort_by_key(|(source, _)| *source);
        Self {
            lines,
            orders,
            epoch,
            counters,
        }
    }

    /// The next delivery of any source, interactive ones first. `None` once the door is closed or
    /// was stopped and nothing is left.
    ///
    /// # Cancel safety
    /// Cancel safe: a delivery is taken out only when it is returned.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_among(&Source::ALL).await
    }

    /// The next delivery of one of `wanted`. A worker that has only a bulk slot free asks for
    /// bulk, and leaves an interactive job to whoever has the slot for it.
    ///
    /// # Cancel safety
    /// Cancel safe: a delivery is taken out only when it is returned.
    pub async fn next_among(&mut self, wanted: &[Source]) -> Option<Delivery> {
        poll_fn(|context| self.poll_among(context, wanted)).await
    }

    /// The same for whoever waits for several intakes at one time.
    pub fn poll_among(
        &mut self,
        context: &mut Context<'_>,
        wanted: &[Source],
    ) -> Poll<Option<Delivery>> {
        loop {
            let Some(delivery) = ready!(self.poll_lines(context, wanted)) else {
                return Poll::Ready(None);
            };
            // What waited here while its session ended is somebody else's by now: running it
            // would run it twice.
            if delivery.ticket.epoch() == self.epoch.current() {
                self.counters.deliveries.add_one();
                if delivery.envelope.redelivered {
                    self.counters.redeliveries.add_one();
                }
                return Poll::Ready(Some(delivery));
            }
            delivery.ticket.expire();
        }
    }

    fn poll_lines(
        &mut self,
        context: &mut Context<'_>,
        wanted: &[Source],
    ) -> Poll<Option<Delivery>> {
        let mut open = false;
        for (source, line) in &mut self.lines {
            if !wanted.contains(source) {
                continue;
            }
            match line.poll_recv(context) {
                Poll::Ready(Some(delivery)) => return Poll::Ready(Some(delivery)),
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        if open {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }

    /// Cancels the consumers and puts everything that waits here into `waiting`, for whoever stops to
    /// give it back. Deliveries that are out can still be settled. Afterwards `next` returns `None`.
    ///
    /// # Cancel safety
    /// What was put into `waiting` is there, also when this is dropped.
    pub async fn stop(&mut self, waiting: &mut Vec<Delivery>) {
        let (done, mut answer) = oneshot::channel();
        let mut asked = self.orders.send(IntakeOrder::Stop(done)).await.is_ok();
        // What the broker sent before it heard of the stop still comes, and needs room.
        while asked {
            tokio::select! {
                heard = &mut answer => {
                    if heard.is_err() {
                        tracing::debug!("the consuming role ended before it confirmed the stop");
                    }
                    asked = false;
                }
                delivery = self.next() => match delivery {
                    Some(delivery) => waiting.push(delivery),
                    None => asked = false,
                },
            }
        }
        for (_, line) in &mut self.lines {
            line.close();
        }
        while let Some(delivery) = self.next().await {
            waiting.push(delivery);
        }
    }
}
