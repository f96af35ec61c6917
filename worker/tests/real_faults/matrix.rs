//! Every step of a job, everything that can die, and the table of both. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// A step of a job's story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A worker has its delivery.
    Received,
    /// Its program runs.
    Started,
    /// The program has ended.
    Exited,
    /// The worker has made a result of that.
    Judged,
    /// The broker has the result, and its confirm is under way.
    Published,
    /// The worker has the confirm, and its ack is under way.
    Confirmed,
    /// The broker has the ack.
    Acked,
    /// The slot is clean and idle again.
    Swept,
}

impl Step {
    pub(crate) const ALL: [Self; 8] = [
        Self::Received,
        Self::Started,
        Self::Exited,
        Self::Judged,
        Self::Published,
        Self::Confirmed,
        Self::Acked,
        Self::Swept,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Exited => "exited",
            Self::Judged => "judged",
            Self::Published => "published",
            Self::Confirmed => "confirmed",
            Self::Acked => "acked",
            Self::Swept => "swept",
        }
    }

    /// How many seconds the job of that number sleeps: a second where it is to be met running. No two
    /// jobs have the same.
    pub(crate) fn pause(self, number: usize) -> String {
        let seconds = match self {
            Self::Started => 1,
            Self::Received
            | Self::Exited
            | Self::Judged
            | Self::Published
            | Self::Confirmed
            | Self::Acked
            | Self::Swept => 0,
        };
        format!("{seconds}.1{number:05}")
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillWorker,
    KillWarden,
    FreezeWorker,
    CutBroker,
    RestartBroker,
    KillOther,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::KillWorker,
        Self::KillWarden,
        Self::FreezeWorker,
        Self::CutBroker,
        Self::RestartBroker,
        Self::KillOther,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::KillWorker => "worker killed",
            Self::KillWarden => "warden killed",
            Self::FreezeWorker => "worker frozen",
            Self::CutBroker => "broker cut off",
            Self::RestartBroker => "broker restarted",
            Self::KillOther => "other killed",
        }
    }
}

/// One of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) step: Step,
    pub(crate) fault: Fault,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.step.as_str(), self.fault.as_str())
    }
}

/// How much of the matrix is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One cell a step, and each fault at least once.
    Usual,
    /// Every cell.
    All,
}

impl Extent {
    pub(crate) fn cells(self) -> Vec<Cell> {
        let cell = |(step, fault)| Cell { step, fault };
        match self {
            Self::Usual => USUAL.map(cell).to_vec(),
            Self::All => {
                let rows = Step::ALL.into_iter();
                let all = rows.flat_map(|step| Fault::ALL.map(|fault| (step, fault)));
                all.map(cell).collect()
            }
        }
    }
}

const USUAL: [(Step, Fault); 8] = [
    (Step::Received, Fault::CutBroker),
    (Step::Started, Fault::KillWorker),
    (Step::Exited, Fault::KillWarden),
    (Step::Judged, Fault::FreezeWorker),
    (Step::Published, Fault::KillWorker),
    (Step::Confirmed, Fault::RestartBroker),
    (Step::Acked, Fault::CutBroker),
    (Step::Swept, Fault::KillOther),
];

/// What was seen in each cell.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<Cell, (usize, u64)>);

impl Table {
    pub(crate) fn note(&mut self, cell: Cell, results: usize, ms: u64) {
        self.0.insert(cell, (results, ms));
    }

    /// A line a step: how many equal results there were, and the seconds that it took.
    pub(crate) fn render(&self) -> String {
        let mut lines = vec![
            "Results of the one job, all equal, and seconds, by what happened at which step:"
                .to_owned(),
            format!("{:10}", "")
                + &Fault::ALL
                    .map(|fault| format!("{:>18}", fault.as_str()))
                    .concat(),
        ];
        for step in Step::ALL {
            let cells = Fault::ALL.map(|fault| match self.0.get(&Cell { step, fault }) {
                Some((results, ms)) => format!("{results} in {:.1} s", *ms as f64 / 1000.0),
                None => "-".to_owned(),
            });
            let cells = cells.map(|cell| format!("{cell:>18}"));
            lines.push(format!("{:10}", step.as_str()) + &cells.concat());
        }
        lines.join("\n")
    }
}

#[test]
fn the_usual_cells_have_every_step_once_and_every_fault() {
    let cells = Extent::Usual.cells();
    assert_eq!(
        cells.iter().map(|cell| cell.step).collect::<Vec<_>>(),
        Step::ALL
    );
    for fault in Fault::ALL {
        assert!(cells.iter().any(|cell| cell.fault == fault), "{fault:?}");
    }
    assert_eq!(Extent::All.cells().len(), 48);
}
