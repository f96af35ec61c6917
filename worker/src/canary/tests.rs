//! Canaries of a worker whose warden is played by the test, word by word.

use super::misses::{MOST_BUILDINGS, MOST_MISSES};
use super::*;
use crate::slots::Rooms;
use crate::tenancy::ALONE;
use futures_util::FutureExt;
use jailfleet::evidence::{End, Evidence};
use jailfleet::job::Lane;
use jailfleet::settings::{LaneShares, worker_settings};
use jailfleet_sandbox::protocol::{
    DATAGRAM_BYTES, JailPlan, Order, Refusal, Report, Residue, Walls,
};
use jailfleet_sandbox::sys::message::receive;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

const DIGEST: [u8; 32] = [7; 32];
/// More than any answer takes here.
const LONG: Duration = Duration::from_secs(20);

/// The test's side of the socket.
struct Played(AsyncFd<OwnedFd>);

impl Played {
    async fn order(&self) -> (Order, Vec<OwnedFd>) {
        let taking = self.0.async_io(Interest::READABLE, |socket| {
            let mut bytes = [0; DATAGRAM_BYTES];
            let message = receive(socket.as_fd(), &mut bytes)?;
            Ok((Order::decode(&bytes), message.fds))
        });
        let taken = timeout(LONG, taking).await.expect("an order in time");
        let (order, fds) = taken.expect("the socket is open");
        (order.expect("an order"), fds)
    }

    async fn run(&self) -> (JailPlan, Vec<OwnedFd>) {
        match self.order().await {
            (Order::Run(plan), fds) => (plan, fds),
            (other, _) => panic!("a run, not {other:?}"),
        }
    }

    fn say(&self, report: &Report) {
        let (socket, flags) = (self.0.get_ref().as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        send(socket, &report.encode(), flags).expect("there is room");
    }

    fn end(&self, plan: &JailPlan, end: End) {
        self.say(&Report::Ended {
            slot: plan.build.slot,
            run: plan.run,
            evidence: Evidence {
                end,
                ..Evidence::LOST
            },
        });
        self.say(&Report::Idle { build: plan.build });
    }

    /// Answers a run as a canary whose every attempt failed.
    fn hold(&self, plan: &JailPlan, fds: Vec<OwnedFd>) {
        nix::unistd::write(&fds[2], b"done\n").expect("the worker reads");
        drop(fds);
        self.end(plan, End::Exited(0));
    }

    fn rebuild(&self, build: Build) {
        let residue = Residue::InitLost;
        self.say(&Report::Quarantined { build, residue });
        self.say(&Report::Idle {
            build: build.next(),
        });
    }
}

struct Stage {
    canaries: Canaries,
    slots: Slots,
    warden: Played,
    /// Reads what the played warden says.
    _reports: JoinSet<()>,
}

async fn stage(count: u16) -> Stage {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
    let (ours, theirs) = pair.expect("a pair");
    #[expect(
        deprecated,
        reason = "the successor is unsafe, for types that may close their descriptor early"
    )]
    let warden = Played(AsyncFd::new(theirs).expect("watchable"));
    warden.say(&Report::Ready {
        slot_count: count,
        walls: Walls::default(),
        config_digest: DIGEST,
    });
    let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new().expect("metrics")));
    let shares = LaneShares {
        interactive: 1,
        bulk: usize::from(count),
    };
    let greeting = Slots::greet(
        ours,
        DIGEST,
        Rooms::new(shares, &[1]),
        clock,
        Arc::clone(&metrics),
    );
    let (slots, _) = greeting.await.expect("it is ready");
    assert!(matches!(warden.order().await.0, Order::Hello { .. }));
    let (routed, (events, _)) = (slots.clone(), mpsc::channel(64));
    let mut reports = JoinSet::new();
    reports.spawn(async move { routed.route(events).await });
    let settings = Arc::new(worker_settings(None, &[], &[]).expect("the defaults are good"));
    let offer = Offer::survey(&settings).expect("nothing is required");
    let in_slots = (slots.clone(), count);
    let canaries = Canaries::new(settings, &offer, in_slots, metrics, clock);
    assert!(canaries.can_fly(), "this host has a bash");
    Stage {
        canaries,
        slots,
        warden,
        _reports: reports,
    }
}

#[tokio::test]
async fn a_start_does_not_wait_for_ever_for_canaries_that_do_not_come_back() {
    let mut stage = stage(2).await;
    stage.canaries.proving = Duration::from_millis(20);
    let proven = stage.canaries.prove_all().await;
    assert!(matches!(proven, Err(CanaryError::Unproven)), "{proven:?}");
    assert!(
        stage
            .slots
            .lease(ALONE, Lane::Bulk)
            .now_or_never()
            .is_none()
    );
}

#[tokio::test]
async fn a_worker_starts_with_the_slots_that_are_proven_and_no_job_gets_another() {
    let mut stage = stage(3).await;
    let mut counts = stage.slots.counts();
    let playing = async {
        let (mut silent, mut replaced, mut kept) = (0, 0, HashMap::new());
        while replaced < MOST_BUILDINGS {
            match stage.warden.order().await {
                (Order::Run(plan), _) if plan.build.slot == 0 => {
                    silent += 1;
                    stage.warden.end(&plan, End::Exited(1));
                }
                // Kept in the air, so that the start goes on for as long as the other is tried.
                (Order::Run(plan), fds) => drop(kept.insert(plan.build.slot, (plan, fds))),
                (Order::Replace { build }, _) => {
                    replaced += 1;
                    stage.warden.rebuild(build);
                }
                (other, _) => panic!("unasked for: {other:?}"),
            }
        }
        // One after the other: by the time that the first is proven, the last rebuilding was heard.
        for (slot, proven) in [(1, 1), (2, 2)] {
            let (plan, fds) = kept.remove(&slot).expect("each slot was tried");
            stage.warden.hold(&plan, fds);
            let booked = counts.wait_for(|counts| counts.proven == proven).await;
            drop(booked.expect("it was heard"));
        }
        silent
    };
    let starting = async { tokio::join!(stage.canaries.prove_all(), playing) };
    let started = timeout(LONG, starting).await;
    let (proven, silent) = started.expect("no more canaries than that in one slot");
    proven.expect("two are enough to begin");
    assert_eq!(silent, usize::from(MOST_MISSES) * MOST_BUILDINGS);
    let mut leases = Vec::new();
    for _ in 0..2 {
        let lease = stage
            .slots
            .lease(ALONE, Lane::Bulk)
            .await
            .expect("a proven slot");
        assert_ne!(lease.place().slot, 0);
        assert!(lease.place().proven.is_some());
        leases.push(lease);
    }
    assert!(
        stage
            .slots
            .lease(ALONE, Lane::Bulk)
            .now_or_never()
            .is_none()
    );
}

#[tokio::test]
async fn a_slot_that_is_replaced_during_the_start_gets_tries_of_its_own() {
    let mut stage = stage(2).await;
    let playing = async {
        let (mut silent, mut other) = (0, None);
        loop {
            match stage.warden.order().await {
                (Order::Run(plan), fds) if plan.build.slot == 1 => other = Some((plan, fds)),
                (Order::Run(plan), _) if silent < MOST_MISSES => {
                    silent += 1;
                    stage.warden.end(&plan, End::Exited(1));
                }
                (Order::Run(plan), fds) => break stage.warden.hold(&plan, fds),
                (Order::Replace { build }, _) => stage.warden.rebuild(build),
                (order, _) => panic!("unasked for: {order:?}"),
            }
        }
        let (plan, fds) = other.expect("both slots were tried");
        stage.warden.hold(&plan, fds);
    };
    let (proven, ()) = tokio::join!(stage.canaries.prove_all(), playing);
    proven.expect("both came back");
    assert_eq!(stage.slots.counts().borrow().proven, 2);
}

#[tokio::test]
async fn a_slot_that_could_not_be_rebuilt_at_once_gets_its_canaries_when_it_stands() {
    let mut stage = stage(1).await;
    let mut counts = stage.slots.counts();
    let mut build = Build::first(0);
    for _ in 0..=MOST_BUILDINGS {
        let residue = Residue::Build;
        stage.warden.say(&Report::Quarantined { build, residue });
        build = build.next();
    }
    let heard = timeout(LONG, counts.wait_for(|counts| counts.quarantined == 1));
    drop(heard.await.expect("in time").expect("it was heard"));
    stage.warden.say(&Report::Idle { build });
    let stands = timeout(LONG, counts.wait_for(|counts| counts.unproven == 1));
    drop(stands.await.expect("in time").expect("it was heard"));
    let playing = async {
        let (plan, fds) = stage.warden.run().await;
        assert_eq!(plan.build, build);
        stage.warden.hold(&plan, fds);
    };
    let (proven, ()) = tokio::join!(stage.canaries.prove_all(), playing);
    proven.expect("nothing flew in the buildings before it");
}

#[tokio::test]
async fn a_slot_whose_canary_is_back_and_was_not_heard_yet_gets_no_second_one() {
    let mut stage = stage(2).await;
    let mut counts = stage.slots.counts();
    let playing = async {
        let (plan, fds) = stage.warden.run().await;
        let (other, _in_the_air) = stage.warden.run().await;
        nix::unistd::write(&fds[2], b"done\n").expect("the worker reads");
        stage.warden.end(&plan, End::Exited(0));
        // What the worker hears after that, and shows: by then it has booked that the slot is idle.
        stage.warden.say(&Report::Quarantined {
            build: other.build,
            residue: Residue::InitLost,
        });
        let heard = timeout(LONG, counts.wait_for(|counts| counts.quarantined == 1));
        drop(heard.await.expect("in time").expect("it was heard"));
        // The slot is free again, and only now what the canary said can be read to its end.
        drop(fds);
    };
    let (proven, ()) = tokio::join!(stage.canaries.prove_all(), playing);
    proven.expect("it came back");
    let another = stage.warden.order().now_or_never();
    assert!(another.is_none(), "{another:?}");
}

#[tokio::test]
async fn no_job_gets_a_rebuilt_slot_before_its_own_canary_came_back() {
    let Stage {
        mut canaries,
        slots,
        warden,
        _reports,
    } = stage(1).await;
    let playing = async {
        let (plan, fds) = warden.run().await;
        warden.hold(&plan, fds);
    };
    let (proven, ()) = tokio::join!(canaries.prove_all(), playing);
    proven.expect("the canary came back");
    drop(slots.lease(ALONE, Lane::Bulk).await.expect("it is proven"));

    warden.rebuild(Build::first(0));
    let mut counts = slots.counts();
    let rebuilt = timeout(LONG, counts.wait_for(|counts| counts.unproven == 1));
    let rebuilt = rebuilt.await.expect("no job may have it");
    drop(rebuilt.expect("it was heard"));
    assert!(slots.lease(ALONE, Lane::Bulk).now_or_never().is_none());

    let (events, _heard) = mpsc::channel(1);
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    watching.spawn(canaries.watch(events, stop.clone()));
    let (plan, fds) = warden.run().await;
    assert!(slots.lease(ALONE, Lane::Bulk).now_or_never().is_none());
    warden.hold(&plan, fds);
    let lease = slots
        .lease(ALONE, Lane::Bulk)
        .await
        .expect("it is proven now");
    assert!(lease.place().proven.is_some());
    stop.cancel();
    watching.join_next().await.expect("one").expect("no panic");
}

/// Lets a canary be due in some slot as often as an operator can ask for.
fn in_haste(canaries: &mut Canaries) {
    let settings = Arc::get_mut(&mut canaries.settings).expect("nobody else has them");
    settings.worker.canary_interval_s = 1;
}

#[tokio::test]
async fn canaries_that_are_due_do_not_starve_a_slot_that_waits_for_one() {
    let Stage {
        mut canaries,
        slots,
        warden,
        _reports,
    } = stage(4).await;
    in_haste(&mut canaries);
    assert!(canaries.every() < AGAIN, "else they could not");
    let (events, _heard) = mpsc::channel(1);
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    watching.spawn(canaries.watch(events, stop.clone()));
    // In vain, so that the next one waits; and as no slot is proven, none is there for those due.
    let (plan, _) = warden.run().await;
    warden.end(&plan, End::Exited(1));
    let (plan, fds) = warden.run().await;
    warden.hold(&plan, fds);
    slots
        .lease(ALONE, Lane::Bulk)
        .await
        .expect("it is proven now");
    drop(watching);
}

#[tokio::test]
async fn a_job_that_waits_does_not_get_the_slot_whose_canary_just_failed() {
    let Stage {
        mut canaries,
        slots,
        warden,
        _reports,
    } = stage(2).await;
    let playing = async {
        for _ in 0..2 {
            let (plan, fds) = warden.run().await;
            warden.hold(&plan, fds);
        }
    };
    let (proven, ()) = tokio::join!(canaries.prove_all(), playing);
    proven.expect("the canaries came back");
    let busy = slots.lease(ALONE, Lane::Bulk).await.expect("it is proven");
    let mut counts = slots.counts();

    in_haste(&mut canaries);
    let (events, _heard) = mpsc::channel(1);
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    watching.spawn(canaries.watch(events, stop.clone()));
    let (plan, fds) = warden.run().await;
    let mut job = std::pin::pin!(slots.lease(ALONE, Lane::Bulk));
    assert!(job.as_mut().now_or_never().is_none(), "the canary has it");
    // The slot is swept before the canary is understood: its output stays open for so long.
    warden.end(&plan, End::Exited(1));
    warden.say(&Report::Quarantined {
        build: busy.build(),
        residue: Residue::InitLost,
    });
    let heard = timeout(LONG, counts.wait_for(|counts| counts.quarantined == 1));
    drop(heard.await.expect("in time").expect("it was heard"));
    assert!(job.as_mut().now_or_never().is_none(), "a job got it");
    drop(fds);
    let (plan, fds) = warden.run().await;
    assert!(job.as_mut().now_or_never().is_none(), "a job got it");
    warden.hold(&plan, fds);
    let lease = timeout(LONG, job).await.expect("the job is woken");
    assert!(lease.expect("it is proven again").place().proven.is_some());
    drop(watching);
}

#[tokio::test]
async fn a_run_that_meets_another_building_than_it_was_ordered_for_is_trouble_of_ours() {
    let Stage {
        mut canaries,
        slots,
        warden,
        _reports,
    } = stage(1).await;
    let lease = slots.lease_unproven().await.expect("it waits for one");
    let build = lease.build();
    let playing = async {
        let (plan, fds) = warden.run().await;
        assert_eq!(plan.build, build);
        // It crossed the warden's word of the quarantine.
        warden.rebuild(build);
        warden.say(&Report::Refused {
            slot: build.slot,
            run: plan.run,
            refusal: Refusal::OtherBuilding,
        });
        drop(fds);
    };
    let flight = canaries.flight();
    let (sang, ()) = tokio::join!(flight.fly(lease), playing);
    let Sang::Silent(why) = sang else {
        panic!("it said {sang:?} of walls that it never met");
    };
    assert!(why.contains("rebuilt meanwhile"), "{why}");
    let next = slots.lease_unproven().await.expect("it stands again");
    assert_eq!(next.build(), build.next());
}

#[tokio::test]
async fn a_canary_that_breaks_off_is_heard_and_proves_nothing() {
    let mut flights = Flights::default();
    let build = Build { slot: 3, number: 1 };
    flights
        .0
        .spawn(build, async { panic!("a mistake of ours") });
    let Some((of, Sang::Silent(why))) = flights.next().await else {
        panic!("it says nothing of use");
    };
    assert_eq!(of, build);
    assert!(why.starts_with("it broke off"), "{why}");
    assert!(flights.is_empty());
}
