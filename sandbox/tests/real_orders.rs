//! Orders that a warden does not follow, though each could be sent by a worker that means well.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

use fleet::Fleet;
use jailfleet_sandbox::client::{output_pipe, sealed_memfd};
use jailfleet_sandbox::payload::{self, Payload};
use jailfleet_sandbox::protocol::{Build, Extras, JailPlan, Order, Refusal, Report, Residue};
use job::bash;
use std::os::fd::{AsFd, OwnedFd};

/// A run that the test itself orders, with the runtime's own limits.
fn plan(fleet: &Fleet, runtime: &str, run: u64, build: Build) -> JailPlan {
    let (index, found) = fleet.runtime(runtime);
    JailPlan {
        run,
        build,
        runtime: u16::try_from(index).expect("few runtimes"),
        limits: found.limits,
        extras: Extras::NONE,
    }
}

/// What every run has: payload, stdin, stdout, stderr. Nobody reads at the other ends.
fn four(code: &str) -> Vec<OwnedFd> {
    let payload = Payload {
        main: Some(code.as_bytes()),
        files: &[],
        argv: &[],
        env: &[],
    };
    let payload = payload::encode(&payload).expect("small");
    let memfd = |name, bytes: &[u8]| sealed_memfd(name, bytes).expect("a memfd");
    let output = || output_pipe().expect("a pipe").1;
    vec![
        memfd("payload", &payload),
        memfd("stdin", b""),
        output(),
        output(),
    ]
}

fn order(fleet: &Fleet, plan: JailPlan, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    fleet.send(&Order::Run(plan), &fds);
}

#[test]
fn a_run_ordered_for_walls_that_are_gone_is_refused_by_name_and_starts_nothing() {
    let mut fleet = Fleet::start(1);
    let (old, new) = (Build::first(0), Build::first(0).next());
    // The second is on its way before the warden's word of the first can be read.
    fleet.send(&Order::Replace { build: old }, &[]);
    order(&fleet, plan(&fleet, "bash", 1001, old), &four("echo x"));
    let refused = |run| Report::Refused {
        slot: 0,
        run,
        refusal: Refusal::OtherBuilding,
    };
    let residue = Residue::Canary;
    let quarantined = Report::Quarantined {
        build: old,
        residue,
    };
    assert_eq!(fleet.report(), Some(quarantined));
    assert_eq!(fleet.report(), Some(refused(1001)));
    assert_eq!(fleet.report(), Some(Report::Idle { build: new }));
    // The new building stands and is idle: one that means the old is refused all the same.
    order(&fleet, plan(&fleet, "bash", 1002, old), &four("echo x"));
    assert_eq!(fleet.report(), Some(refused(1002)));
    // And whoever doubted the old one has no business with this.
    fleet.send(&Order::Replace { build: old }, &[]);
    fleet.builds[0] = new;
    assert_eq!(fleet.run(&bash("echo here")).out(), "here\n");
    assert_eq!(fleet.quarantined, 0);
    fleet.stop();
}

/// What the warden ends with when its worker goes astray.
const WENT_ASTRAY: Option<i32> = Some(69);

/// Sends one more run, and waits until the warden has ended for it.
fn goes_astray(mut fleet: Fleet, plan: JailPlan, fds: &[OwnedFd]) {
    order(&fleet, plan, fds);
    // Until it closes its end of the socket: ours, closed before, would be an end that is no fault.
    while fleet.report().is_some() {}
    let warden = fleet.warden.take().expect("it was not waited for");
    let status = warden.wait().expect("its end");
    assert_eq!(status.code(), WENT_ASTRAY, "{status}");
}

#[test]
fn a_harness_is_for_runtimes_that_have_globals_and_for_no_other() {
    for (runtime, code) in [("bash", "echo x"), ("python", "print('x')")] {
        let fleet = Fleet::start(1);
        let (_, found) = fleet.runtime(runtime);
        let allowed = found.globals;
        let order_of = JailPlan {
            extras: Extras::NONE.with_harness(),
            ..plan(&fleet, runtime, 7, Build::first(0))
        };
        let mut fds = four(code);
        fds.push(sealed_memfd("given", b"").expect("a memfd"));
        fds.push(output_pipe().expect("a pipe").1);
        if allowed {
            order(&fleet, order_of, &fds);
            let started = fleet.report();
            assert!(
                matches!(started, Some(Report::Started { run: 7, .. })),
                "{started:?}"
            );
        } else {
            goes_astray(fleet, order_of, &fds);
        }
    }
}

#[test]
fn a_worker_that_orders_a_run_where_one_runs_or_in_no_slot_at_all_is_not_ours() {
    let mut fleet = Fleet::start(1);
    let going = fleet.order(0, &bash("echo up; sleep 60"));
    fleet.wait_for_output(&going);
    let again = plan(&fleet, "bash", 8, Build::first(0));
    goes_astray(fleet, again, &four("echo x"));
    let fleet = Fleet::start(1);
    let nowhere = plan(&fleet, "bash", 9, Build::first(1));
    goes_astray(fleet, nowhere, &four("echo x"));
}
