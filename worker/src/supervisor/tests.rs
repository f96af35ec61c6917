//! Plain calls, and every order of events that proptest can think of.

use super::*;
use proptest::prelude::*;

const DRAIN: Duration = Duration::from_secs(30);

const BOUNDS: Bounds = Bounds {
    drain: DRAIN,
    tenants: 2,
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
    door(Role::Publish, link)
}

const US: TenantIndex = TenantIndex(0);
const OTHERS: TenantIndex = TenantIndex(1);

fn door(role: Role, link: DoorLink) -> Event {
    let tenant = US;
    Event::Door { tenant, role, link }
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
    assert!(!supervisor.wants(US, Lane::Bulk));
    let ready = [Event::WardenReady(proven(1)), publish(DoorLink::Up)];
    feed(&mut supervisor, &ready);
    assert!(supervisor.wants(US, Lane::Bulk));
}

#[test]
fn no_job_is_taken_whose_result_nobody_would_take() {
    let mut supervisor = consuming(1);
    assert!(supervisor.wants(US, Lane::Bulk));
    for link in [DoorLink::Blocked, DoorLink::Down] {
        feed(&mut supervisor, &[publish(link)]);
        assert!(!supervisor.wants(US, Lane::Bulk), "{link:?}");
        feed(&mut supervisor, &[publish(DoorLink::Up)]);
        assert!(supervisor.wants(US, Lane::Bulk), "after {link:?}");
    }
}

#[test]
fn a_lane_takes_one_job_a_slot_of_its_share_and_the_few_ahead() {
    let mut supervisor = consuming(2);
    for _ in 0..3 {
        assert!(supervisor.wants(US, Lane::Bulk));
        feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    }
    assert!(!supervisor.wants(US, Lane::Bulk), "one slot and two ahead");
    assert!(
        supervisor.wants(US, Lane::Interactive),
        "the other lane has room of its own"
    );
    feed(&mut supervisor, &[Event::JobEnded(US, Lane::Bulk)]);
    assert!(supervisor.wants(US, Lane::Bulk));
}

#[test]
fn a_suspect_is_taken_where_there_is_room_whichever_lanes_a_worker_serves() {
    for (interactive, bulk) in [(1, 1), (0, 2), (2, 0)] {
        let mut bounds = BOUNDS;
        bounds.shares = LaneShares { interactive, bulk };
        let mut supervisor = Supervisor::new(bounds);
        feed(
            &mut supervisor,
            &[Event::WardenReady(proven(2)), publish(DoorLink::Up)],
        );
        assert!(supervisor.wants_suspect(US), "{interactive} and {bulk}");
        feed(&mut supervisor, &[publish(DoorLink::Down)]);
        assert!(!supervisor.wants_suspect(US), "{interactive} and {bulk}");
    }
}

#[test]
fn a_quarantined_slot_takes_no_job_until_it_was_rebuilt_and_proven() {
    let mut supervisor = consuming(1);
    let quarantined = SlotCounts {
        quarantined: 1,
        ..SlotCounts::default()
    };
    feed(&mut supervisor, &[Event::Slots(quarantined)]);
    assert!(!supervisor.wants(US, Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("no usable slot"));
    let rebuilt = SlotCounts {
        unproven: 1,
        ..SlotCounts::default()
    };
    feed(&mut supervisor, &[Event::Slots(rebuilt)]);
    assert!(!supervisor.wants(US, Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("no proven slot"));
    feed(&mut supervisor, &[Event::Slots(proven(1))]);
    assert!(supervisor.wants(US, Lane::Bulk));
}

#[test]
fn without_anybody_who_lets_canaries_fly_it_takes_no_more_jobs_and_leaves() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(2), Event::CanariesEnded),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert!(!supervisor.wants(US, Lane::Bulk));
    assert_eq!(supervisor.unready(), Some("draining"));
    assert_eq!(
        supervisor.step(at(3), Event::JobEnded(US, Lane::Bulk)),
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
    assert_eq!(supervisor.unserved(US), Some("not connected for consuming"));
    feed(&mut supervisor, &[door(Role::Consume, DoorLink::Up)]);
    assert_eq!(
        supervisor.unserved(US),
        Some("not connected for publishing")
    );
    feed(&mut supervisor, &[publish(DoorLink::Blocked)]);
    assert_eq!(
        supervisor.unserved(US),
        Some("the broker blocks publishing")
    );
    feed(&mut supervisor, &[publish(DoorLink::Up)]);
    assert_eq!(supervisor.unserved(US), None);
    assert_eq!(supervisor.unready(), None);
}

#[test]
fn trouble_of_one_tenant_takes_no_job_from_another() {
    let mut supervisor = consuming(2);
    assert!(!supervisor.wants(OTHERS, Lane::Bulk), "not connected yet");
    let role = Role::Publish;
    for tenant in [US, OTHERS] {
        let link = DoorLink::Up;
        feed(&mut supervisor, &[Event::Door { tenant, role, link }]);
    }
    // Ours pile up: they have had their runs, and nobody takes their results.
    while supervisor.wants(US, Lane::Bulk) {
        feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    }
    feed(&mut supervisor, &[publish(DoorLink::Blocked)]);
    for _ in 0..3 {
        assert!(supervisor.wants(OTHERS, Lane::Bulk));
        feed(&mut supervisor, &[Event::JobTaken(OTHERS, Lane::Bulk)]);
    }
    assert!(
        !supervisor.wants(OTHERS, Lane::Bulk),
        "its own room is full"
    );
    assert_eq!(supervisor.in_flight(), 6);
    feed(&mut supervisor, &[Event::JobEnded(OTHERS, Lane::Bulk)]);
    assert!(supervisor.wants(OTHERS, Lane::Bulk) && !supervisor.wants(US, Lane::Bulk));
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
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::StopAsked),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert_eq!(supervisor.wake_at(), Some(at(35)));
    assert!(supervisor.step(at(34), Event::Tick).is_empty());
    assert_eq!(
        supervisor.step(at(34), Event::JobEnded(US, Lane::Bulk)),
        [Effect::Leave(Ending::Clean)]
    );
}

#[test]
fn past_the_drain_budget_running_jobs_are_killed_and_handed_back() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert_eq!(supervisor.step(at(35), Event::Tick), [Effect::KillRunning]);
    assert_eq!(
        supervisor.step(at(36), Event::JobEnded(US, Lane::Bulk)),
        [Effect::Leave(Ending::HandedBack)]
    );
}

#[test]
fn a_second_request_kills_at_once_and_a_third_leaves() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
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
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
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
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::WardenGone),
        [Effect::StopIntake, Effect::HandBackUnstarted]
    );
    assert!(!supervisor.wants(US, Lane::Bulk));
    assert_eq!(
        supervisor.step(at(5), Event::JobEnded(US, Lane::Bulk)),
        [Effect::Leave(Ending::WardenGone)]
    );
}

#[test]
fn a_warden_that_vanishes_during_a_drain_is_still_the_ending() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert!(!supervisor.step(at(5), Event::StopAsked).is_empty());
    assert!(supervisor.step(at(6), Event::WardenGone).is_empty());
    assert_eq!(
        supervisor.step(at(6), Event::JobEnded(US, Lane::Bulk)),
        [Effect::Leave(Ending::WardenGone)]
    );
}

#[test]
fn a_canary_that_got_out_ends_all_runs_and_the_worker_stays_to_tell_of_it() {
    let mut supervisor = consuming(1);
    feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
    assert_eq!(
        supervisor.step(at(5), Event::Escaped),
        [
            Effect::StopIntake,
            Effect::HandBackUnstarted,
            Effect::KillRunning
        ]
    );
    assert_eq!(supervisor.unready(), Some("a canary escaped"));
    assert!(!supervisor.wants(US, Lane::Bulk) && !supervisor.wants(US, Lane::Interactive));
    feed(
        &mut supervisor,
        &[Event::JobEnded(US, Lane::Bulk), Event::Tick],
    );
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
        &[
            Event::WardenReady(proven(1)),
            Event::JobTaken(US, Lane::Bulk),
        ],
    );
    assert_eq!(supervisor.step(at(5), Event::Escaped).len(), 3);
    assert_eq!(
        supervisor.step(at(6), Event::JobEnded(US, Lane::Bulk)),
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
            .prop_map(|(role, link)| door(role, link)),
        6 => of_a_lane().prop_map(|(tenant, lane)| Event::JobTaken(tenant, lane)),
        6 => of_a_lane().prop_map(|(tenant, lane)| Event::JobEnded(tenant, lane)),
        1 => Just(Event::Escaped),
        1 => Just(Event::CanariesEnded),
        1 => Just(Event::IntakeEnded),
        1 => Just(Event::StopAsked),
        1 => Just(Event::Tick),
    ]
}

fn of_a_lane() -> impl Strategy<Value = (TenantIndex, Lane)> {
    let tenant = prop_oneof![Just(US), Just(OTHERS)];
    (
        tenant,
        prop_oneof![Just(Lane::Interactive), Just(Lane::Bulk)],
    )
}

/// Jobs taken, by tenants, those of the interactive lane first.
type Taken = [[usize; 2]; 2];

fn count(tenant: TenantIndex, lane: Lane, taken: &mut Taken) -> &mut usize {
    let [interactive, bulk] = &mut taken[tenant.0];
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
        feed(&mut supervisor, &[Event::JobTaken(US, Lane::Bulk)]);
        let mut last = supervisor.step(at(1), why);
        for _ in 0..3 {
            last.extend(supervisor.step(at(2), Event::StopAsked));
        }
        assert_eq!(last.last(), Some(&Effect::Leave(ending)), "{why:?}");
    }
}

/// What may happen to the intake of two tenants.
#[derive(Debug, Clone, Copy)]
enum Taking {
    /// The loop asks for a job of this lane, and gets one.
    Job(TenantIndex, Lane),
    /// For a suspect, which keeps the lane that it came from.
    Suspect(TenantIndex, Lane),
    Ends(TenantIndex, Lane),
    Publishes(TenantIndex, DoorLink),
    Slots(u16),
}

fn taking() -> impl Strategy<Value = Taking> {
    let link = prop_oneof![
        3 => Just(DoorLink::Up),
        1 => Just(DoorLink::Blocked),
        1 => Just(DoorLink::Down)
    ];
    let tenant = prop_oneof![Just(US), Just(OTHERS)];
    prop_oneof![
        6 => of_a_lane().prop_map(|(tenant, lane)| Taking::Job(tenant, lane)),
        2 => of_a_lane().prop_map(|(tenant, lane)| Taking::Suspect(tenant, lane)),
        4 => of_a_lane().prop_map(|(tenant, lane)| Taking::Ends(tenant, lane)),
        2 => (tenant, link).prop_map(|(tenant, link)| Taking::Publishes(tenant, link)),
        1 => (0..4_u16).prop_map(Taking::Slots),
    ]
}

/// The event, where the loop may bring it about.
fn brought_about(taking: Taking, supervisor: &Supervisor, taken: &mut Taken) -> Option<Event> {
    match taking {
        Taking::Job(tenant, lane) => supervisor
            .wants(tenant, lane)
            .then_some(Event::JobTaken(tenant, lane)),
        Taking::Suspect(tenant, lane) => supervisor
            .wants_suspect(tenant)
            .then_some(Event::JobTaken(tenant, lane)),
        Taking::Ends(tenant, lane) => {
            (*count(tenant, lane, taken) > 0).then_some(Event::JobEnded(tenant, lane))
        }
        Taking::Publishes(tenant, link) => {
            let role = Role::Publish;
            Some(Event::Door { tenant, role, link })
        }
        Taking::Slots(slots) => Some(Event::Slots(proven(slots))),
    }
}

const fn whose(event: Event) -> Option<TenantIndex> {
    match event {
        Event::JobTaken(tenant, _) | Event::JobEnded(tenant, _) | Event::Door { tenant, .. } => {
            Some(tenant)
        }
        Event::WardenReady(_)
        | Event::WardenGone
        | Event::Slots(_)
        | Event::Escaped
        | Event::CanariesEnded
        | Event::IntakeEnded
        | Event::StopAsked
        | Event::Tick => None,
    }
}

proptest! {
    /// A tenant alone on its own worker, with the same slots, would be asked for the same jobs. And whoever has
    /// nothing in hand, a slot and somebody who takes results is asked for a job of each lane that is served,
    /// and for a suspect.
    #[test]
    fn what_one_tenant_has_in_hand_takes_no_job_from_another_and_no_lane_is_forgotten(
        interactive in 0..3_usize,
        bulk in 0..3_usize,
        story in proptest::collection::vec(taking(), 0..100),
    ) {
        let shares = LaneShares { interactive, bulk };
        let bounds = Bounds { shares, ..BOUNDS };
        let (mut both, mut alone) = (Supervisor::new(bounds), Supervisor::new(bounds));
        let mut taken: Taken = [[0; 2]; 2];
        let ready = Event::WardenReady(proven(2));
        feed(&mut both, &[ready]);
        feed(&mut alone, &[ready]);
        let (mut slots, mut link) = (2, DoorLink::Down);
        for taking in story {
            let Some(event) = brought_about(taking, &both, &mut taken) else { continue };
            match taking {
                Taking::Job(tenant, lane) | Taking::Suspect(tenant, lane) => *count(tenant, lane, &mut taken) += 1,
                Taking::Ends(tenant, lane) => *count(tenant, lane, &mut taken) -= 1,
                Taking::Publishes(tenant, now) if tenant == OTHERS => link = now,
                Taking::Publishes(..) => {}
                Taking::Slots(now) => slots = now,
            }
            feed(&mut both, &[event]);
            if whose(event) != Some(US) {
                feed(&mut alone, &[event]);
            }
            let free = taken[OTHERS.0] == [0, 0] && slots > 0 && link == DoorLink::Up;
            for (lane, share) in [(Lane::Interactive, interactive), (Lane::Bulk, bulk)] {
                prop_assert_eq!(both.wants(OTHERS, lane), alone.wants(OTHERS, lane));
                prop_assert!(!free || both.wants(OTHERS, lane) == (share > 0), "{:?}", lane);
            }
            prop_assert_eq!(both.wants_suspect(OTHERS), alone.wants_suspect(OTHERS));
            let served = interactive + bulk > 0;
            prop_assert!(!free || both.wants_suspect(OTHERS) == served, "a suspect waits for ever");
            prop_assert_eq!(both.in_flight(), taken.iter().flatten().sum::<usize>());
        }
    }
}

proptest! {
    /// The loop honours `wants_job`, as `serve.rs` does; whatever else happens, in any order.
    #[test]
    fn whatever_happens_the_intake_is_stopped_once_and_before_the_worker_leaves(
        events in proptest::collection::vec((any_event(), 0..20_u64), 0..200)
    ) {
        let mut supervisor = Supervisor::new(BOUNDS);
        let (tenant, role, link) = (OTHERS, Role::Publish, DoorLink::Up);
        feed(&mut supervisor, &[publish(link), Event::Door { tenant, role, link }]);
        let mut taken: Taken = [[0; 2]; 2];
        let (mut now, mut stops, mut leaves) = (Duration::ZERO, 0, 0);
        for (event, seconds) in events {
            now += Duration::from_secs(seconds);
            match event {
                Event::JobTaken(tenant, lane) if !supervisor.wants(tenant, lane) => continue,
                Event::JobTaken(tenant, lane) => *count(tenant, lane, &mut taken) += 1,
                Event::JobEnded(tenant, lane) if *count(tenant, lane, &mut taken) == 0 => continue,
                Event::JobEnded(tenant, lane) => *count(tenant, lane, &mut taken) -= 1,
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
                            prop_assert_eq!(taken, [[0; 2]; 2], "left jobs behind and called it clean");
                        }
                    }
                }
            }
            for ([interactive, bulk], tenant) in taken.into_iter().zip([US, OTHERS]) {
                let wants = Lane::ALL.iter().any(|lane| supervisor.wants(tenant, *lane));
                prop_assert!(!(stops > 0 && wants), "wanted a job after stopping");
                prop_assert!(interactive <= 2 + 2 && bulk <= 1 + 2, "more than its share");
            }
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
