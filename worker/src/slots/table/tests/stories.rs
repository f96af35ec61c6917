//! Every order of leases, runs, canaries' words and reports that proptest can think of, beside a warden that
//! knows what stands.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::collections::{BTreeMap, BTreeSet};

const SLOTS: u16 = 2;
/// How long a story is at most.
const STEPS: usize = 60;

/// What may happen. A number picks one of those that there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    LeaseForJob,
    LeaseUnproven,
    LeaseOldest,
    GiveBack(usize),
    Start(usize),
    CameBack(usize),
    Failed(usize),
    Begin(u16),
    End(u16),
    Sweep(u16),
    Quarantine(u16),
    Rebuild(u16),
    /// A report that cannot be: the end of a run that is not there, and that a slot in use is idle.
    Nonsense(u16),
    Waive,
    Vanish,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    let any = || 0..64_usize;
    prop_oneof![
        8 => Just(Step::LeaseForJob),
        8 => Just(Step::LeaseUnproven),
        8 => Just(Step::LeaseOldest),
        2 => any().prop_map(Step::GiveBack),
        8 => any().prop_map(Step::Start),
        8 => any().prop_map(Step::CameBack),
        3 => any().prop_map(Step::Failed),
        6 => slot().prop_map(Step::Begin),
        12 => slot().prop_map(Step::End),
        12 => slot().prop_map(Step::Sweep),
        6 => slot().prop_map(Step::Quarantine),
        12 => slot().prop_map(Step::Rebuild),
        3 => slot().prop_map(Step::Nonsense),
    ]
}

/// With the two that happen once at most, somewhere among the others.
fn story() -> impl Strategy<Value = Vec<Step>> {
    let once = |step| prop_oneof![4 => Just(None), 1 => (0..STEPS).prop_map(move |place| Some((place, step)))];
    let steps = vec(step(), 0..STEPS);
    (steps, once(Step::Waive), once(Step::Vanish)).prop_map(|(mut steps, waive, vanish)| {
        for (place, step) in [waive, vanish].into_iter().flatten() {
            steps.insert(place.min(steps.len()), step);
        }
        steps
    })
}

/// What the warden knows of one slot.
#[derive(Debug, Clone, Copy)]
struct Stands {
    build: Build,
    state: State,
    walls: Walls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// In the worker's hands, of which the warden knows nothing.
    Leased,
    Running(u64),
    Dirty,
    Out,
}

/// What is known of a building's walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walls {
    Unknown,
    Hold,
    /// They held, and a canary is on its way that may say otherwise.
    OnTrial,
}

/// A run, and whether anybody said that it began.
#[derive(Debug)]
struct Run {
    begun: bool,
    told: Receiver,
}

#[derive(Debug)]
struct Story {
    table: Table,
    warden: Vec<Stands>,
    /// Leases that nobody used yet, also those whose building is gone.
    leases: Vec<Build>,
    /// Buildings that a canary was sent to, and may tell of at any time.
    flown: Vec<Build>,
    runs: BTreeMap<u64, Run>,
    next_run: u64,
    /// As `slots.rs` counts them: for jobs, and for canaries.
    permits: [usize; 2],
    waived: bool,
    gone: bool,
}

impl Story {
    fn new() -> Self {
        let stands = |slot| Stands {
            build: Build::first(slot),
            state: State::Idle,
            walls: Walls::Unknown,
        };
        Self {
            table: Table::of_unproven(SLOTS),
            warden: (0..SLOTS).map(stands).collect(),
            leases: Vec::new(),
            flown: Vec::new(),
            runs: BTreeMap::new(),
            next_run: 1,
            permits: [0, SLOTS.into()],
            waived: false,
            gone: false,
        }
    }

    fn permit(&mut self, whose: For) -> &mut usize {
        let [jobs, canaries] = &mut self.permits;
        match whose {
            For::Jobs => jobs,
            For::Canaries => canaries,
        }
    }

    fn perform(&mut self, step: Step) -> TestCaseResult {
        match step {
            Step::LeaseForJob => drop(self.lease_for_job()?),
            Step::LeaseUnproven => drop(self.lease_unproven()?),
            Step::LeaseOldest => self.lease_oldest()?,
            Step::GiveBack(any) => self.give_back(any),
            Step::Start(any) => self.start(any)?,
            Step::CameBack(any) => self.canary_told(any, Some(proof(any as u64))),
            Step::Failed(any) => self.canary_told(any, None),
            // Once the worker knows that the warden is gone it reads no report.
            _ if self.gone => {}
            Step::Begin(slot) => self.begin(slot)?,
            Step::End(slot) => self.end(slot)?,
            Step::Sweep(slot) => self.sweep(slot)?,
            Step::Quarantine(slot) => self.quarantine(slot)?,
            Step::Rebuild(slot) => self.rebuild(slot)?,
            Step::Nonsense(slot) => self.nonsense(slot)?,
            Step::Waive => self.waive(),
            Step::Vanish => self.vanish()?,
        }
        self.counts_agree()
    }

    /// A slot that is handed out stands, idle, and in nobody else's hands.
    fn take(&mut self, taken: Taken) -> TestCaseResult {
        prop_assert!(!self.gone, "leased a slot of a warden that is gone");
        let stands = &mut self.warden[usize::from(taken.build.slot)];
        prop_assert_eq!(stands.build, taken.build, "another building stands there");
        prop_assert_eq!(stands.state, State::Idle, "somebody has it");
        stands.state = State::Leased;
        self.leases.push(taken.build);
        Ok(())
    }

    fn lease_for_job(&mut self) -> Result<Option<Build>, TestCaseError> {
        let Some(taken) = self.table.lease() else {
            return Ok(None);
        };
        self.take(taken)?;
        *self.permit(For::Jobs) -= 1;
        let walls = self.warden[usize::from(taken.build.slot)].walls;
        prop_assert!(
            self.waived || walls == Walls::Hold,
            "a job got walls that are {:?}",
            walls
        );
        prop_assert!(self.waived || taken.proven.is_some(), "no proof to tell of");
        Ok(Some(taken.build))
    }

    fn lease_unproven(&mut self) -> Result<Option<Build>, TestCaseError> {
        let Some(taken) = self.table.lease_unproven() else {
            return Ok(None);
        };
        self.take(taken)?;
        *self.permit(For::Canaries) -= 1;
        // Whoever put them on trial was lost without a word.
        self.warden[usize::from(taken.build.slot)].walls = Walls::Unknown;
        self.flown.push(taken.build);
        Ok(Some(taken.build))
    }

    fn lease_oldest(&mut self) -> TestCaseResult {
        let Some(taken) = self.table.lease_oldest() else {
            return Ok(());
        };
        self.take(taken)?;
        *self.permit(For::Jobs) -= 1;
        self.warden[usize::from(taken.build.slot)].walls = Walls::OnTrial;
        self.flown.push(taken.build);
        Ok(())
    }

    fn pick(&mut self, any: usize) -> Option<Build> {
        let place = any.checked_rem(self.leases.len())?;
        Some(self.leases.swap_remove(place))
    }

    fn give_back(&mut self, any: usize) {
        let Some(build) = self.pick(any) else { return };
        let back = self.table.give_back(build);
        if let Some(whose) = back {
            *self.permit(whose) += 1;
            let stands = &mut self.warden[usize::from(build.slot)];
            stands.state = State::Idle;
            if stands.walls == Walls::OnTrial {
                stands.walls = Walls::Hold;
            }
        }
    }

    /// A run begins in the building that was leased, or not at all.
    fn start(&mut self, any: usize) -> TestCaseResult {
        let Some(build) = self.pick(any) else {
            return Ok(());
        };
        let run = self.next_run;
        self.next_run += 1;
        let (waiting, told) = waiting(run);
        let started = self.table.start(build, waiting);
        let stands = &mut self.warden[usize::from(build.slot)];
        prop_assert_eq!(started, !self.gone && stands.build == build);
        if started {
            prop_assert_eq!(stands.state, State::Leased);
            stands.state = State::Running(run);
            self.runs.insert(run, Run { begun: false, told });
        }
        Ok(())
    }

    fn canary_told(&mut self, any: usize, proof: Option<Proof>) {
        let Some(place) = any.checked_rem(self.flown.len()) else {
            return;
        };
        let build = self.flown.swap_remove(place);
        if let Some((before, now)) = self.table.prove(build, proof) {
            *self.permit(before) -= 1;
            *self.permit(now) += 1;
        }
        let stands = &mut self.warden[usize::from(build.slot)];
        if stands.build == build {
            stands.walls = proof.map_or(Walls::Unknown, |_| Walls::Hold);
        }
    }

    fn begin(&mut self, slot: u16) -> TestCaseResult {
        let State::Running(run) = self.warden[usize::from(slot)].state else {
            return Ok(());
        };
        let stages = StageTimes::default();
        let booked = self.table.book(Report::Started { slot, run, stages }, NOW);
        prop_assert!(matches!(booked, Booked::Nothing));
        self.runs.get_mut(&run).expect("it runs").begun = true;
        Ok(())
    }

    fn end(&mut self, slot: u16) -> TestCaseResult {
        let State::Running(run) = self.warden[usize::from(slot)].state else {
            return Ok(());
        };
        let evidence = Evidence::LOST;
        let report = Report::Ended {
            slot,
            run,
            evidence,
        };
        let Booked::Ended { waiting, evidence } = self.table.book(report, NOW) else {
            return Err(TestCaseError::fail("nobody waited for the end of a run"));
        };
        prop_assert_eq!(waiting.run, run, "somebody else was told");
        waiting.end(evidence, NOW);
        self.warden[usize::from(slot)].state = State::Dirty;
        self.was_told(run)
    }

    /// Whoever waited has his word, once, and it is not that a run never began which did.
    fn was_told(&mut self, run: u64) -> TestCaseResult {
        let Run { begun, mut told } = self.runs.remove(&run).expect("it ran");
        let word = told.try_recv();
        prop_assert!(word.is_ok(), "nobody was told of the end of run {}", run);
        let refused = word.expect("it was told").is_err();
        prop_assert!(
            !(begun && refused),
            "a run that had begun was called one that had not"
        );
        Ok(())
    }

    fn sweep(&mut self, slot: u16) -> TestCaseResult {
        let stands = &mut self.warden[usize::from(slot)];
        if stands.state != State::Dirty {
            return Ok(());
        }
        stands.state = State::Idle;
        let report = idle(stands.build);
        let Booked::Idle { whose, .. } = self.table.book(report, NOW) else {
            return Err(TestCaseError::fail("a slot that was swept is not idle"));
        };
        *self.permit(whose) += 1;
        Ok(())
    }

    fn quarantine(&mut self, slot: u16) -> TestCaseResult {
        let Stands { build, state, .. } = self.warden[usize::from(slot)];
        let booked = quarantine(&mut self.table, build);
        self.warden[usize::from(slot)] = Stands {
            build: build.next(),
            state: State::Out,
            walls: Walls::Unknown,
        };
        if state == State::Out {
            // Its rebuilding failed: it is out of use as it was.
            prop_assert!(matches!(booked, Booked::Nothing));
            return Ok(());
        }
        let Booked::Quarantined {
            lost, idle_before, ..
        } = booked
        else {
            return Err(TestCaseError::fail("a slot is in use that was taken out"));
        };
        prop_assert_eq!(idle_before.is_some(), state == State::Idle);
        if let Some(whose) = idle_before {
            *self.permit(whose) -= 1;
        }
        let State::Running(run) = state else {
            prop_assert!(
                lost.is_none(),
                "somebody waited for a run that was not there"
            );
            return Ok(());
        };
        lost.expect("somebody waited for its run").lose(NOW);
        // The warden may have met the order only now.
        let refusal = Refusal::OtherBuilding;
        let refused = Report::Refused { slot, run, refusal };
        prop_assert!(matches!(self.table.book(refused, NOW), Booked::Nothing));
        self.was_told(run)
    }

    fn rebuild(&mut self, slot: u16) -> TestCaseResult {
        let stands = &mut self.warden[usize::from(slot)];
        if stands.state != State::Out {
            return Ok(());
        }
        stands.state = State::Idle;
        let report = idle(stands.build);
        let Booked::Rebuilt {
            slot: rebuilt,
            whose,
        } = self.table.book(report, NOW)
        else {
            return Err(TestCaseError::fail("a slot that was rebuilt is not idle"));
        };
        prop_assert_eq!(rebuilt, slot);
        *self.permit(whose) += 1;
        Ok(())
    }

    fn nonsense(&mut self, slot: u16) -> TestCaseResult {
        let run = self.next_run;
        let evidence = Evidence::LOST;
        let report = Report::Ended {
            slot,
            run,
            evidence,
        };
        prop_assert!(matches!(self.table.book(report, NOW), Booked::Surprise(_)));
        let Stands { build, state, .. } = self.warden[usize::from(slot)];
        if matches!(state, State::Leased | State::Running(_)) {
            let booked = self.table.book(idle(build), NOW);
            prop_assert!(matches!(booked, Booked::Surprise(_)));
        }
        Ok(())
    }

    fn waive(&mut self) {
        self.waived = true;
        let waited = self.table.waive_proofs();
        *self.permit(For::Canaries) -= waited;
        *self.permit(For::Jobs) += waited;
    }

    fn vanish(&mut self) -> TestCaseResult {
        self.gone = true;
        for waiting in self.table.lose_everything() {
            waiting.end(Evidence::LOST, NOW);
        }
        let runs: Vec<u64> = self.runs.keys().copied().collect();
        for run in runs {
            self.was_told(run)?;
        }
        for stands in &mut self.warden {
            stands.state = State::Out;
        }
        self.permits = [0, 0];
        Ok(())
    }

    /// Where there is a permit there is a slot behind it, and none stands idle that nobody is called for.
    fn counts_agree(&self) -> TestCaseResult {
        let shelves = [&self.table.idle, &self.table.unproven];
        prop_assert_eq!(shelves.map(Vec::len), self.permits);
        let shelved: BTreeSet<u16> = shelves.into_iter().flatten().copied().collect();
        let idle = |slot: &u16| self.warden[usize::from(*slot)].state == State::Idle;
        let idle: BTreeSet<u16> = (0..SLOTS).filter(idle).collect();
        prop_assert_eq!(
            shelved,
            idle,
            "what is idle can be leased, and nothing else"
        );
        let counts = self.table.counts();
        let stands = || self.warden.iter().filter(|one| one.state != State::Out);
        let trusted = stands().filter(|one| self.waived || one.walls != Walls::Unknown);
        prop_assert_eq!(
            usize::from(counts.proven),
            trusted.count(),
            "counted as proven"
        );
        let out = self.warden.len() - stands().count();
        prop_assert_eq!(usize::from(counts.quarantined), out);
        prop_assert_eq!(counts.proven + counts.unproven + counts.quarantined, SLOTS);
        Ok(())
    }

    /// Everything that is under way comes to its end; then every slot is the jobs' again.
    fn comes_to_rest(mut self) -> TestCaseResult {
        while !self.leases.is_empty() {
            self.perform(Step::GiveBack(0))?;
        }
        for slot in 0..SLOTS {
            self.perform(Step::End(slot))?;
            self.perform(Step::Sweep(slot))?;
            self.perform(Step::Rebuild(slot))?;
        }
        prop_assert!(
            self.runs.is_empty(),
            "somebody still waits: {:?}",
            self.runs
        );
        if self.gone {
            prop_assert_eq!(self.lease_for_job()?, None);
            prop_assert_eq!(self.lease_unproven()?, None);
            return Ok(());
        }
        while let Some(build) = self.lease_unproven()? {
            self.perform(Step::GiveBack(0))?;
            let place = self.flown.iter().rposition(|flown| *flown == build);
            self.perform(Step::CameBack(place.expect("it has just flown")))?;
        }
        let mut jobs = BTreeSet::new();
        while let Some(build) = self.lease_for_job()? {
            jobs.insert(build.slot);
        }
        prop_assert_eq!(
            jobs.len(),
            usize::from(SLOTS),
            "a slot was lost for the jobs"
        );
        Ok(())
    }
}

proptest! {
    /// No job gets walls that nobody tried, no slot is two people's, each run is told of once, and no slot is
    /// lost.
    #[test]
    fn whatever_happens_a_slot_is_one_run_s_and_proven_and_comes_back_to_the_jobs(steps in story()) {
        let mut story = Story::new();
        for step in steps {
            story.perform(step)?;
        }
        story.comes_to_rest()?;
    }
}
