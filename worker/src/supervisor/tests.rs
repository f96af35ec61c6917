//! Plain calls, and every order of events that proptest can think of.

use super::*;
use proptest::prelude::*;

const DRAIN: Duration = Duration::from_secs(30);

const BOUNDS: Bounds = Bounds {
    drain: DRAIN,
    shares: LaneShares {
        interactive: 2,
        bulk: 1,
    },
    ahead: 2,
    breached: AfterBreach::Stay,
};

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn proven(slots: u16) -> SlotCounts {
    SlotCounts {
        proven: slots,
        ..SlotCounts::default()
    }
}

fn consuming(slots: u16) -> Supervisor {
    let mut supervisor = Supervisor::new(BOUNDS);
    assert!(
        supervisor
            .step(at(0), Event::WardenReady(proven(slots)))
            .is_empty()
    );
    feed(&mut supervisor, &[publish(DoorLink::Up)]);
    supervisor
}

fn publish(link: DoorLink) -> Event {
    let role = Role::Publish;
    Event::Door { role, link }
}

fn feed(supervisor: &mut Supervisor, events: &[Event]) {
    for event in events {
        assert_eq!(
            supervisor.step(at(1), *event),
            Vec::new(),
            "after {event:?}"
        );
    }
}

#[test]
fn no_job_is_taken_before_the_warden_is_ready() {
    let mut supervisor = Supervisor::new(BOUNDS);
    assert!(!supervisor.wants(Lane::Bulk));
    let ready = [Event::WardenReady(proven(1)), publish(DoorLink::Up)];
    feed(&mut supervisor, &ready);
    assert!(supervisor.wants(Lane::Bulk));
}

#[test]
fn no_job_is_taken_whose_result_nobody_would_take() {
    let mut supervisor = consuming(1);
    assert!(supervisor.wants(Lane::Bulk));
    for link in [DoorLink::Blocked, DoorLink::Down] {
        feed(&mut supervisor, &[publish(link)]);
        assert!(!supervisor.wants(Lane::Bulk), "{link:?}");
        feed(&mut supervisor, &[publish(DoorLink::Up)]);
        assert!(supervisor.wants(Lane::Bulk), "after {link:?}");
    }
}

#[test]
fn a_lane_takes_one_job_a_slot_of_its_share_and_the_few_ahead() {
    let mut supervisor = consuming(2);
    for _ in 0..3 {
        assert!(supervisor.wants(Lane::Bulk));
        feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    }
    assert!(!supervisor.wants(Lane::Bulk), "one slot and two ahead");
    assert!(
        supervisor.wants(Lane::Interactive),
        "the other lane has room of its own"
    );
    feed(&mut supervisor, &[Event::JobEnded(Lane::Bulk)]);
    assert!(supervisor.wants(Lane::Bulk));
}

#[test]
fn a_quarantined_slot_takes_no_job_until_it_was_rebuilt_and_proven() {
    let mut supervisor = consuming(1);
    let quarantined = SlotCounts {
        quarantined: 1,
        ..SlotCounts::default()
    };
    feed(&mut supervisor, &[Event::Slots(quarantined)]);
    assert!(!supervisor.wants(Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("no usable slot"));
    let rebuilt = SlotCounts {
        unproven: 1,
        ..SlotCounts::default()
    };
    feed(&mut supervisor, &[Event::Slots(rebuilt)]);
    assert!(!supervisor.wants(Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("no proven slot"));
    feed(&mut supervisor, &[Event::Slots(proven(1))]);
    assert!(supervisor.wants(Lane::Bulk));
}

#[test]
fn without_anybody_who_lets_canaries_fly_it_takes_no_more_jobs_and_leaves() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(2), Event::CanariesEnded),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert!(!supervisor.wants(Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("draining"));
    assert_eq!(
        supervisor.step(at(3), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::Broken)]
    );
}

#[test]
fn a_breach_is_not_forgotten_because_nobody_lets_canaries_fly_any_more() {
    let mut supervisor = consuming(1);
    assert_eq!(supervisor.step(at(2), Event::Escaped).len(), 3);
    feed(&mut supervisor, &[Event::CanariesEnded]);
    assert_eq!(
        supervisor.step(at(3), Event::StopAsked),
        [Effect::Leave(Ending::Breached)]
    );
}

#[test]
fn it_is_ready_only_with_both_doors_open_and_unblocked() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[publish(DoorLink::Down)]);
    assert!(supervisor.unready().is_some());
    feed(
        &mut supervisor,
        &[Event::Door {
            role: Role::Consume,
            link: DoorLink::Up,
        }],
    );
    assert_eq!(supervisor.unready(), Some("not connected for publishing"));
    feed(&mut supervisor, &[publish(DoorLink::Blocked)]);
    assert_eq!(supervisor.unready(), Some("the broker blocks publishing"));
    feed(&mut supervisor, &[publish(DoorLink::Up)]);
    assert_eq!(supervisor.unready(), None);
}

#[test]
fn an_idle_worker_leaves_at_once_when_asked() {
    let mut supervisor = consuming(1);
    assert_eq!(
        supervisor.step(at(5), Event::StopAsked),
        [
            Effect::StopIntake,
            Effect::HandBackUnstarted,
            Effect::Leave(Ending::Clean)
        ]
    );
}

#[test]
fn a_running_job_may_end_within_the_drain_budget() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::StopAsked),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert_eq!(supervisor.wake_at(), Some(at(35)));
    assert!(supervisor.step(at(34), Event::Tick).is_empty());
    assert_eq!(
        supervisor.step(at(34), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::Clean)]
    );
}

#[test]
fn past_the_drain_budget_running_jobs_are_killed_and_handed_back() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert_eq!(supervisor.step(at(35), Event::Tick), [Effect::KillRunning]);
    assert_eq!(
        supervisor.step(at(36), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::HandedBack)]
    );
}

#[test]
fn a_second_request_kills_at_once_and_a_third_leaves() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert_eq!(
        supervisor.step(at(6), Event::StopAsked),
        [Effect::KillRunning]
    );
    assert_eq!(
        supervisor.step(at(6), Event::StopAsked),
        [Effect::Leave(Ending::HandedBack)]
    );
}

#[test]
fn runs_that_do_not_come_back_cannot_keep_the_worker() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert!(!supervisor.step(at(6), Event::StopAsked).is_empty());
    let late = at(6) + KILL_GRACE;
    assert_eq!(
        supervisor.step(late, Event::Tick),
        [Effect::Leave(Ending::HandedBack)]
    );
}

#[test]
fn a_vanished_warden_stops_the_intake_and_says_so_at_the_end() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::WardenGone),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert!(!supervisor.wants(Lane::Bulk));
    assert_eq!(
        supervisor.step(at(5), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::WardenGone)]
    );
}

#[test]
fn a_warden_that_vanishes_during_a_drain_is_still_the_ending() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert!(supervisor.step(at(6), Event::WardenGone).is_empty());
    assert_eq!(
        supervisor.step(at(6), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::WardenGone)]
    );
}

#[test]
fn a_canary_that_got_out_ends_all_runs_and_the_worker_stays_to_tell_of_it() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::Escaped),
        [
            Effect::StopIntake,
            Effect::HandBackUnstarted,
            Effect::KillRunning
        ]
    );
    assert_eq!(supervisor.unready(), Some("a canary escaped"));
    assert!(!supervisor.wants(Lane::Bulk) && !supervisor.wants(Lane::Interactive));
    feed(&mut supervisor, &[Event::JobEnded(Lane::Bulk), Event::Tick]);
    assert_eq!(
        supervisor.step(at(500), Event::StopAsked),
        [Effect::Leave(Ending::Breached)]
    );
}

#[test]
fn where_nobody_can_look_a_breached_worker_leaves_as_soon_as_its_jobs_went_back() {
    let bounds = Bounds {
        breached: AfterBreach::Leave,
        ..BOUNDS
    };
    let mut supervisor = Supervisor::new(bounds);
    feed(
        &mut supervisor,
        &[Event::WardenReady(proven(1)), Event::JobTaken(Lane::Bulk)],
    );
    assert_eq!(supervisor.step(at(5), Event::Escaped).len(), 3);
    assert_eq!(
        supervisor.step(at(6), Event::JobEnded(Lane::Bulk)),
        [Effect::Leave(Ending::Breached)]
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let counts = || {
        let count = 0..4_u16;
        (count.clone(), count.clone(), count).prop_map(|(proven, unproven, quarantined)| {
            SlotCounts {
                proven,
                unproven,
                quarantined,
            }
        })
    };
    let link = prop_oneof![
        Just(DoorLink::Up),
        Just(DoorLink::Blocked),
        Just(DoorLink::Down)
    ];
    prop_oneof![
        1 => counts().prop_map(Event::WardenReady),
        1 => Just(Event::WardenGone),
        1 => counts().prop_map(Event::Slots),
        1 => (prop_oneof![Just(Role::Consume), Just(Role::Publish)], link)
            .prop_map(|(role, link)| Event::Door { role, link }),
        6 => lane().prop_map(Event::JobTaken),
        6 => lane().prop_map(Event::JobEnded),
        1 => Just(Event::Escaped),
        1 => Just(Event::CanariesEnded),
        1 => Just(Event::IntakeEnded),
        1 => Just(Event::StopAsked),
        1 => Just(Event::Tick),
    ]
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Interactive), Just(Lane::Bulk)]
}

fn count(lane: Lane, taken: &mut [usize; 2]) -> &mut usize {
    let [interactive, bulk] = taken;
    match lane {
        Lane::Interactive => interactive,
        Lane::Bulk => bulk,
    }
}

#[test]
fn whoever_has_no_patience_left_does_not_hide_why_the_worker_ends() {
    for (why, ending) in [
        (Event::Escaped, Ending::Breached),
        (Event::WardenGone, Ending::WardenGone),
        (Event::CanariesEnded, Ending::Broken),
    ] {
        let mut supervisor = consuming(1);
        feed(&mut supervisor, &[Event::JobTaken(Lane::Bulk)]);
        let mut last = supervisor.step(at(1), why);
        for _ in 0..3 {
            last.extend(supervisor.step(at(2), Event::StopAsked));
        }
        assert_eq!(last.last(), Some(&Effect::Leave(ending)), "{why:?}");
    }
}

proptest! {
    /// The loop honours `wants_job`, as `serve.rs` does; whatever else happens, in any order.
    #[test]
    fn whatever_happens_the_intake_is_stopped_once_and_before_the_worker_leaves(
        events in proptest::collection::vec((any_event(), 0..20_u64), 0..200)
    ) {
        let mut supervisor = Supervisor::new(BOUNDS);
        feed(&mut supervisor, &[publish(DoorLink::Up)]);
        let (mut now, mut taken, mut stops, mut leaves) = (Duration::ZERO, [0, 0], 0, 0);
        for (event, seconds) in events {
            now += Duration::from_secs(seconds);
            match event {
                Event::JobTaken(lane) if !supervisor.wants(lane) => continue,
                Event::JobTaken(lane) => *count(lane, &mut taken) += 1,
                Event::JobEnded(lane) if *count(lane, &mut taken) == 0 => continue,
                Event::JobEnded(lane) => *count(lane, &mut taken) -= 1,
                Event::WardenReady(_) | Event::WardenGone | Event::Slots(_)
                | Event::Door { .. } | Event::Escaped | Event::CanariesEnded | Event::IntakeEnded | Event::StopAsked
                | Event::Tick => {}
            }
            for effect in supervisor.step(now, event) {
                prop_assert_eq!(leaves, 0, "nothing follows leaving");
                match effect {
                    Effect::StopIntake => stops += 1,
                    Effect::HandBackUnstarted | Effect::KillRunning => prop_assert_eq!(stops, 1),
                    Effect::Leave(ending) => {
                        leaves += 1;
                        prop_assert_eq!(stops, 1, "left with open consumers");
                        if ending == Ending::Clean {
                            prop_assert_eq!(taken, [0, 0], "left jobs behind and called it clean");
                        }
                    }
                }
            }
            let wants = Lane::ALL.iter().any(|lane| supervisor.wants(*lane));
            prop_assert!(!(stops > 0 && wants), "wanted a job after stopping");
            prop_assert!(taken[0] <= 2 + 2 && taken[1] <= 1 + 2, "more than its share");
        }
        // A breached worker stays for whoever looks, and leaves when it is told to.
        if supervisor.phase() == Phase::Breached {
            let effects = supervisor.step(now, Event::StopAsked);
            prop_assert_eq!(effects, [Effect::Leave(Ending::Breached)]);
            return Ok(());
        }
        // Ticks alone bring a stopping worker to its end: nothing can hang it.
        if stops > 0 && leaves == 0 {
            for _ in 0..2 {
                let at = supervisor.wake_at().expect("a stopping worker waits for a moment");
                let effects = supervisor.step(at, Event::Tick);
                if effects.iter().any(|effect| matches!(effect, Effect::Leave(_))) {
                    leaves += 1;
                    break;
                }
            }
            prop_assert_eq!(leaves, 1);
        }
    }
}
