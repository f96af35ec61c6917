//! The filters, run call by call by an interpreter of the few instructions that they use.

use super::program::{
    ALLOW, AND, ARCHITECTURE_AT, ASK, IF_ANY_BIT, IF_AT_LEAST, IF_EQUAL, KILL, LOAD, NATIVE,
    NUMBER_AT, RETURN, UNKNOWN, failure,
};
use super::{Policy, PolicyError, calls, filter, listener};
use crate::init::HeldBy;
use std::collections::BTreeSet;

/// A call as the kernel shows it to a filter.
#[derive(Clone, Copy)]
struct Call {
    architecture: u32,
    number: i64,
    arguments: [u64; 6],
}

fn call(number: i64, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call {
        architecture: NATIVE,
        number,
        arguments: all,
    }
}

impl Call {
    fn word(&self, at: u32) -> u32 {
        match at {
            NUMBER_AT => u32::try_from(self.number).expect("a small number"),
            ARCHITECTURE_AT => self.architecture,
            at => {
                let at = usize::try_from(at).expect("small") - 16;
                let half = self.arguments[at / 8] >> (8 * (at % 8));
                u32::try_from(half & 0xffff_ffff).expect("32 bits")
            }
        }
    }
}

/// The kernel's interpreter, for the instructions that we use.
fn verdict(filter: &[libc::sock_filter], call: Call) -> u32 {
    let mut at = 0;
    let mut loaded = 0;
    loop {
        let step = filter[at];
        at += 1;
        let met = match step.code {
            LOAD => {
                loaded = call.word(step.k);
                continue;
            }
            AND => {
                loaded &= step.k;
                continue;
            }
            RETURN => return step.k,
            IF_EQUAL => loaded == step.k,
            IF_AT_LEAST => loaded >= step.k,
            IF_ANY_BIT => loaded & step.k != 0,
            code => panic!("no such instruction: {code:#x}"),
        };
        at += usize::from(if met { step.jt } else { step.jf });
    }
}

fn of(number: i64, arguments: &[u64]) -> u32 {
    verdict(
        &filter(HeldBy::Cgroup).expect("the embedded policy compiles"),
        call(number, arguments),
    )
}

const EPERM: u32 = failure(libc::EPERM);
const EACCES: u32 = failure(libc::EACCES);
const ENOSYS: u32 = failure(libc::ENOSYS);

#[test]
fn ordinary_calls_pass() {
    for number in [
        libc::SYS_read,
        libc::SYS_openat,
        libc::SYS_execve,
        libc::SYS_exit_group,
        libc::SYS_mmap,
    ] {
        assert_eq!(of(number, &[]), ALLOW, "{number}");
    }
}

#[test]
fn calls_without_a_condition_are_denied_whatever_their_arguments() {
    assert_eq!(of(libc::SYS_ptrace, &[0]), EPERM);
    assert_eq!(of(libc::SYS_mount, &[u64::MAX; 6]), EPERM);
    assert_eq!(of(libc::SYS_io_uring_setup, &[1]), ENOSYS);
}

#[test]
fn a_fork_passes_and_a_new_namespace_does_not() {
    let fork = u64::try_from(libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD).expect("positive");
    assert_eq!(of(libc::SYS_clone, &[fork]), ALLOW);
    let thread =
        u64::try_from(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND).expect("positive");
    assert_eq!(of(libc::SYS_clone, &[thread]), ALLOW);
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let flags = fork | u64::try_from(namespace).expect("positive");
        assert_eq!(of(libc::SYS_clone, &[flags]), EPERM, "{namespace:#x}");
    }
    assert_eq!(of(libc::SYS_clone3, &[]), ENOSYS);
}

#[test]
fn only_unix_sockets_are_made_even_when_the_family_hides_in_a_wide_argument() {
    let family = |family: i32| u64::try_from(family).expect("positive");
    assert_eq!(of(libc::SYS_socket, &[family(libc::AF_UNIX)]), ALLOW);
    for other in [
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
        libc::AF_PACKET,
        libc::AF_VSOCK,
        libc::AF_ALG,
        0,
    ] {
        assert_eq!(of(libc::SYS_socket, &[family(other)]), EACCES, "{other}");
    }
    // A pair asks the same families, and makes the kernel load their modules on the way.
    assert_eq!(of(libc::SYS_socketpair, &[family(libc::AF_UNIX)]), ALLOW);
    for other in [libc::AF_TIPC, libc::AF_INET, 0] {
        assert_eq!(
            of(libc::SYS_socketpair, &[family(other)]),
            EACCES,
            "{other}"
        );
    }
    // The kernel takes the low half for an int; so does the filter.
    assert_eq!(
        of(libc::SYS_socket, &[(1 << 32) | family(libc::AF_INET)]),
        EACCES
    );
}

#[test]
fn a_terminal_cannot_be_typed_into_and_other_controls_pass() {
    assert_eq!(of(libc::SYS_ioctl, &[0, libc::TIOCSTI]), EPERM);
    assert_eq!(of(libc::SYS_ioctl, &[0, libc::TCGETS]), ALLOW);
}

#[test]
fn the_personality_may_be_asked_for_and_not_changed_to_a_weaker_one() {
    assert_eq!(of(libc::SYS_personality, &[0xffff_ffff]), ALLOW);
    assert_eq!(of(libc::SYS_personality, &[0x0040_0000]), EPERM);
}

#[test]
fn other_architectures_die_and_unknown_numbers_do_not_exist() {
    let i386 = Call {
        architecture: 0x4000_0003,
        ..call(libc::SYS_read, &[])
    };
    let filter = filter(HeldBy::Cgroup).expect("it compiles");
    assert_eq!(verdict(&filter, i386), KILL);
    assert_eq!(of(0x4000_0000 + libc::SYS_read, &[]), ENOSYS);
    assert_eq!(of(i64::from(u32::MAX), &[]), ENOSYS);
    // Between the numbers of old and new calls, just above the newest, and far above.
    for unknown in [400, 470, 9999] {
        assert_eq!(of(unknown, &[]), UNKNOWN, "{unknown}");
    }
}

#[test]
fn somebody_is_asked_about_unknown_calls_and_no_others() {
    let listener = listener().expect("it compiles");
    let asked = |number| verdict(&listener, call(number, &[]));
    for unknown in [400, 470, 9999] {
        assert_eq!(asked(unknown), ASK, "{unknown}");
    }
    // What the init of a slot does must never wait for the init.
    for number in [
        libc::SYS_read,
        libc::SYS_mount,
        libc::SYS_clone3,
        libc::SYS_unshare,
        libc::SYS_capset,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_seccomp,
        0x4000_0000,
    ] {
        assert_eq!(asked(number), ALLOW, "{number}");
    }
}

#[test]
fn every_call_that_this_architecture_has_stands_in_the_policy() {
    let policy = Policy::embedded().expect("it reads");
    let allowed = policy.allow.iter().flat_map(|group| &group.calls);
    let denied = policy.deny.iter().flat_map(|group| &group.calls);
    let named: BTreeSet<&str> = allowed.chain(denied).map(String::as_str).collect();
    let there = calls::EVERYWHERE
        .iter()
        .chain(calls::ON_X86_64)
        .copied()
        .chain(calls::NEW.iter().map(|(name, _)| *name));
    let missing: Vec<&str> = there.filter(|name| !named.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_filter_gives_each_call_the_answer_of_the_policy() {
    let policy = Policy::embedded().expect("it reads");
    let here = |name: &str| match calls::number(name) {
        calls::Number::Here(number) => Some(i64::from(number)),
        calls::Number::Elsewhere => None,
        calls::Number::Nowhere => panic!("{name} is no call"),
    };
    let mut conditional = BTreeSet::new();
    for group in &policy.deny {
        for name in &group.calls {
            if !group.when.is_empty() || group.without.is_some() {
                conditional.insert(name.as_str());
            } else if let Some(number) = here(name) {
                let answer = failure(group.answer.errno());
                assert_eq!(of(number, &[]), answer, "{name}");
                assert_eq!(of(number, &[u64::MAX; 6]), answer, "{name}");
            }
        }
    }
    for name in policy.allow.iter().flat_map(|group| &group.calls) {
        if let Some(number) = here(name).filter(|_| !conditional.contains(name.as_str())) {
            assert_eq!(of(number, &[]), ALLOW, "{name}");
            assert_eq!(of(number, &[u64::MAX; 6]), ALLOW, "{name}");
        }
    }
}

#[test]
fn a_call_is_decided_in_few_steps() {
    let filter = filter(HeldBy::Cgroup).expect("it compiles");
    assert!(filter.len() < 1024, "{} steps", filter.len());
    let steps = |number: u32| {
        let (mut at, mut count) = (0, 0);
        loop {
            let step = filter[at];
            count += 1;
            at += 1;
            let met = match step.code {
                RETURN => return count,
                IF_AT_LEAST => number >= step.k,
                IF_EQUAL => step.k == NATIVE || number == step.k,
                _ => continue,
            };
            at += usize::from(if met { step.jt } else { step.jf });
        }
    };
    assert!((0..500).map(steps).max() < Some(24));
}

#[test]
fn the_core_limit_may_be_asked_for_and_stays() {
    let nothing = failure(0);
    assert_eq!(of(libc::SYS_setrlimit, &[4, 1]), nothing);
    assert_eq!(of(libc::SYS_setrlimit, &[7, 1]), ALLOW);
    assert_eq!(of(libc::SYS_prlimit64, &[0, 4, 0, 1]), ALLOW);
    // A pointer may have nothing in its low half.
    assert_eq!(of(libc::SYS_prlimit64, &[0, 4, 1 << 32, 0]), nothing);
    assert_eq!(of(libc::SYS_prlimit64, &[0, 4, 0x1000, 0]), nothing);
    assert_eq!(of(libc::SYS_prlimit64, &[0, 7, 0x1000, 0]), ALLOW);
}

#[test]
fn limits_of_other_processes_are_out_of_reach() {
    assert_eq!(of(libc::SYS_prlimit64, &[1, 7, 0x1000, 0]), EPERM);
    assert_eq!(of(libc::SYS_prlimit64, &[1, 4, 0, 1]), EPERM);
}

#[test]
fn without_a_memory_cgroup_no_memory_is_had_that_resource_limits_do_not_see() {
    let bare = filter(HeldBy::Rlimit).expect("it compiles");
    let of_bare = |number, arguments: &[u64]| verdict(&bare, call(number, arguments));
    let flags = |flags: i32| [0, 4096, 3, u64::try_from(flags).expect("positive"), 0, 0];
    let shared = flags(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    assert_eq!(of_bare(libc::SYS_mmap, &shared), EPERM);
    assert_eq!(of(libc::SYS_mmap, &shared), ALLOW);
    for harmless in [
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        libc::MAP_SHARED,
        libc::MAP_PRIVATE,
    ] {
        assert_eq!(of_bare(libc::SYS_mmap, &flags(harmless)), ALLOW);
    }
    for number in [libc::SYS_memfd_create, libc::SYS_shmget] {
        assert_eq!((of_bare(number, &[]), of(number, &[])), (EPERM, ALLOW));
    }
}

#[test]
fn a_worker_makes_threads_and_nothing_that_outlives_or_outranks_it() {
    let filter = super::worker_filter().expect("it compiles");
    let of_worker = |number, arguments: &[u64]| verdict(&filter, call(number, arguments));
    let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
    let thread = u64::try_from(thread).expect("positive");
    assert_eq!(of_worker(libc::SYS_clone, &[thread]), ALLOW);
    let process = u64::try_from(libc::SIGCHLD).expect("positive");
    assert_eq!(of_worker(libc::SYS_clone, &[process]), EPERM);
    for number in [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_pidfd_send_signal,
        libc::SYS_ptrace,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setresuid,
        libc::SYS_capset,
        libc::SYS_bpf,
    ] {
        assert_eq!(of_worker(number, &[]), ENOSYS, "{number}");
    }
    let family = |family: i32| [u64::try_from(family).expect("positive"), 1, 0];
    assert_eq!(of_worker(libc::SYS_socket, &family(libc::AF_INET6)), ALLOW);
    assert_eq!(
        of_worker(libc::SYS_socket, &family(libc::AF_PACKET)),
        EACCES
    );
}

#[test]
fn a_collector_can_open_read_and_write_and_nothing_else() {
    let filter = super::collector_filter().expect("it compiles");
    let passes = |name: &&&str| match calls::number(name) {
        calls::Number::Here(number) => verdict(&filter, call(i64::from(number), &[])) == ALLOW,
        calls::Number::Elsewhere | calls::Number::Nowhere => false,
    };
    let all = calls::EVERYWHERE.iter().chain(calls::ON_X86_64);
    let allowed: BTreeSet<&str> = all.filter(passes).copied().collect();
    let expected = "brk close exit exit_group fstat getdents64 madvise mmap mremap munmap \
                    newfstatat openat2 read rt_sigreturn statx write";
    assert_eq!(allowed, expected.split(' ').collect());
    assert_eq!(
        verdict(&filter, call(libc::SYS_openat, &[])),
        failure(libc::ENOSYS)
    );
}

fn compile(groups: &str) -> Result<Vec<libc::sock_filter>, PolicyError> {
    let policy: Policy = toml::from_str(groups)?;
    policy.filter(HeldBy::Cgroup, super::program::UNKNOWN)
}

#[test]
fn a_policy_with_a_mistake_does_not_compile() {
    let allow = "[[allow]]\nreason = \"r.\"\ncalls = [\"socket\", \"read\"]\n";
    let group = |calls: &str, more: &str| {
        compile(&format!(
            "{allow}[[deny]]\nreason = \"r.\"\nanswer = \"EPERM\"\ncalls = [{calls}]\n{more}"
        ))
    };
    assert!(group("\"ptrace\"", "").is_ok());
    assert!(
        matches!(group("\"ptrase\"", ""), Err(PolicyError::UnknownCall(name)) if name == "ptrase")
    );
    for twice in ["\"mount\", \"mount\"", "\"read\""] {
        assert!(matches!(group(twice, ""), Err(PolicyError::Twice(_))));
    }
    for bad in [
        "when = [{ argument = 0 }]",
        "when = [{ argument = 6, any_bit = [1] }]",
        "when = [{ argument = 0, any_bit = [1], one_of = [1] }]",
    ] {
        assert!(matches!(
            group("\"socket\"", bad),
            Err(PolicyError::Condition(_))
        ));
    }
    let condition = "when = [{ argument = 0, any_bit = [1] }]";
    assert!(matches!(
        group("\"ptrace\"", condition),
        Err(PolicyError::NotAllowed(_))
    ));
    assert!(matches!(
        group("\"ptrace\"", "without = \"moat\""),
        Err(PolicyError::Wall(_))
    ));
    assert!(matches!(compile("why = 1\n"), Err(PolicyError::Toml(_))));
    let silent =
        format!("{allow}[[deny]]\nreason = \"\"\nanswer = \"EPERM\"\ncalls = [\"ptrace\"]\n");
    assert!(matches!(compile(&silent), Err(PolicyError::NoReason(_))));
}
