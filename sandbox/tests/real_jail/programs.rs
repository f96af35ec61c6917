//! Ordinary and hostile programs, and what is observed of each.

use super::{Fleet, Job, file, job};
use jailfleet::evidence::{Acted, End};
use jailfleet::outcome::Outcome;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};
use jailfleet::verdict::judge;
use jailfleet_harness::require;
use std::time::Duration;

fn millis(value: u64) -> Millis {
    Millis::new(value).expect("not zero")
}

fn bytes(value: u64) -> ByteCount {
    ByteCount::new(value).expect("not zero")
}

#[test]
fn exit_codes_and_signals_come_back_exactly() {
    let mut fleet = Fleet::start(1);
    for code in [0, 1, 7, 128, 137, 255] {
        let seen = fleet.run(&job("bash", format!("exit {code}")));
        assert_eq!(seen.evidence.end, End::Exited(code));
    }
    for signal in [1, 2, 9, 11, 13, 15, 24, 34, 64] {
        let seen = fleet.run(&job("bash", format!("kill -{signal} $$")));
        assert_eq!(seen.evidence.end, End::Signaled(signal));
    }
    let seen = fleet.run(&job("python", "import os; os.abort()"));
    assert_eq!(seen.evidence.end, End::Signaled(libc::SIGABRT));
}

#[test]
fn a_writer_without_a_reader_dies_of_sigpipe_as_outside() {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&job(
        "bash",
        "trap | grep -c PIPE; cat /dev/zero | head -c1 >/dev/null; echo ${PIPESTATUS[0]}",
    ));
    assert_eq!(seen.out(), "0\n141\n", "{}", seen.err());
}

#[test]
fn stdin_arguments_environment_and_files_arrive() {
    let mut fleet = Fleet::start(1);
    let code = "import os, sys\n\
        print(sys.stdin.read(), sys.argv, os.environ['K'], open('d/x.txt').read())\n\
        print(os.environ['PATH'], os.environ['HOME'] == os.getcwd() + '/tmp', os.environ['LANG'])\n\
        print(sorted(k for k in os.environ if k.startswith('JAILFLEET')), os.getcwd()[:14])\n";
    let order = Job {
        stdin: b"in",
        argv: vec!["-x".to_owned(), "y z".to_owned()],
        env: vec![("K".to_owned(), "v=1".to_owned())],
        files: vec![file("d/x.txt", "there")],
        ..job("python", code)
    };
    let seen = fleet.run(&order);
    assert_eq!(
        seen.out(),
        "in ['jailed_code', '-x', 'y z'] v=1 there\n\
         /usr/local/bin:/usr/bin:/bin True C.UTF-8\n[] /tmp/codejail-\n",
        "{}",
        seen.err()
    );
}

#[test]
fn a_busy_loop_ends_at_its_cpu_limit() {
    let mut fleet = Fleet::start(1);
    let spin = job("python", "while True: pass").limits(|limits| {
        limits.cpu_ms = millis(1000);
        limits.wall_ms = millis(10_000);
    });
    let seen = fleet.run(&spin);
    assert_eq!(
        seen.evidence.end,
        End::Signaled(libc::SIGXCPU),
        "{:?}",
        seen.evidence
    );
    // RLIMIT_CPU counts whole ticks, those that a hypervisor stole included.
    assert!(
        seen.evidence.cpu >= Duration::from_millis(750),
        "{:?}",
        seen.evidence
    );
    let deaf = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass";
    let seen = fleet.run(&job("python", deaf).limits(|limits| {
        limits.cpu_ms = millis(300);
        limits.wall_ms = millis(10_000);
    }));
    assert_eq!(seen.evidence.acted, Some(Acted::Cpu));
    assert!(
        seen.evidence.cpu < Duration::from_millis(600),
        "{:?}",
        seen.evidence
    );
}

#[test]
fn children_share_one_cpu_limit() {
    let mut fleet = Fleet::start(1);
    let code =
        "import os\nfor _ in range(4):\n  if os.fork() == 0:\n    while True: pass\nos.wait()";
    let seen = fleet.run(&job("python", code).limits(|limits| {
        limits.cpu_ms = millis(400);
        limits.wall_ms = millis(10_000);
    }));
    assert_eq!(seen.evidence.acted, Some(Acted::Cpu));
    assert!(
        seen.evidence.cpu < Duration::from_millis(900),
        "{:?}",
        seen.evidence
    );
}

#[test]
fn a_sleeper_ends_at_its_wall_limit_also_when_it_stops_itself() {
    let mut fleet = Fleet::start(1);
    for code in [
        "exec sleep 60",
        "kill -STOP $$",
        "trap '' TERM INT; setsid sleep 60 & sleep 60",
    ] {
        let seen = fleet.run(&job("bash", code).limits(|limits| limits.wall_ms = millis(300)));
        assert_eq!(seen.evidence.acted, Some(Acted::Wall), "{code}");
        assert_eq!(seen.evidence.end, End::Signaled(libc::SIGKILL), "{code}");
        let wall = seen.evidence.wall;
        assert!(
            wall >= Duration::from_millis(295) && wall < Duration::from_secs(2),
            "{wall:?}"
        );
    }
}

#[test]
fn threads_that_take_the_cpu_from_each_other_are_not_taken_for_a_host_that_withholds_it() {
    let mut fleet = Fleet::start(1);
    // The hash lets go of the interpreter's lock, so that all of them want a CPU at all times. Not before all
    // are there: on one CPU those that spin would keep the rest from being started.
    let code = "import hashlib, threading\n\
                everybody = threading.Barrier(64)\n\
                def spin():\n \
                    everybody.wait()\n \
                    hashlib.pbkdf2_hmac('sha256', b'p', b's', 10**9)\n\
                for _ in range(63): threading.Thread(target=spin).start()\n\
                print('all', flush=True)\n\
                spin()\n";
    let spinning = job("python", code).limits(|limits| {
        limits.cpu_ms = millis(60_000);
        limits.wall_ms = millis(2_000);
        limits.processes = Count::new(70).expect("not zero");
    });
    let limits = fleet.limits_of(&spinning);
    let program = fleet.runtime("python").1.program.clone();
    let seen = fleet.run(&spinning);
    assert_eq!(seen.out(), "all\n", "{}", seen.err());
    assert_eq!(seen.evidence.acted, Some(Acted::Wall));
    let judged = judge(&seen.evidence, &limits, &program);
    assert_eq!(judged.outcome, Outcome::WallLimit, "{:?}", seen.evidence);
}

#[test]
fn a_memory_hog_is_killed_and_counted() {
    let mut fleet = Fleet::start(1);
    let code = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let seen = fleet.run(&job("python", code).limits(|limits| {
        limits.memory_bytes = bytes(64 << 20);
        limits.address_space_bytes = None;
    }));
    assert!(seen.evidence.oom_kills > 0, "{:?}", seen.evidence);
    assert_eq!(seen.evidence.end, End::Signaled(libc::SIGKILL));
    // Before Linux 6.12, version 2 of the control groups cannot say it of one run.
    if let Some(peak) = seen.evidence.peak_memory_bytes {
        assert!(peak <= 64 << 20 && peak > 32 << 20, "{peak}");
    }
    let seen = fleet.run(&job("python", "print(1)"));
    assert_eq!((seen.evidence.oom_kills, seen.out()), (0, "1\n".to_owned()));
}

#[test]
fn an_address_space_limit_becomes_a_memory_error() {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&job("python", "bytearray(300 << 20)").limits(|limits| {
        limits.address_space_bytes = Some(bytes(160 << 20));
    }));
    assert_eq!(seen.evidence.end, End::Exited(1));
    assert!(seen.err().contains("MemoryError"), "{}", seen.err());
}

#[test]
fn a_fork_bomb_stays_within_its_process_limit() {
    let mut fleet = Fleet::start(1);
    let code = "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n\
                except BlockingIOError as e: print(n, e.errno)";
    let seen = fleet.run(&job("python", code).limits(|limits| {
        limits.processes = Count::new(12).expect("not zero");
    }));
    assert_eq!(seen.out(), "11 11\n", "{}", seen.err());
    let bomb = ":(){ :|:& };:; wait";
    let seen = fleet.run(&job("bash", bomb).limits(|limits| limits.wall_ms = millis(500)));
    assert!(matches!(
        seen.evidence.end,
        End::Exited(_) | End::Signaled(_)
    ));
    assert_eq!(fleet.run(&job("bash", "echo next")).out(), "next\n");
}

#[test]
fn a_daemon_that_outlives_its_parent_is_dead_before_the_slot_is_idle() {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&job(
        "bash",
        "setsid sleep 77 </dev/null >/dev/null 2>&1 & exit 0",
    ));
    assert_eq!(seen.evidence.end, End::Exited(0));
    assert!(
        fleet.processes_of_slots().is_empty(),
        "{:?}",
        fleet.processes_of_slots()
    );
}

#[test]
fn an_orphan_that_holds_stdout_delays_nobody() {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&job("bash", "sleep 60 & echo done"));
    assert_eq!(
        (seen.evidence.end, seen.out()),
        (End::Exited(0), "done\n".to_owned())
    );
    assert!(seen.evidence.wall < Duration::from_secs(5));
}

#[test]
fn disk_files_and_file_sizes_are_limited() {
    let mut fleet = Fleet::start(1);
    let full = "import os\nos.chdir('tmp')\n\
        try:\n  for n in range(100): open(str(n), 'wb').write(b'x' * (1 << 20))\n\
        except OSError as e: print(e.errno)\n";
    let seen = fleet.run(&job("python", full).limits(|limits| {
        limits.disk_bytes = bytes(4 << 20);
        limits.file_bytes = FileBytes::new(2 << 20);
    }));
    assert_eq!(seen.out(), "28\n", "{}", seen.err());
    let many = "import os\nos.chdir('tmp')\n\
        try:\n  for n in range(1000): open(str(n), 'w').close()\n\
        except OSError as e: print(e.errno, n)\n";
    let seen = fleet.run(&job("python", many).limits(|limits| {
        limits.disk_files = Count::new(50).expect("not zero");
    }));
    assert!(
        seen.out().starts_with("28 4"),
        "{} {}",
        seen.out(),
        seen.err()
    );
    let large =
        "try: open('tmp/x', 'wb', 0).write(b'x' * 4096)\nexcept OSError as e: print(e.errno)";
    let seen =
        fleet.run(&job("python", large).limits(|limits| limits.file_bytes = FileBytes::new(0)));
    assert_eq!(seen.out(), "27\n", "{}", seen.err());
}

#[test]
fn a_run_sees_nothing_of_the_run_before_it() {
    let mut fleet = Fleet::start(1);
    let leave = "echo x > tmp/x; echo y > /dev/shm/y; ipcmk -M 4096 -Q >/dev/null; pwd";
    let first = fleet.run(&job("bash", leave));
    let second = fleet.run(&job(
        "bash",
        "ls -A tmp /dev/shm/; ipcs -mq | grep -c 0x; pwd",
    ));
    assert!(
        !second.out().contains('x') || second.out().contains("codejail"),
        "{}",
        second.out()
    );
    assert!(
        second.out().contains("\n0\n"),
        "{} {}",
        second.out(),
        first.err()
    );
    assert_ne!(first.out(), second.out());
}

#[test]
fn a_program_that_does_not_start_is_told_by_its_stage() {
    let mut fleet = Fleet::start(1);
    let seen = fleet.run(&job("native", "not a program"));
    let expected = End::StageFailed {
        stage: jailfleet::evidence::Stage::Exec,
        errno: libc::ENOEXEC,
    };
    assert_eq!(seen.evidence.end, expected);
}

#[test]
fn no_capability_group_descriptor_or_privilege_is_left() {
    let mut fleet = Fleet::start(1);
    let code = "import os\n\
        status = dict(line.split(':\\t', 1) for line in open('/proc/self/status'))\n\
        print([status[k].strip() for k in ('CapInh','CapPrm','CapEff','CapBnd','CapAmb','NoNewPrivs','Seccomp')])\n\
        print(os.getgroups(), len(set(os.getresuid() + os.getresgid())), os.getuid() > 0)\n\
        print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))\n\
        print(status['SigIgn'].strip(), status['SigBlk'].strip(), oct(os.umask(0)))\n";
    let seen = fleet.run(&job("python", code));
    let none = "'0000000000000000', ".repeat(5);
    assert_eq!(
        seen.out(),
        format!(
            "[{none}'1', '2']\n[] 1 True\n[0, 1, 2] 4\n0000000001001000 0000000000000000 0o22\n"
        ),
        "{}",
        seen.err()
    );
}

#[test]
fn what_a_program_reads_from_its_input_it_cannot_execute() {
    let mut fleet = Fleet::start(1);
    let elf = std::fs::read("/bin/true").expect("an executable of the host");
    // 322 is execveat, 0x1000 says that the descriptor itself is the program.
    let code = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n\
        c.syscall(322, 0, b'', None, None, 0x1000)\nprint(ctypes.get_errno())\n\
        print(open('/dev/stdin', 'rb').read(4))\n";
    let order = Job {
        stdin: &elf,
        ..job("python", code)
    };
    let seen = fleet.run(&order);
    let refused = format!("{}\nb'\\x7fELF'\n", libc::EACCES);
    assert_eq!((seen.out(), seen.err()), (refused, String::new()));
}

#[test]
fn no_resource_is_without_a_limit_but_what_a_cgroup_counts() {
    let mut fleet = Fleet::start(1);
    let code = "counted = ('Max data size', 'Max processes', 'Max address space')\n\
        rows = open('/proc/self/limits').read().splitlines()[1:]\n\
        names = [row[:26].strip() for row in rows if 'unlimited' in row]\n\
        print(len(rows), [name for name in names if name not in counted])\n";
    let seen = fleet.run(&job("python", code));
    assert_eq!(
        (seen.out(), seen.err()),
        ("16 []\n".to_owned(), String::new())
    );
}

/// The first process of each slot, which is a child of its warden.
fn inits_of(fleet: &Fleet) -> Vec<String> {
    let warden = fleet.warden.as_ref().expect("it lives").pid();
    let children = std::fs::read_to_string(format!("/proc/{warden}/task/{warden}/children"));
    let children = children.expect("readable");
    children.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_namespaces_of_a_slot_are_there_before_its_runs_and_serve_them_all() {
    // A plain user's slot serves one run.
    require!(Root);
    let mut fleet = Fleet::start(1);
    let inits = inits_of(&fleet);
    let [init] = &inits[..] else {
        panic!("{inits:?}");
    };
    let kinds = ["mnt", "net", "ipc", "uts", "pid"];
    let namespaces = |process: &str| {
        let names = kinds.map(|kind| {
            let name = std::fs::read_link(format!("/proc/{process}/ns/{kind}")).expect("readable");
            name.to_str().expect("plain").to_owned()
        });
        names.to_vec()
    };
    let ready = namespaces(init);
    for (theirs, ours) in ready.iter().zip(namespaces("self")) {
        assert_ne!(*theirs, ours);
    }
    let code =
        format!("import os\nfor kind in {kinds:?}: print(os.readlink('/proc/self/ns/' + kind))\n");
    for _ in 0..3 {
        let seen = fleet.run(&job("python", &code));
        assert_eq!(
            seen.out().lines().collect::<Vec<_>>(),
            ready,
            "{}",
            seen.err()
        );
    }
    assert_eq!(inits_of(&fleet), inits, "no other process came or went");
}
