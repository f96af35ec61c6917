//! The filters, run call by call by an interpreter of the few instructions that they use.

use super::program::{
    ALLOW, ARCHITECTURE_AT, IF_ANY_BIT, IF_AT_LEAST, IF_EQUAL, IF_GREATER, KILL, LOAD, NATIVE,
    NUMBER_AT, RETURN, failure,
};
use super::{Policy, PolicyError, filter};
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
                let argument = self.arguments[(usize::try_from(at).expect("small") - 16) / 8];
                u32::try_from(argument & 0xffff_ffff).expect("32 bits")
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
            RETURN => return step.k,
            IF_EQUAL => loaded == step.k,
            IF_GREATER => loaded > step.k,
            IF_AT_LEAST => loaded >= step.k,
            IF_ANY_BIT => loaded & step.k != 0,
            code => panic!("no such instruction: {code:#x}"),
        };
        at += usize::from(if met { step.jt } else { step.jf });
    }
}

fn of(number: i64, arguments: &[u64]) -> u32 {
    verdict(
        &filter().expect("the embedded policy compiles"),
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
    assert_eq!(verdict(&filter().expect("it compiles"), i386), KILL);
    assert_eq!(of(0x4000_0000 + libc::SYS_read, &[]), ENOSYS);
    assert_eq!(of(i64::from(u32::MAX), &[]), ENOSYS);
    let newest = i64::from(Policy::embedded().expect("it reads").newest);
    assert_eq!(of(newest, &[]), ALLOW);
    assert_eq!(of(newest + 1, &[]), ENOSYS);
}

#[test]
fn every_call_of_the_policy_is_looked_for_by_the_filter() {
    let policy = Policy::embedded().expect("it reads");
    let filter = policy.compile().expect("it compiles");
    let tested: BTreeSet<u32> = filter
        .iter()
        .filter(|step| step.code == IF_EQUAL)
        .map(|step| step.k)
        .collect();
    for rule in &policy.rule {
        for name in &rule.calls {
            match super::calls::number(name) {
                super::calls::Number::Here(number) => assert!(tested.contains(&number), "{name}"),
                super::calls::Number::Elsewhere => {}
                super::calls::Number::Nowhere => panic!("{name} is no call"),
            }
        }
    }
    assert!(filter.len() < 4096, "the kernel takes no longer filter");
}

fn compile(rules: &str) -> Result<Vec<libc::sock_filter>, PolicyError> {
    let policy: Policy = toml::from_str(&format!("newest = 1\n{rules}"))?;
    policy.compile()
}

#[test]
fn a_policy_with_a_mistake_does_not_compile() {
    let rule = |calls: &str, when: &str| {
        compile(&format!(
            "[[rule]]\nreason = \"r.\"\nanswer = \"EPERM\"\ncalls = [{calls}]\n{when}"
        ))
    };
    assert!(rule("\"ptrace\"", "").is_ok());
    assert!(
        matches!(rule("\"ptrase\"", ""), Err(PolicyError::UnknownCall(name)) if name == "ptrase")
    );
    assert!(matches!(
        rule("\"mount\", \"mount\"", ""),
        Err(PolicyError::Twice(_))
    ));
    let nothing = "when = { argument = 0 }";
    assert!(matches!(
        rule("\"socket\"", nothing),
        Err(PolicyError::Condition(_))
    ));
    let seventh = "when = { argument = 6, any_bit = [1] }";
    assert!(matches!(
        rule("\"socket\"", seventh),
        Err(PolicyError::Condition(_))
    ));
    assert!(matches!(
        compile("[[rule]]\nwhy = 1\n"),
        Err(PolicyError::Toml(_))
    ));
    let silent = "[[rule]]\nreason = \"\"\nanswer = \"EPERM\"\ncalls = [\"ptrace\"]\n";
    assert!(matches!(compile(silent), Err(PolicyError::NoReason(_))));
}
