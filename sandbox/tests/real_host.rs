//! Trouble of the host: it is told apart from what a program does, it is no verdict, and the other slots go
//! on meanwhile.

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "support/witness.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod witness;

use fleet::Fleet;
use jailfleet::evidence::{Acted, End};
use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::units::{ByteCount, Millis};
use jailfleet::verdict::{Judged, judge};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use jailfleet_sandbox::protocol::{Order, Report};
use job::{Job, Seen, bash, python};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{read_to_string, write};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn judged(fleet: &Fleet, job: &Job<'_>, seen: &Seen) -> Judged {
    let (_, runtime) = fleet.runtime(job.runtime);
    judge(&seen.evidence, &fleet.limits_of(job), &runtime.program)
}

/// The file that limits the memory of all slots together, and what takes the limit away.
fn memory_of_all(fleet: &Fleet) -> (PathBuf, &'static str) {
    let own = fleet.cgroups().into_iter().flat_map(|base| {
        let entries = std::fs::read_dir(base).expect("it is there");
        entries.map(|entry| entry.expect("it can be read").path())
    });
    let files = own.flat_map(|own| {
        [
            (own.join("memory.limit_in_bytes"), "-1"),
            (own.join("memory.max"), "max"),
        ]
    });
    let mut there = files.filter(|(file, _)| file.exists());
    there.next().expect("the walls say that memory is limited")
}

#[test]
fn a_kill_for_want_of_memory_above_the_slot_is_no_verdict_on_the_run_that_the_kernel_chose() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    let (limit, no_limit) = memory_of_all(&fleet);
    // As a host that has less left than each of its slots may use.
    write(&limit, (64 << 20).to_string()).expect("it is a limit");
    let hog = python("x = [bytearray(b'x' * (1 << 20)) for _ in range(200)]\nprint('well')");
    let hog = hog.limits(|limits| {
        limits.memory_bytes = ByteCount::new(512 << 20).expect("above zero");
    });
    let seen = fleet.run(&hog);
    assert!(seen.evidence.oom_kills > 0, "{:?}", seen.evidence);
    let told = judged(&fleet, &hog, &seen);
    let code = told.error.map(|error| error.code);
    assert_eq!(
        (told.outcome, code),
        (Outcome::EngineFault, Some(ErrorCode::MemoryWithheld))
    );
    // Its own limit is the program's own doing, also right after that.
    write(&limit, no_limit).expect("it is one");
    let seen = fleet.run(&hog);
    assert_eq!(seen.out(), "well\n", "{:?}", seen.evidence);
    let small = hog.limits(|limits| {
        limits.memory_bytes = ByteCount::new(64 << 20).expect("above zero");
    });
    let seen = fleet.run(&small);
    let told = judged(&fleet, &small, &seen).outcome;
    assert_eq!(told, Outcome::MemoryLimit, "{:?}", seen.evidence);
    fleet.is_unharmed();
    fleet.stop();
}

/// A file of the group of the only slot, where its hierarchy has it.
fn of_the_slot(fleet: &Fleet, name: &str) -> Option<String> {
    let below = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let slots = fleet.cgroups().into_iter().flat_map(below).flat_map(below);
    let mut texts = slots.filter_map(|slot| read_to_string(slot.join(name)).ok());
    texts.next().map(|text| text.trim().to_owned())
}

#[test]
fn a_run_has_as_much_memory_as_its_limit_says_and_no_swap_beside_it() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    require!(CgroupMemory => fleet.walls.holds(Wall::CgroupMemory));
    // Up and down: version 1 takes its two limits in one order only.
    for mib in [64, 96, 48] {
        let bytes = ByteCount::new(mib << 20).expect("above zero");
        let job = bash("echo up; exec sleep 100");
        let going = fleet.order(0, &job.limits(move |limits| limits.memory_bytes = bytes));
        fleet.wait_for_output(&going);
        let limit = Some(bytes.get().to_string());
        match of_the_slot(&fleet, "memory.max") {
            Some(text) => {
                assert_eq!(Some(text), limit);
                let swap = of_the_slot(&fleet, "memory.swap.max");
                assert_eq!(swap.as_deref(), Some("0"));
            }
            None => {
                assert_eq!(of_the_slot(&fleet, "memory.limit_in_bytes"), limit);
                assert_eq!(of_the_slot(&fleet, "memory.memsw.limit_in_bytes"), limit);
            }
        }
        fleet.cancel(going);
    }
    fleet.stop();
}

fn oom_score(pid: &str) -> i32 {
    let score = read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives");
    score.trim().parse().expect("a number")
}

#[test]
fn when_the_hosts_memory_runs_out_programs_go_first_and_the_warden_and_the_inits_last() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&bash("echo $(< /proc/self/oom_score_adj)"));
    assert_eq!(seen.out(), "1000\n", "{}", seen.err());
    require!(SysResource);
    let warden = fleet.warden().pid();
    assert_eq!(oom_score(&warden.to_string()), -900);
    let inits = read_to_string(format!("/proc/{warden}/task/{warden}/children"));
    let inits = inits.expect("a list");
    assert!(!inits.trim().is_empty());
    for init in inits.split_whitespace() {
        assert_eq!(oom_score(init), -900);
    }
    fleet.stop();
}

/// A group of version 1 whose members neither run nor die while it is frozen: as stuck as in the kernel.
struct Freezer(PathBuf);

impl Freezer {
    const ROOT: &str = "/sys/fs/cgroup/freezer";

    fn of(pid: &str) -> Self {
        let folder = Path::new(Self::ROOT).join(format!("jailfleet-stuck-{pid}"));
        std::fs::create_dir(&folder).expect("a group");
        write(folder.join("cgroup.procs"), pid).expect("it is moved");
        let freezer = Self(folder);
        freezer.set("FROZEN");
        freezer
    }

    fn set(&self, state: &str) {
        let file = self.0.join("freezer.state");
        write(&file, state).expect("it is a state");
        while read_to_string(&file).expect("its state").trim() != state {
            std::thread::yield_now();
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.set("THAWED");
        // A member that is still dying keeps its group.
        while std::fs::remove_dir(&self.0).is_err() {
            std::thread::yield_now();
        }
    }
}

/// The init of the slot that was built last.
fn newest_init(fleet: &Fleet) -> String {
    let warden = fleet.warden().pid();
    let children = read_to_string(format!("/proc/{warden}/task/{warden}/children"));
    let children = children.expect("a list");
    let newest = children.split_whitespace().last();
    newest.expect("it has slots").to_owned()
}

#[test]
fn a_slot_that_is_stuck_in_the_kernel_is_quarantined_its_run_is_no_verdict_and_the_others_go_on() {
    require!(Root);
    require!(CgroupFreezer => Path::new(Freezer::ROOT).join("cgroup.procs").exists());
    let mut fleet = Fleet::start(2);
    // Which init is whose is seen by replacing one.
    let build = fleet.builds[1];
    fleet.send(&Order::Replace { build }, &[]);
    assert!(matches!(fleet.report(), Some(Report::Quarantined { .. })));
    assert_eq!(
        fleet.report(),
        Some(Report::Idle {
            build: build.next()
        })
    );
    fleet.builds[1] = build.next();
    let freezer = Freezer::of(&newest_init(&fleet));
    let lost = bash("echo never");
    let stuck = fleet.order(1, &lost);
    // Until the warden has no patience left with it, and after: a neighbour's runs are as ever.
    let mut neighbours = 0;
    let sleeper = bash("sleep 100").limits(|limits| {
        limits.wall_ms = Millis::new(300).expect("above zero");
    });
    while fleet.quarantined == 0 || neighbours < 3 {
        let seen = fleet.run(&sleeper);
        let (acted, had) = (seen.evidence.acted, seen.evidence.wall);
        assert_eq!(acted, Some(Acted::Wall), "{had:?}");
        assert!(had < Duration::from_millis(1300), "{had:?}");
        neighbours += usize::from(fleet.quarantined > 0);
    }
    assert!(
        !fleet.idle[1],
        "it cannot stand again before its init is gone"
    );
    drop(freezer);
    let seen = fleet.finish(stuck);
    assert_eq!(seen.evidence.end, End::Unstarted, "{:?}", seen.evidence);
    let told = judged(&fleet, &lost, &seen);
    assert_eq!(told.outcome, Outcome::EngineFault);
    assert_eq!(fleet.builds[1], build.next().next());
    assert_eq!(fleet.run_in(1, &bash("echo again")).out(), "again\n");
    fleet.stop();
}

/// The only process of that init's run.
fn program_of(init: &str) -> String {
    let children = read_to_string(format!("/proc/{init}/task/{init}/children"));
    let children = children.expect("a list");
    let mut children = children.split_whitespace();
    let program = children.next().expect("a program runs").to_owned();
    assert_eq!(children.next(), None, "it has no other");
    program
}

#[test]
fn a_program_that_waits_in_the_kernel_and_cannot_be_ended_gets_no_verdict_and_keeps_its_slot_out() {
    require!(Root);
    require!(CgroupFreezer => Path::new(Freezer::ROOT).join("cgroup.procs").exists());
    let mut fleet = Fleet::start(1);
    let job = bash("echo begun; exec sleep 100").limits(|limits| {
        limits.wall_ms = Millis::new(300).expect("above zero");
    });
    let going = fleet.order(0, &job);
    fleet.wait_for_output(&going);
    // As if a file system of the host did not answer what the program asked of it.
    let freezer = Freezer::of(&program_of(&newest_init(&fleet)));
    let mut evidence = None;
    while fleet.quarantined == 0 {
        match fleet.report() {
            Some(Report::Ended { evidence: seen, .. }) => evidence = Some(seen),
            Some(Report::Quarantined { .. }) => fleet.quarantined += 1,
            Some(Report::Started { .. }) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    let evidence = evidence.expect("the run has ended before its slot was given up");
    assert_eq!(
        (evidence.acted, evidence.end),
        (Some(Acted::Wall), End::Lost)
    );
    let seen = Seen {
        evidence,
        stdout: Vec::new(),
        stderr: Vec::new(),
        gathered: jailfleet_sandbox::artifacts::Gathered::default(),
    };
    let told = judged(&fleet, &job, &seen);
    assert_eq!(told.outcome, Outcome::EngineFault, "{told:?}");
    drop(freezer);
    let build = fleet.builds[0].next();
    assert_eq!(fleet.report(), Some(Report::Idle { build }));
    fleet.builds[0] = build;
    assert_eq!(fleet.run(&bash("echo again")).out(), "again\n");
    drop(going);
    fleet.stop();
}

/// A group of version 1 in which a slot has as little of the CPU as somebody wants to leave it.
struct Starved(PathBuf);

impl Starved {
    const ROOT: &str = "/sys/fs/cgroup/cpu";

    fn of(pid: &str) -> Self {
        let folder = Path::new(Self::ROOT).join(format!("jailfleet-starved-{pid}"));
        std::fs::create_dir(&folder).expect("a group");
        write(folder.join("cgroup.procs"), pid).expect("it is moved");
        Self(folder)
    }

    /// Microseconds in each tenth of a second; -1: all of it.
    fn leave(&self, microseconds: i32) {
        let quota = self.0.join("cpu.cfs_quota_us");
        write(quota, microseconds.to_string()).expect("it is a quota");
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let members = read_to_string(self.0.join("cgroup.procs")).expect("a list");
        for member in members.lines() {
            write(Path::new(Self::ROOT).join("cgroup.procs"), member).expect("it is moved");
        }
        std::fs::remove_dir(&self.0).expect("nobody is in it");
    }
}

#[test]
fn a_wall_limit_on_a_host_that_withholds_the_cpu_is_no_verdict() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    let before = fleet.run(&bash("echo up"));
    let given = Path::new(Starved::ROOT).join("cpu.cfs_quota_us").exists();
    require!(CpuQuota => given && before.evidence.pressure_full.is_some());
    let busy = bash("echo up; while :; do :; done").limits(|limits| {
        limits.cpu_ms = Millis::new(60_000).expect("above zero");
        limits.wall_ms = Millis::new(2_000).expect("above zero");
    });
    let starved = Starved::of(&newest_init(&fleet));
    let going = fleet.order(0, &busy);
    fleet.wait_for_output(&going);
    starved.leave(2_000);
    let seen = fleet.finish(going);
    starved.leave(-1);
    assert_eq!(
        seen.evidence.acted,
        Some(Acted::Wall),
        "{:?}",
        seen.evidence
    );
    let told = judged(&fleet, &busy, &seen);
    let code = told.error.map(|error| error.code);
    assert_eq!(
        (told.outcome, code),
        (Outcome::EngineFault, Some(ErrorCode::CpuWithheld)),
        "{:?}",
        seen.evidence
    );
    drop(starved);
    fleet.is_unharmed();
    fleet.stop();
}

/// A small disk of our own, which vanishes with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(kib: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("mode=0700,size={kib}k");
        let (name, kind) = (Some("jailfleet-test-disk"), Some("tmpfs"));
        let flags = MsFlags::empty();
        mount(name, folder.path(), kind, flags, Some(options.as_str())).expect("we are root");
        Self(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[test]
fn a_full_disk_under_the_leases_keeps_a_slot_out_until_there_is_room_and_costs_no_run() {
    require!(Root);
    let disk = Disk::of(128);
    let state = tempfile::tempdir_in(disk.0.path()).expect("a folder");
    let mut fleet = Fleet::start_in(state, 2, "");
    let full = disk.0.path().join("full");
    let mut filled = 0;
    while write(disk.0.path().join(format!("{filled}")), [0; 4096]).is_ok() {
        filled += 1;
    }
    write(&full, [0; 1]).expect_err("nothing fits any more");
    let build = fleet.builds[1];
    fleet.send(&Order::Replace { build }, &[]);
    assert!(matches!(fleet.report(), Some(Report::Quarantined { .. })));
    // The next uid needs a file of its own. The other slot has one, and needs no disk for its runs.
    for _ in 0..3 {
        fleet.is_unharmed();
    }
    fleet.idle[1] = false;
    for number in 0..=filled {
        // The last one may be there without its bytes.
        let removed = std::fs::remove_file(disk.0.path().join(format!("{number}")));
        assert!(removed.is_ok() || number == filled, "{removed:?}");
    }
    while !fleet.idle[1] {
        fleet.is_unharmed();
    }
    assert_eq!(fleet.run_in(1, &bash("echo room")).out(), "room\n");
    fleet.stop();
}
