//! What a test asks of its machine, so that no skip passes unseen.
//!
//! A test that cannot be what it should be says `require!(Root, Broker)` in its first line. Where
//! the machine lacks one of them the test ends there: it says so on standard error and adds a line
//! to the file that [`SKIPS`] names. Where the machine must have it the test fails instead.

use std::path::Path;

use crate::noted::append;
use crate::release::Release;

/// Set to anything: no test may be skipped.
pub const NO_SKIPS: &str = "JAILFLEET_NO_SKIPS";
/// Names the file that gets one line for each skip.
pub const SKIPS: &str = "JAILFLEET_SKIPS_FILE";

/// Something that a test needs of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// The rights of root.
    Root,
    /// A control group that limits and counts memory.
    CgroupMemory,
    /// A control group that limits tasks.
    CgroupPids,
    /// A control group that counts CPU time.
    CgroupCpu,
    /// The right to be spared when the host's memory runs out: CAP_SYS_RESOURCE.
    SysResource,
    /// A hierarchy of version 1 that freezes processes.
    CgroupFreezer,
    /// A hierarchy of version 1 that withholds CPU time, and a kernel that tells of it in `cpu.pressure`.
    CpuQuota,
    /// A kernel with Landlock in its list of security modules.
    Landlock,
    /// A kernel that enforces AppArmor.
    AppArmor,
    /// Uids of the slots' own.
    SlotUids,
    /// RabbitMQ, or the right to install it.
    Broker,
    /// The program `curl`.
    Curl,
    /// The processor that a test has machine code or call numbers for.
    X86,
}

fn has_sys_resource() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & SYS_RESOURCE != 0)
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Requirement {
    /// Whether this machine has it; `None` where only the test itself can find out.
    fn is_met(self) -> Option<bool> {
        let root = || rustix::process::geteuid().is_root();
        match self {
            Self::Root => Some(root()),
            Self::Broker => {
                let may = root() && crate::packages::may_install();
                // A release that there is not is no reason to skip: whoever starts a node says so.
                Some(may || Release::asked().map_or(true, Release::is_here))
            }
            Self::AppArmor => {
                let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
                Some(enabled.is_ok_and(|word| word.trim() == "Y"))
            }
            Self::SysResource => Some(has_sys_resource()),
            Self::Curl => Some(is_in_path("curl")),
            Self::X86 => Some(cfg!(target_arch = "x86_64")),
            Self::CgroupMemory
            | Self::CgroupPids
            | Self::CgroupCpu
            | Self::CgroupFreezer
            | Self::CpuQuota
            | Self::Landlock
            | Self::SlotUids => None,
        }
    }

    /// Whether root on a machine of continuous integration always has it.
    const fn is_usual(self) -> bool {
        match self {
            Self::Root
            | Self::CgroupMemory
            | Self::CgroupPids
            | Self::CgroupCpu
            | Self::Landlock
            | Self::SlotUids
            | Self::Broker => true,
            Self::AppArmor
            | Self::Curl
            | Self::X86
            | Self::SysResource
            | Self::CgroupFreezer
            | Self::CpuQuota => false,
        }
    }
}

/// What this run thinks of skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skips {
    /// They are reported.
    Reported,
    /// None of what a usual machine has may be missing.
    Unusual,
    /// None at all.
    Refused,
}

impl Skips {
    fn now() -> Self {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        if std::env::var_os(NO_SKIPS).is_some() {
            Self::Refused
        } else if ci && rustix::process::geteuid().is_root() {
            Self::Unusual
        } else {
            Self::Reported
        }
    }

    const fn allow(self, requirement: Requirement) -> bool {
        match self {
            Self::Reported => true,
            Self::Unusual => !requirement.is_usual(),
            Self::Refused => false,
        }
    }
}

/// Whether `test` can go on; called by [`require!`](crate::require).
///
/// # Panics
/// When the requirement is not met and may not be missing here, or when the skip cannot be noted.
#[must_use]
pub fn met(requirement: Requirement, test: &str) -> bool {
    let known = requirement.is_met();
    found(
        requirement,
        known.expect("this requirement is written with `=>` and what the test found out"),
        test,
    )
}

/// Whether `test` can go on, after it `found` out by itself.
///
/// # Panics
/// As [`met`].
#[must_use]
pub fn found(requirement: Requirement, found: bool, test: &str) -> bool {
    if found {
        return true;
    }
    assert!(
        Skips::now().allow(requirement),
        "{test} needs {requirement:?}, and this machine must have it"
    );
    let line = format!("{test}: needs {requirement:?}\n");
    eprint!("SKIPPED {line}");
    if let Some(path) = std::env::var_os(SKIPS) {
        append(Path::new(&path), &line);
    }
    false
}

/// A test's own name, out of the name of an item within it.
#[must_use]
pub fn test_name(item: &'static str) -> String {
    let path = item.trim_end_matches("::here");
    path.replace("::{{closure}}", "")
}

/// Ends the test, aloud, unless the machine has what it needs.
///
/// `require!(Root, Broker)` asks the machine. `require!(CgroupCpu => holds)` takes what the test
/// found out, e.g. from the walls that its warden raised.
#[macro_export]
macro_rules! require {
    ($requirement:ident => $found:expr) => {
        if !$crate::requirement::found(
            $crate::requirement::Requirement::$requirement,
            $found,
            &$crate::here!(),
        ) {
            return;
        }
    };
    ($($requirement:ident),+ $(,)?) => {
        $(if !$crate::requirement::met(
            $crate::requirement::Requirement::$requirement,
            &$crate::here!(),
        ) {
            return;
        })+
    };
}

/// The name of the function that this stands in. A thread's name would not do: with one thread for
/// all tests that is `main`.
#[doc(hidden)]
#[macro_export]
macro_rules! here {
    () => {{
        fn here() {}
        $crate::requirement::test_name(std::any::type_name_of_val(&here))
    }};
}

#[cfg(test)]
mod tests {
    use super::{Requirement, Skips};

    #[test]
    fn a_machine_of_continuous_integration_may_lack_only_what_is_unusual() {
        for (skips, root, apparmor) in [
            (Skips::Reported, true, true),
            (Skips::Unusual, false, true),
            (Skips::Refused, false, false),
        ] {
            assert_eq!(skips.allow(Requirement::Root), root, "{skips:?}");
            assert_eq!(skips.allow(Requirement::AppArmor), apparmor, "{skips:?}");
        }
    }

    #[test]
    fn a_test_is_named_by_the_path_of_its_function() {
        let name = crate::here!();
        let expected = "requirement::tests::a_test_is_named_by_the_path_of_its_function";
        assert!(name.ends_with(expected), "{name}");
        let inner = || crate::here!();
        assert_eq!(inner(), name);
    }
}
