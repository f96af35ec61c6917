//! The order of judgement, rule by rule, and that it has an answer to everything.

use super::*;
use crate::units::{ByteCount, Count, FileBytes, Millis};
use proptest::prelude::*;

const EINTR: i32 = 4;
const ENFILE: i32 = 23;

fn limits() -> Limits {
    let bytes = ByteCount::new(1 << 20).expect("not zero");
    let count = Count::new(10).expect("not zero");
    let second = Millis::new(1000).expect("not zero");
    Limits {
        cpu_ms: second,
        wall_ms: second,
        memory_bytes: bytes,
        address_space_bytes: None,
        file_bytes: FileBytes::new(0),
        disk_bytes: bytes,
        disk_files: count,
        processes: count,
        open_files: count,
        output_bytes: bytes,
        stack_bytes: bytes,
    }
}

fn ended(end: End) -> Evidence {
    Evidence {
        end,
        cpu: Duration::from_millis(10),
        user: Duration::from_millis(7),
        system: Duration::from_millis(3),
        wall: Duration::from_millis(1000),
        ..Evidence::LOST
    }
}

fn outcome(evidence: &Evidence) -> Outcome {
    judge(
        evidence,
        &limits(),
        &Program::Path("/usr/bin/python3".to_owned()),
    )
    .outcome
}

#[test]
fn an_exit_is_an_exit_whatever_its_code() {
    for code in [0, 1, 137, 152, 255] {
        let judged = judge(&ended(End::Exited(code)), &limits(), &Program::MainFile);
        assert_eq!(
            (judged.outcome, judged.exit_code),
            (Outcome::Exited, Some(code))
        );
        assert_eq!((judged.signal, judged.error), (None, None));
    }
}

#[test]
fn the_limit_that_we_acted_on_comes_before_the_signal_that_we_sent() {
    for (acted, expected) in [
        (Acted::Cpu, Outcome::CpuLimit),
        (Acted::Wall, Outcome::WallLimit),
        (Acted::Output, Outcome::OutputLimit),
        (Acted::Cancel, Outcome::Cancelled),
        (Acted::Drain, Outcome::EngineFault),
    ] {
        let evidence = Evidence {
            acted: Some(acted),
            oom_kills: 3,
            ..ended(End::Signaled(9))
        };
        assert_eq!(outcome(&evidence), expected, "{acted:?}");
    }
}

#[test]
fn a_killed_child_is_a_memory_limit_although_its_parent_exits_zero() {
    assert_eq!(
        outcome(&Evidence {
            oom_kills: 1,
            ..ended(End::Exited(0))
        }),
        Outcome::MemoryLimit
    );
}

#[test]
fn sigxcpu_is_a_cpu_limit_only_with_the_cpu_time_used_up() {
    let cpu = Duration::from_millis(1000);
    assert_eq!(
        outcome(&Evidence {
            cpu,
            ..ended(End::Signaled(SIGXCPU))
        }),
        Outcome::CpuLimit
    );
    assert_eq!(
        outcome(&Evidence {
            cpu,
            ..ended(End::Signaled(SIGKILL))
        }),
        Outcome::CpuLimit
    );
    assert_eq!(outcome(&ended(End::Signaled(SIGXCPU))), Outcome::Signaled);
    // The kernel's coarse clock may fire a little early, but a kill is not its doing until late.
    let cpu_short = Duration::from_millis(930);
    let short = |signal| Evidence {
        cpu: cpu_short,
        ..ended(End::Signaled(signal))
    };
    assert_eq!(outcome(&short(SIGXCPU)), Outcome::CpuLimit);
    assert_eq!(outcome(&short(SIGKILL)), Outcome::Signaled);
    assert_eq!(
        outcome(&Evidence {
            cpu,
            ..ended(End::Signaled(11))
        }),
        Outcome::Signaled
    );
}

#[test]
fn a_wall_limit_on_a_starved_host_is_our_trouble() {
    let wall = Evidence {
        acted: Some(Acted::Wall),
        ..ended(End::Signaled(9))
    };
    let starved = Evidence {
        pressure_full: Some(Duration::from_millis(501)),
        ..wall.clone()
    };
    let half = Evidence {
        pressure_full: Some(Duration::from_millis(500)),
        ..wall
    };
    assert_eq!(outcome(&starved), Outcome::EngineFault);
    assert_eq!(outcome(&half), Outcome::WallLimit);
}

#[test]
fn a_vanished_jail_is_our_trouble() {
    assert_eq!(outcome(&ended(End::Lost)), Outcome::EngineFault);
}

#[test]
fn a_program_that_could_not_be_ended_at_its_wall_limit_waited_for_something_of_ours() {
    let lost = |acted| Evidence {
        acted: Some(acted),
        ..ended(End::Lost)
    };
    let judged = judge(&lost(Acted::Wall), &limits(), &Program::MainFile);
    assert_eq!(judged.outcome, Outcome::EngineFault);
    let error = judged.error.expect("it says why");
    assert_eq!(error.code, ErrorCode::JailLost);
    assert!(error.message.contains("did not end"), "{}", error.message);
    // What it did before is true all the same.
    assert_eq!(outcome(&lost(Acted::Cpu)), Outcome::CpuLimit);
    assert_eq!(outcome(&lost(Acted::Output)), Outcome::OutputLimit);
    assert_eq!(outcome(&lost(Acted::Cancel)), Outcome::Cancelled);
}

#[test]
fn memory_that_ran_out_before_the_start_is_our_trouble_and_after_it_the_programs() {
    let without_memory = |end| Evidence {
        oom_kills: 1,
        ..ended(end)
    };
    let killed = End::StageFailed {
        stage: Stage::Rlimits,
        errno: 4,
    };
    for unstarted in [End::Unstarted, killed] {
        assert_eq!(outcome(&without_memory(unstarted)), Outcome::EngineFault);
    }
    // The kernel chose the init, of all of the run's processes.
    assert_eq!(outcome(&without_memory(End::Lost)), Outcome::MemoryLimit);
}

#[test]
fn a_memory_limit_that_is_too_small_for_the_start_is_refused_and_the_hosts_want_of_memory_is_not() {
    let limit = limits().memory_bytes.get();
    let with_peak = |peak| Evidence {
        oom_kills: 1,
        peak_memory_bytes: peak,
        ..ended(End::Unstarted)
    };
    for used in [limit, limit - CHARGED_AHEAD] {
        let judged = judge(&with_peak(Some(used)), &limits(), &Program::MainFile);
        let code = judged.error.map(|error| error.code);
        let expected = ErrorCode::Rejected(RejectionCode::LimitsTooSmall);
        assert_eq!((judged.outcome, code), (Outcome::Rejected, Some(expected)));
    }
    for peak in [None, Some(0), Some(limit - CHARGED_AHEAD - 1)] {
        assert_eq!(outcome(&with_peak(peak)), Outcome::EngineFault);
    }
    let not_killed = Evidence {
        oom_kills: 0,
        ..with_peak(Some(limit))
    };
    assert_eq!(outcome(&not_killed), Outcome::EngineFault);
}

#[test]
fn a_kill_for_want_of_the_hosts_memory_says_nothing_of_a_run_that_never_met_its_own_limit() {
    let limit = limits().memory_bytes.get();
    let killed = |end, (memory_refusals, peak_memory_bytes)| {
        let evidence = Evidence {
            oom_kills: 1,
            memory_refusals,
            peak_memory_bytes,
            ..ended(end)
        };
        let judged = judge(&evidence, &limits(), &Program::MainFile);
        (judged.outcome, judged.error.map(|error| error.code))
    };
    let withheld = (Outcome::EngineFault, Some(ErrorCode::MemoryWithheld));
    for end in [End::Signaled(9), End::Exited(0), End::Lost, End::Unstarted] {
        // The kernel counts, or it tells the most that there was.
        for unmet in [(Some(0), Some(limit)), (None, Some(limit / 2))] {
            assert_eq!(killed(end, unmet), withheld, "{end:?}");
        }
    }
    for end in [End::Signaled(9), End::Exited(0), End::Lost] {
        for met in [(Some(1), None), (None, None), (None, Some(limit))] {
            assert_eq!(killed(end, met), (Outcome::MemoryLimit, None), "{end:?}");
        }
    }
    // Without a kill the host's memory is nobody's business.
    let well = Evidence {
        memory_refusals: Some(0),
        ..ended(End::Exited(0))
    };
    assert_eq!(outcome(&well), Outcome::Exited);
}

#[test]
fn memory_that_ran_out_before_the_program_is_the_jobs_or_the_hosts_by_whose_limit_was_met() {
    let limit = limits().memory_bytes.get();
    let too_small = (
        Outcome::Rejected,
        ErrorCode::Rejected(RejectionCode::LimitsTooSmall),
    );
    let withheld = (Outcome::EngineFault, ErrorCode::MemoryWithheld);
    // The child was killed while it wrote the job's files, or told that there is no memory.
    let written = [EINTR, ENOMEM].map(|errno| End::StageFailed {
        stage: Stage::Unpack,
        errno,
    });
    for end in written.into_iter().chain([End::Unstarted]) {
        let judged = |oom_kills, (memory_refusals, peak_memory_bytes)| {
            let evidence = Evidence {
                oom_kills,
                memory_refusals,
                peak_memory_bytes,
                ..ended(end)
            };
            let judged = judge(&evidence, &limits(), &Program::MainFile);
            (judged.outcome, judged.error.expect("it is explained").code)
        };
        // Version 2 before Linux 6.12 counts refusals and cannot tell a run's peak.
        for met in [(Some(1), None), (Some(1), Some(0)), (None, Some(limit))] {
            assert_eq!(judged(1, met), too_small, "{end:?} {met:?}");
            assert_ne!(judged(0, met), too_small, "{end:?}: nobody was killed");
        }
        for unmet in [(Some(0), None), (Some(0), Some(limit)), (None, Some(0))] {
            assert_eq!(judged(1, unmet), withheld, "{end:?} {unmet:?}");
            assert_ne!(judged(0, unmet), withheld, "{end:?}: nobody was killed");
        }
        // Where nothing tells whose limit it was, the end speaks for itself.
        assert_eq!(judged(1, (None, None)), judged(0, (None, None)), "{end:?}");
    }
}

#[test]
fn a_failed_stage_never_looks_like_the_programs_exit() {
    for stage in Stage::ALL.iter().copied() {
        for errno in 1..134 {
            let evidence = Evidence {
                acted: Some(Acted::Wall),
                ..ended(End::StageFailed { stage, errno })
            };
            for program in [Program::MainFile, Program::Path("/bin/true".to_owned())] {
                let judged = judge(&evidence, &limits(), &program);
                assert!(
                    matches!(judged.outcome, Outcome::Rejected | Outcome::EngineFault),
                    "{stage} {errno} became {}",
                    judged.outcome,
                );
                assert!(judged.error.is_some() && judged.exit_code.is_none());
            }
        }
    }
}

#[test]
fn a_host_that_runs_out_of_something_is_our_trouble() {
    const EAGAIN: i32 = 11;
    let python = Program::Path("/usr/bin/python3".to_owned());
    let ours = [
        Stage::Fork,
        Stage::Namespaces,
        Stage::Cgroup,
        Stage::Descriptors,
    ];
    for stage in ours {
        for errno in [EAGAIN, ENOMEM, ENFILE, EMFILE, ENOSPC, EDQUOT] {
            assert_eq!(
                blame(stage, errno, &python),
                Blame::Engine,
                "{stage} {errno}"
            );
        }
    }
    // The scratch is the run's own, and so is what does not fit into it; descriptors are the host's.
    for errno in [ENFILE, EMFILE, EAGAIN] {
        assert_eq!(blame(Stage::Unpack, errno, &python), Blame::Engine);
    }
}

#[test]
fn the_jobs_own_size_and_shape_are_refused_and_the_rest_is_ours() {
    let python = Program::Path("/usr/bin/python3".to_owned());
    for (stage, errno, program, expected) in [
        (
            Stage::Unpack,
            ENOSPC,
            &python,
            Blame::Job(RejectionCode::FilesTooLarge),
        ),
        (
            Stage::Unpack,
            EDQUOT,
            &python,
            Blame::Job(RejectionCode::FilesTooLarge),
        ),
        (
            Stage::Unpack,
            EEXIST,
            &python,
            Blame::Job(RejectionCode::DuplicatePath),
        ),
        (Stage::Unpack, EACCES, &python, Blame::Engine),
        (
            Stage::Exec,
            E2BIG,
            &python,
            Blame::Job(RejectionCode::BadArgv),
        ),
        (Stage::Exec, ENOENT, &python, Blame::Engine),
        (
            Stage::Exec,
            ENOENT,
            &Program::MainFile,
            Blame::Job(RejectionCode::BadProgram),
        ),
        (
            Stage::Exec,
            ENOEXEC,
            &Program::MainFile,
            Blame::Job(RejectionCode::BadProgram),
        ),
        (
            Stage::Landlock,
            EMFILE,
            &python,
            Blame::Job(RejectionCode::LimitsTooSmall),
        ),
        (Stage::Landlock, ENFILE, &python, Blame::Engine),
        (Stage::Identity, ENOMEM, &python, Blame::Engine),
        (Stage::Fork, ENOMEM, &python, Blame::Engine),
    ] {
        assert_eq!(blame(stage, errno, program), expected, "{stage} {errno}");
    }
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let stages = proptest::sample::select(Stage::ALL);
    let end = prop_oneof![
        any::<i32>().prop_map(End::Exited),
        any::<i32>().prop_map(End::Signaled),
        (stages, any::<i32>()).prop_map(|(stage, errno)| End::StageFailed { stage, errno }),
        Just(End::Lost),
        Just(End::Unstarted),
    ];
    let acted = proptest::option::of(proptest::sample::select(vec![
        Acted::Cpu,
        Acted::Wall,
        Acted::Output,
        Acted::Cancel,
        Acted::Drain,
    ]));
    let span = || any::<u64>().prop_map(Duration::from_micros);
    let pressure = proptest::option::of(any::<Duration>());
    let met = proptest::option::of(0..3_u64);
    (end, acted, (0..3_u64, met), span(), span(), pressure).prop_map(
        |(end, acted, (oom_kills, memory_refusals), cpu, wall, pressure_full)| Evidence {
            acted,
            oom_kills,
            memory_refusals,
            cpu,
            wall,
            pressure_full,
            ..ended(end)
        },
    )
}

proptest! {
    #[test]
    fn every_evidence_has_an_outcome_that_a_run_can_have(evidence in any_evidence()) {
        let judged = judge(&evidence, &limits(), &Program::MainFile);
        prop_assert!(!matches!(judged.outcome, Outcome::Expired | Outcome::WorkerLost));
        // Whatever is not the program's own doing is explained.
        let ours = matches!(
            judged.outcome,
            Outcome::EngineFault | Outcome::Rejected | Outcome::Cancelled
        );
        prop_assert_eq!(ours, judged.error.is_some());
        prop_assert!(judged.exit_code.is_none() || judged.signal.is_none());
    }

    #[test]
    fn a_clean_exit_needs_clean_evidence(evidence in any_evidence()) {
        if judge(&evidence, &limits(), &Program::MainFile).outcome == Outcome::Exited {
            prop_assert!(matches!(evidence.end, End::Exited(_)));
            prop_assert_eq!((evidence.acted, evidence.oom_kills), (None, 0));
        }
    }
}
