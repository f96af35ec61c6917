//! At other processes: those of the host, the init, those that shall outlive the run.

use super::{printed, survive};
use crate::fleet::Fleet;
use crate::job::{bash, python};
use jailfleet::evidence::{Acted, End};
use jailfleet::units::{Count, Millis};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use std::time::Duration;

#[test]
fn a_fork_bomb_stays_within_its_process_limit() {
    let mut fleet = Fleet::start(1);
    let attack = bash("bomb() { bomb | bomb & }; bomb; sleep 100").limits(|limits| {
        limits.processes = Count::new(20).expect("above zero");
        limits.wall_ms = Millis::new(1000).expect("above zero");
        limits.cpu_ms = Millis::new(60_000).expect("above zero");
    });
    let seen = fleet.run(&attack);
    assert!(
        seen.err().contains("fork"),
        "no fork was refused: {}",
        seen.err()
    );
    if let Some(peak) = seen.evidence.processes_peak {
        assert!(peak <= 20, "{peak}");
    }
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn signals_reach_nobody_but_the_programs_own_tree() {
    let out = printed(
        "
import os, signal
for pid in (1, os.getppid()):
    try: os.kill(pid, signal.SIGKILL); print('killed', pid)
    except (PermissionError, ProcessLookupError): pass
child = os.fork()
if child == 0:
    while True: signal.pause()
try: os.kill(-1, signal.SIGKILL)
except PermissionError: os.kill(child, signal.SIGKILL)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
",
    );
    // A plain user's init has the program's own uid. Before Landlock's scopes nothing refuses the
    // call, and the kernel keeps pid 1 of a namespace alive: the run would have ended with it.
    let out = if nix::unistd::geteuid().is_root() {
        out
    } else {
        out.replace("killed 1\n", "")
    };
    assert_eq!(out, "-9\n");
}

#[test]
fn an_orphan_that_holds_the_output_neither_delays_the_end_nor_survives_it() {
    let mut fleet = Fleet::start(1);
    let started = jailfleet_sandbox::clock::now();
    let attack = python(
        "
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: time.sleep(100)
    os._exit(0)
os.wait()
print('done')
",
    );
    let seen = fleet.run(&attack);
    assert_eq!(
        (seen.evidence.end, seen.out().as_str()),
        (End::Exited(0), "done\n")
    );
    let took = jailfleet_sandbox::clock::now().duration_since(started);
    assert!(
        took < Duration::from_secs(5),
        "the orphan was waited for: {took:?}"
    );
    let next = fleet.run(&bash("kill -9 -1; echo $?"));
    assert_eq!(next.out(), "1\n", "somebody was there to be killed");
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn shared_memory_semaphores_and_queues_do_not_reach_the_next_run() {
    let mut fleet = Fleet::start(1);
    let code = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
made = [libc.shmget(4711, 4096, 0o1666), libc.semget(4711, 1, 0o1666), libc.msgget(4711, 0o1666)]
there = [libc.shmget(4711, 0, 0), libc.semget(4711, 0, 0), libc.msgget(4711, 0)]
print(all(id >= 0 for id in made), all(id >= 0 for id in there))
";
    let look = code.replace("made = [libc.shmget(4711, 4096, 0o1666), libc.semget(4711, 1, 0o1666), libc.msgget(4711, 0o1666)]", "made = [0]");
    let left = fleet.run(&python(code));
    assert_eq!(left.out(), "True True\n", "{}", left.err());
    let next = fleet.run(&python(&look));
    assert_eq!(next.out(), "True False\n", "{}", next.err());
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn two_jails_that_run_at_one_time_see_nothing_of_each_other() {
    let mut fleet = Fleet::start(2);
    let uids = |seen: &crate::job::Seen| seen.out().lines().next().unwrap_or_default().to_owned();
    let code = "
import os, ctypes, time
print(os.getuid(), flush=True)
libc = ctypes.CDLL(None, use_errno=True)
libc.shmget(99, 4096, 0o1666)
with open('/dev/shm/mine', 'x') as file: file.write('mine')
time.sleep(0.5)
print([pid for pid in range(1, 400) if os.path.exists(f'/proc/{pid}')])
";
    let first = fleet.order(0, &python(code));
    let second = fleet.order(1, &python(code));
    let first = fleet.finish(first);
    let second = fleet.finish(second);
    for seen in [&first, &second] {
        assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
        // The init and the program itself; the program has no other number than 2 in a new slot.
        assert!(seen.out().ends_with("[1, 2]\n"), "{}", seen.out());
    }
    let own_uids = fleet.walls.holds(Wall::Uid);
    fleet.stop();
    require!(SlotUids => own_uids);
    assert_ne!(uids(&first), uids(&second));
}

#[test]
fn a_flood_of_output_is_cut_off() {
    let seen = survive(&bash("yes"));
    assert_eq!(
        (seen.evidence.acted, seen.evidence.end),
        (Some(Acted::Output), End::Signaled(9))
    );
}
