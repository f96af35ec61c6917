//! A worker that was taken over talks to the warden: whatever it says, with whatever descriptors, the
//! warden neither crashes nor lets a process run outside a jail, and leaves nothing behind.
//!
//! Five seconds long; `JAILFLEET_HOSTILE_SECONDS` makes it longer, `JAILFLEET_HOSTILE_SEED` repeats one.
#![expect(
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly should fail there"
)]

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "support/witness.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod witness;

use fleet::Fleet;
use jailfleet::evidence::Acted;
use jailfleet::units::{ByteCount, Count, Millis};
use jailfleet_harness::require;
use jailfleet_sandbox::artifacts::WANTED_MAGIC;
use jailfleet_sandbox::client::{self, output_pipe, sealed_memfd};
use jailfleet_sandbox::payload::{self, Payload};
use jailfleet_sandbox::protocol::{Build, DATAGRAM_BYTES, Extras, JailPlan, Order};
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// Nothing in this test takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the warden ends with when its worker goes astray.
const WENT_ASTRAY: i32 = 69;
const SLOTS: u16 = 2;
/// A warden that takes everything is replaced after so many orders.
const ORDERS_A_WARDEN: usize = 60;

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // SplitMix64: three lines, and good enough to wander about.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    fn small(&mut self, sides: u16) -> u16 {
        u16::try_from(self.below(u64::from(sides))).expect("it is below")
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }
}

#[test]
fn whatever_a_worker_says_no_process_leaves_a_jail_and_the_warden_never_crashes() {
    require!(Root);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("JAILFLEET_HOSTILE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seconds = number("JAILFLEET_HOSTILE_SECONDS").unwrap_or(5);
    let until = jailfleet_sandbox::clock::now() + Duration::from_secs(seconds);
    let mut dice = Dice(seed);
    let (mut wardens, mut orders, mut programs) = (0, 0, 0);
    // What a warden abandons becomes ours, and is looked at.
    set_child_subreaper(true).expect("always allowed");
    while jailfleet_sandbox::clock::now() < until {
        wardens += 1;
        orders += one_warden(&mut dice, seed, &mut programs);
    }
    eprintln!("seed {seed}: {orders} orders to {wardens} wardens, {programs} looks at programs");
    assert!(orders > 0);
    assert!(programs > 0, "no program was ever seen in a jail");
}

/// Talks to one warden until it has had enough, or we have; how many orders it was given. Counts how often a
/// program was seen in a jail.
fn one_warden(dice: &mut Dice, seed: u64, programs: &mut usize) -> usize {
    let mut fleet = Fleet::start(usize::from(SLOTS) + 1);
    // By chance hardly any order comes as far as a program. So one runs beside whatever is said, and is seen.
    let (bytes, fds) = a_program(&fleet);
    assert!(send(&fleet, &bytes, &fds), "seed {seed}: a good order");
    let deadline = jailfleet_sandbox::clock::now() + PATIENCE;
    while assert_jailed(&fleet, seed) == 0 {
        assert!(
            jailfleet_sandbox::clock::now() < deadline,
            "seed {seed}: no program runs"
        );
        std::thread::yield_now();
    }
    let mut given = 0;
    while given < ORDERS_A_WARDEN {
        let extras = extras(dice);
        let bytes = words(dice, &fleet, extras);
        let fds = descriptors(dice, extras);
        if !send(&fleet, &bytes, &fds) {
            break; // It has ended.
        }
        given += 1;
        // Reports are taken now and then only: a hostile worker need not read.
        if dice.one_in(3) {
            while let Ok(Some(_)) = client::receive(fleet.warden().socket()) {}
        }
        *programs += assert_jailed(&fleet, seed);
    }
    let warden = fleet.warden.take().expect("it was not waited for");
    let status = warden.wait().expect("it is our child");
    assert!(
        matches!(status.code(), Some(0 | WENT_ASTRAY)) && status.signal().is_none(),
        "seed {seed}: the warden ended with {status}"
    );
    nobody_is_left(seed);
    fleet.assert_nothing_left();
    given
}

/// A good order for the slot behind those that others are about.
fn a_program(fleet: &Fleet) -> (Vec<u8>, Vec<OwnedFd>) {
    let (index, python) = fleet.runtime("python");
    let plan = JailPlan {
        run: 1000,
        build: Build::first(SLOTS),
        runtime: u16::try_from(index).expect("few"),
        limits: python.limits,
        extras: Extras::NONE,
    };
    let payload = encoded(b"import time\ntime.sleep(60)\n");
    let payload = sealed_memfd("payload", &payload).expect("a memfd");
    let stdin = sealed_memfd("stdin", b"").expect("a memfd");
    let fds = vec![payload, stdin, output(), output()];
    (Order::Run(plan).encode().to_vec(), fds)
}

/// An order: mostly a good one with something wrong, sometimes good, sometimes no order at all.
fn words(dice: &mut Dice, fleet: &Fleet, extras: Extras) -> Vec<u8> {
    let mut bytes = match dice.below(10) {
        0 => {
            return (0..dice.below(400))
                .map(|_| (dice.roll() & 0xff) as u8)
                .collect();
        }
        1 => Order::Kill {
            slot: dice.small(SLOTS + 2),
            run: dice.below(5),
            why: Acted::Cancel,
        }
        .encode(),
        2 => Order::Replace { build: build(dice) }.encode(),
        3 => Order::Hello { digest: [7; 32] }.encode(),
        _ => Order::Run(plan(dice, fleet, extras)).encode(),
    }
    .to_vec();
    match dice.below(8) {
        0 => bytes.truncate(usize::try_from(dice.below(DATAGRAM_BYTES as u64)).expect("small")),
        1 => bytes.push(0),
        2 => {
            let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
            bytes[at] ^= 1 << dice.below(8);
        }
        _ => {}
    }
    bytes
}

fn extras(dice: &mut Dice) -> Extras {
    let harness = if dice.one_in(3) {
        Extras::NONE.with_harness()
    } else {
        Extras::NONE
    };
    if dice.one_in(3) {
        harness.with_artifacts()
    } else {
        harness
    }
}

fn plan(dice: &mut Dice, fleet: &Fleet, extras: Extras) -> JailPlan {
    let runtimes = u16::try_from(fleet.settings.runtimes.len()).expect("few");
    let runtime = dice.small(runtimes + 1);
    let named = fleet.settings.runtimes.get(usize::from(runtime));
    let mut limits = named.unwrap_or(&fleet.settings.runtimes[0]).limits;
    match dice.below(6) {
        0 => limits.memory_bytes = ByteCount::new(dice.roll() | 1).expect("not zero"),
        1 => limits.processes = Count::new(dice.roll() | 1).expect("not zero"),
        2 => limits.disk_bytes = ByteCount::new(1).expect("not zero"),
        3 => limits.open_files = Count::new(1).expect("not zero"),
        _ => limits.wall_ms = Millis::new(1 + dice.below(200)).expect("not zero"),
    }
    JailPlan {
        run: dice.below(4),
        build: build(dice),
        runtime,
        limits,
        extras,
    }
}

/// Mostly what stands at first, as most orders are to have some effect.
fn build(dice: &mut Dice) -> Build {
    Build {
        slot: dice.small(SLOTS + 2),
        number: u32::from(dice.one_in(4)) * u32::from(dice.small(4)),
    }
}

/// As they should be, or with one replaced, left out or too many.
fn descriptors(dice: &mut Dice, extras: Extras) -> Vec<OwnedFd> {
    let mut fds = vec![payload(dice), stdin(dice), output(), output()];
    if extras.harness() {
        fds.extend([stdin(dice), output()]);
    }
    if extras.artifacts() {
        fds.extend([wanted(dice), output()]);
    }
    let below = |dice: &mut Dice, fds: &[OwnedFd]| {
        usize::try_from(dice.below(fds.len() as u64)).expect("small")
    };
    match dice.below(6) {
        0 => {
            let at = below(dice, &fds);
            fds[at] = wrong(dice);
        }
        1 => fds.truncate(below(dice, &fds)),
        2 => (0..=dice.below(9)).for_each(|_| fds.push(wrong(dice))),
        3 => fds.clear(),
        _ => {}
    }
    fds
}

fn payload(dice: &mut Dice) -> OwnedFd {
    if dice.one_in(3) {
        let bytes: Vec<u8> = (0..1 + dice.below(300))
            .map(|_| (dice.roll() & 0xff) as u8)
            .collect();
        return sealed_memfd("payload", &bytes).expect("a memfd");
    }
    let code = b"import os, time\nfor _ in range(3): os.fork()\ntime.sleep(1)\n";
    let mut bytes = encoded(code);
    if dice.one_in(3) {
        let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
        bytes[at] ^= 1 << dice.below(8);
    }
    sealed_memfd("payload", &bytes).expect("a memfd")
}

fn encoded(code: &[u8]) -> Vec<u8> {
    let payload = Payload {
        main: Some(code),
        files: &[],
        argv: &[],
        env: &[],
    };
    payload::encode(&payload).expect("small")
}

/// Paths that no worker of ours would ask for, or no paths at all. Nobody reads what comes of them.
fn wanted(dice: &mut Dice) -> OwnedFd {
    const PATHS: [&[u8]; 8] = [
        b"tmp/",
        b"../",
        b"/proc/1/",
        b"/",
        b".",
        b"../../etc/shadow",
        b"jailed_code",
        b"",
    ];
    let mut bytes = WANTED_MAGIC.to_vec();
    for _ in 0..3 {
        bytes.extend(dice.roll().to_le_bytes());
    }
    for _ in 0..dice.below(5) {
        let path = PATHS[usize::try_from(dice.below(8)).expect("small")];
        bytes.push(if dice.one_in(2) { 1 } else { 2 });
        let length = u32::try_from(path.len() + 1).expect("short");
        bytes.extend(length.to_le_bytes());
        bytes.extend(path);
        bytes.push(0);
    }
    if dice.one_in(3) {
        let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
        bytes[at] ^= 1 << dice.below(8);
    }
    sealed_memfd("wanted", &bytes).expect("a memfd")
}

fn stdin(dice: &mut Dice) -> OwnedFd {
    let bytes = vec![b'x'; usize::try_from(dice.below(5000)).expect("small")];
    sealed_memfd("stdin", &bytes).expect("a memfd")
}

/// Nobody reads at the other end.
fn output() -> OwnedFd {
    output_pipe().expect("a pipe").1
}

/// A descriptor that has no place in an order.
fn wrong(dice: &mut Dice) -> OwnedFd {
    let opened = |path, flags| open(path, flags | OFlag::O_CLOEXEC, Mode::empty());
    let fd = match dice.below(9) {
        0 => opened("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY),
        1 => opened("/etc/passwd", OFlag::O_PATH),
        2 => opened("/etc/passwd", OFlag::O_RDONLY),
        3 => opened("/dev/null", OFlag::O_RDWR),
        4 => opened("/proc/self/mem", OFlag::O_RDWR),
        5 => opened("/proc/self/ns/pid", OFlag::O_RDONLY),
        6 => memfd_create("open", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING),
        7 => nix::unistd::pipe2(OFlag::O_CLOEXEC).map(|(read, _)| read),
        _ => {
            let (family, kind) = (AddressFamily::Unix, SockType::Stream);
            socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).map(|(one, _)| one)
        }
    };
    fd.expect("a descriptor")
}

/// Whether the warden still took it.
fn send(fleet: &Fleet, bytes: &[u8], fds: &[OwnedFd]) -> bool {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    // An empty datagram would be the end of the connection.
    let bytes = if bytes.is_empty() { &[0][..] } else { bytes };
    let sent = sendmsg::<()>(
        fleet.warden().socket().as_raw_fd(),
        &[IoSlice::new(bytes)],
        rights,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    );
    match sent {
        Ok(_) | Err(nix::errno::Errno::EAGAIN) => true,
        Err(_) => false,
    }
}

/// Where a process is that comes from a warden.
enum Place {
    /// It has ended.
    Gone,
    /// In a jail, as its init or as the child that is about to become a program.
    Ours,
    /// In a jail, as a program.
    Program,
    /// Outside: a sweeper that has the uid which it sweeps.
    Sweeps,
    /// Outside: a sweeper that is about to become one, or something that says it is.
    Begins,
    /// Where none may be.
    Astray(String),
}

/// What every fork of the warden is called until it becomes another program.
const WARDEN_NAME: &str = "jailfleet-warde";

fn place(pid: u32, uids: &Range<u32>) -> Place {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Place::Gone;
    };
    let field = |name: &str| {
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().split_whitespace()
    };
    if field("State:").next().is_none_or(|state| state == "Z") {
        return Place::Gone;
    }
    let levels = field("NSpid:").count();
    let is_of_a_slot = |uid: &str| uid.parse().is_ok_and(|uid| uids.contains(&uid));
    let of_a_slot = field("Uid:").all(is_of_a_slot);
    match (field("Name:").next(), levels, of_a_slot) {
        (Some(WARDEN_NAME), 2, _) => Place::Ours,
        (_, 2, true) => Place::Program,
        (Some("pkill"), 1, true) => Place::Sweeps,
        (Some(WARDEN_NAME), 1, _) => Place::Begins,
        _ => Place::Astray(status),
    }
}

/// All that come from a process, and all that it has adopted.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(pid) = open.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            open.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        found.push(pid);
    }
    found.retain(|pid| *pid != of);
    found
}

/// A sweeper that takes longer is killed by the warden.
const SWEEP_DEADLINE: Duration = Duration::from_secs(2);

/// Every process that comes from the warden, its children's children and what it abandoned included, is in a
/// jail and not as root there, or sweeps; how many are programs.
fn assert_jailed(fleet: &Fleet, seed: u64) -> usize {
    let warden = fleet.warden().pid();
    let section = &fleet.settings.warden;
    let uids = section.uid_base..section.uid_base + section.uid_count;
    let mut programs = 0;
    let all = descendants(std::process::id());
    for pid in all.into_iter().filter(|pid| *pid != warden) {
        let deadline = jailfleet_sandbox::clock::now() + SWEEP_DEADLINE;
        loop {
            match place(pid, &uids) {
                Place::Gone | Place::Ours | Place::Sweeps => break,
                Place::Program => {
                    programs += 1;
                    break;
                }
                // Only for a moment: it must be seen to go on.
                Place::Begins => assert!(
                    jailfleet_sandbox::clock::now() < deadline,
                    "seed {seed}: {pid} came from the warden and is in no jail"
                ),
                Place::Astray(status) => panic!("seed {seed}: outside a jail: {status}"),
            }
            std::thread::yield_now();
        }
    }
    programs
}

/// Waits for whatever the warden left to us, which must end without it.
fn nobody_is_left(seed: u64) {
    let deadline = jailfleet_sandbox::clock::now() + PATIENCE;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(nix::errno::Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            Ok(_) => {}
            Err(errno) => panic!("seed {seed}: {errno}"),
        }
        assert!(
            jailfleet_sandbox::clock::now() < deadline,
            "seed {seed}: {:?} outlive the warden",
            descendants(std::process::id())
        );
    }
}
