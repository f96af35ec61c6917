//! The closed lists behind the labels.

use jailfleet::evidence::Stage;
use jailfleet::outcome::Outcome;

/// How the publishing of one result ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishEnd {
    /// The broker confirmed that it is in the reply queue.
    Confirmed,
    /// The reply queue is gone; the result is kept in `results.lost`.
    Lost,
    /// It could not be confirmed; the job was handed back.
    Failed,
}

impl PublishEnd {
    pub(super) const ALL: [Self; 3] = [Self::Confirmed, Self::Lost, Self::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// Where a job went that got no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAside {
    /// Into the dead queue: refused, and nobody to tell.
    Dead,
    /// To an upgraded worker.
    Newer,
    /// To the suspects: it was there when workers died.
    Suspect,
    /// Back into its queue.
    HandedBack,
    /// Once more after a fault of ours.
    Retried,
    /// Nobody asked for the result.
    NoReply,
}

impl SetAside {
    pub(super) const ALL: [Self; 6] = [
        Self::Dead,
        Self::Newer,
        Self::Suspect,
        Self::HandedBack,
        Self::Retried,
        Self::NoReply,
    ];

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Newer => "newer",
            Self::Suspect => "suspect",
            Self::HandedBack => "handed_back",
            Self::Retried => "retried",
            Self::NoReply => "no_reply",
        }
    }
}

/// What the reaper did with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// Its requester was told this, and it was parked.
    Answered(Outcome),
    /// Nobody may be told: it was parked.
    Unanswered,
    /// The reaper failed on it too often: its requester was told by the envelope, and it was parked
    /// as it was.
    Unread,
    /// It was sent once more.
    SentAgain,
    /// It waited for an upgraded worker, and went back to its lane.
    SentBack,
    /// It went back: what was to be told or parked could not be published.
    HandedBack,
}

impl Reaped {
    pub(super) const ALL: [Self; 9] = [
        Self::Answered(Outcome::WorkerLost),
        Self::Answered(Outcome::Expired),
        Self::Answered(Outcome::Rejected),
        Self::Answered(Outcome::EngineFault),
        Self::Unanswered,
        Self::Unread,
        Self::SentAgain,
        Self::SentBack,
        Self::HandedBack,
    ];

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(outcome) => outcome.as_str(),
            Self::Unanswered => "unanswered",
            Self::Unread => "unread",
            Self::SentAgain => "sent_again",
            Self::SentBack => "sent_back",
            Self::HandedBack => "handed_back",
        }
    }
}

/// Where a delivery that came again found its twin, or what it found in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// Under way: it shares its end.
    Running,
    /// Done, and whoever must know was told.
    Finished,
    /// None: another message came under its id, and it is a job of its own.
    Stranger,
}

impl Adopted {
    pub(super) const ALL: [Self; 3] = [Self::Running, Self::Finished, Self::Stranger];

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stranger => "stranger",
        }
    }
}

/// What became of a cancel that this worker heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is remembered from now on.
    Taken,
    /// It says nothing new: the past is told again at each session.
    Known,
    /// It is about another pool's jobs.
    OtherPool,
    /// It is older than anything that is remembered.
    Old,
    /// It comes from too far in the future: a clock is wrong.
    Ahead,
    /// It is no cancel.
    Refused,
}

impl Heard {
    pub(super) const ALL: [Self; 6] = [
        Self::Taken,
        Self::Known,
        Self::OtherPool,
        Self::Old,
        Self::Ahead,
        Self::Refused,
    ];

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Known => "known",
            Self::OtherPool => "other_pool",
            Self::Old => "old",
            Self::Ahead => "ahead",
            Self::Refused => "refused",
        }
    }
}

/// Where a cancel met its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Before its run began, or its next one: there was none.
    Waiting,
    /// In its run, which was ended.
    Running,
}

impl Met {
    pub(super) const ALL: [Self; 2] = [Self::Waiting, Self::Running];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
        }
    }
}

/// How an object on the broker is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drifted {
    /// It exists with other arguments.
    Differs,
    /// It does not exist.
    Missing,
    /// The broker's user may not see more than that it exists.
    Unseen,
}

impl Drifted {
    pub(super) const ALL: [Self; 3] = [Self::Differs, Self::Missing, Self::Unseen];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Unseen => "unseen",
        }
    }
}

/// What a job's time goes into, from its delivery to a slot that is clean again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Decoding, planning, and waiting for a slot.
    Wait,
    /// The way of the order to the jail and of the word that the program was executed.
    Order,
    /// One stage of the jail's set-up.
    Jail(Stage),
    /// The program.
    Run,
    /// From the program's end until the worker knows of it: whatever it left is killed first.
    Report,
    /// Publishing the result and waiting for the confirm.
    Answer,
    /// From the end of the run until its slot was proven clean. Nobody waits for it but the next job.
    Sweep,
}

impl Step {
    pub(super) fn all() -> Vec<Self> {
        let jail = Stage::ALL.iter().copied().map(Self::Jail);
        let before = [Self::Wait, Self::Order];
        let after = [Self::Run, Self::Report, Self::Answer, Self::Sweep];
        before.into_iter().chain(jail).chain(after).collect()
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Wait => "wait".to_owned(),
            Self::Order => "order".to_owned(),
            Self::Jail(stage) => format!("jail_{stage}"),
            Self::Run => "run".to_owned(),
            Self::Report => "report".to_owned(),
            Self::Answer => "answer".to_owned(),
            Self::Sweep => "sweep".to_owned(),
        }
    }
}
