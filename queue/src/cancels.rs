//! Where cancels come out, as bytes that nobody has looked at yet.

use bytes::Bytes;
use jailfleet::wire::CANCEL_BYTES;
use tokio::sync::mpsc;

/// Cancels that wait in this process.
pub(crate) const WAITING: usize = 64;

/// What a worker hears about cancels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelNews {
    /// Somebody cancels something. The same may come again, whenever the session is a new one.
    Asked(Bytes),
    /// Everything that was sent before this session began has been told.
    CaughtUp,
}

impl CancelNews {
    /// A cancel's body. What is too long to be one is cut just beyond its bound: it will be
    /// refused for its length, and costs no more memory than others.
    pub(crate) fn asked(body: &[u8]) -> Self {
        let head = body.get(..=CANCEL_BYTES).unwrap_or(body);
        Self::Asked(Bytes::copy_from_slice(head))
    }
}

/// Where cancels come out.
#[derive(Debug)]
pub struct CancelIntake {
    news: mpsc::Receiver<CancelNews>,
}

impl CancelIntake {
    /// An intake, and where what it tells is put in.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<CancelNews>, Self) {
        let (sender, news) = mpsc::channel(WAITING);
        (sender, Self { news })
    }

    /// The intake of a door without a broker: there is no past to catch up with.
    pub(crate) fn in_one_process() -> (mpsc::Sender<CancelNews>, Self) {
        let (sender, intake) = Self::channel();
        sender
            .try_send(CancelNews::CaughtUp)
            .expect("a new channel has room");
        (sender, intake)
    }

    /// The next; `None` once the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<CancelNews> {
        self.news.recv().await
    }
}
