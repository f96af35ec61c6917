//! Orders that a warden does not follow, though each could be sent by a worker that means well.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

use fleet::Fleet;
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};
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

/// A way to ask for one more of something than a ceiling has; where it has no end there is none.
type OneMore = fn(&mut Limits, &Limits) -> Option<()>;

macro_rules! one_more {
    ($unit:ident, $field:ident) => {
        (stringify!($field), |limits, top| {
            limits.$field = $unit::new(top.$field.get() + 1)?;
            Some(())
        })
    };
}

const ONE_MORE: [(&str, OneMore); 12] = [
    one_more!(Millis, cpu_ms),
    one_more!(Millis, wall_ms),
    one_more!(ByteCount, memory_bytes),
    ("address_space_bytes", |limits, top| {
        limits.address_space_bytes = ByteCount::new(top.address_space_bytes?.get() + 1);
        Some(())
    }),
    ("no address_space_bytes", |limits, top| {
        top.address_space_bytes?;
        limits.address_space_bytes = None;
        Some(())
    }),
    ("file_bytes", |limits, top| {
        limits.file_bytes = FileBytes::new(top.file_bytes.get() + 1);
        Some(())
    }),
    one_more!(ByteCount, disk_bytes),
    one_more!(Count, disk_files),
    one_more!(Count, processes),
    one_more!(Count, open_files),
    one_more!(ByteCount, output_bytes),
    one_more!(ByteCount, stack_bytes),
];

/// With an end for everything: the address space has none by default.
const WITH_ADDRESS_SPACE: &str = "[runtimes.bash.ceiling]\naddress_space_bytes = 4294967296\n";

#[test]
fn a_worker_lowers_every_limit_and_raises_none_above_its_ceiling() {
    let mut fleet = Fleet::configured(1, WITH_ADDRESS_SPACE);
    let (_, bash) = fleet.runtime("bash");
    let ceiling = bash.ceiling.0;
    assert!(
        ceiling.address_space_bytes.is_some(),
        "each limit has an end"
    );
    // All at the ceiling, and a little below it, is what a worker may ask for.
    let mut order_of = plan(&fleet, "bash", 6, Build::first(0));
    order_of.limits = ceiling;
    order_of.limits.wall_ms = Millis::new(ceiling.wall_ms.get() - 1).expect("above zero");
    order(&fleet, order_of, &four("echo x"));
    let started = fleet.report();
    assert!(
        matches!(started, Some(Report::Started { run: 6, .. })),
        "{started:?}"
    );
    let warden = fleet.warden.take().expect("it was not waited for");
    assert!(warden.wait().expect("its end").success());
    for (limit, more) in ONE_MORE {
        let fleet = Fleet::configured(1, WITH_ADDRESS_SPACE);
        let mut order_of = plan(&fleet, "bash", 7, Build::first(0));
        more(&mut order_of.limits, &ceiling).expect("the ceiling has an end");
        eprintln!("one more: {limit}");
        goes_astray(fleet, order_of, &four("echo x"));
    }
}

#[test]
fn a_runtime_that_the_warden_did_not_read_itself_is_none() {
    let fleet = Fleet::start(1);
    let mut order_of = plan(&fleet, "bash", 7, Build::first(0));
    order_of.runtime = u16::try_from(fleet.settings.runtimes.len()).expect("few runtimes");
    goes_astray(fleet, order_of, &four("echo x"));
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
