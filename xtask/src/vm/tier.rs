//! The guests within the tiers: what is run there, and what is said when no guest can be had.

use crate::account::Notes;
use crate::needs::Install;
use crate::proofs::Passed;
use crate::unchecked::{must_all_be_checked, unchecked};
use crate::vm::NoGuest;
use crate::vm::recipe::Kernel;
use crate::vm::selection::Wanted;
use crate::vm::trial::{self, Order};
use crate::vm::verdict::Tally;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use jailfleet_guest::User;
use std::collections::BTreeSet;

/// How much of it a tier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// One kernel and two minutes.
    Usual,
    /// Every kernel, every test, as root and as a plain user.
    All,
}

/// What a tier learned in guests.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The tests that ran.
    pub(crate) tally: Tally,
    /// Those that passed.
    pub(crate) passed: Passed,
    /// One line a skip: the test, what it needs, and where.
    pub(crate) skips: BTreeSet<String>,
    /// What tests told although they passed, and where.
    pub(crate) notes: Notes,
    /// What nobody has checked, when there was no guest.
    pub(crate) unchecked: Option<String>,
}

/// What stays unchecked without a guest.
const PROMISES: [&str; 4] = [
    "that the kernel enforces our AppArmor profiles",
    "that limits hold, and groups are removed, under cgroup v2",
    "that jails stand on Linux 6.1 and 6.12, whatever this host runs",
    "that a plain user's jails are limited by the cgroup delegated to it",
];

/// Runs the tests, and puts down in `learned` what came of them.
///
/// # Errors
/// When a test failed, when a guest broke down in the middle, or when there was none and the
/// environment is that of continuous integration, where nobody reads warnings.
pub(crate) fn run(
    workspace: &Workspace,
    install: Install,
    share: Share,
    learned: &mut Learned,
) -> Result<()> {
    for order in orders(install, share) {
        if let Err(error) = trial::run(workspace, &order, learned) {
            if must_all_be_checked() || !is_no_guest(&error) {
                return Err(error);
            }
            let what = "since there was no guest to check it in";
            let words = unchecked(what, &PROMISES, &format!("{error:#}"));
            println!("{words}");
            learned.unchecked = Some(words);
            // What did run still counts.
            break;
        }
    }
    println!("\n{}", learned.tally);
    ensure!(learned.tally.failed == 0, "see all tests pass in guests");
    Ok(())
}

/// Whether there was nothing to test in, as opposed to something that went wrong in it.
fn is_no_guest(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NoGuest>().is_some()
}

fn orders(install: Install, share: Share) -> Vec<Order> {
    let all = |user| Order {
        kernels: Kernel::ALL.into(),
        wanted: Wanted::Everything,
        user: Some(user),
        install,
    };
    match share {
        Share::Usual => vec![Order {
            kernels: vec![Kernel::V6_1],
            wanted: Wanted::Usual,
            user: None,
            install,
        }],
        Share::All => [User::Root, User::Plain].map(all).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{NoGuest, Share, is_no_guest, orders};
    use crate::needs::Install;
    use anyhow::anyhow;

    #[test]
    fn a_guest_that_is_not_there_is_told_from_one_in_which_something_went_wrong() {
        let fetch = || anyhow!("fetch packages");
        assert!(is_no_guest(
            &fetch().context(NoGuest).context("test under 6.1")
        ));
        assert!(!is_no_guest(&fetch().context("load the profiles")));
    }

    #[test]
    fn the_usual_tier_boots_one_guest_and_the_whole_one_each_kernel_as_both_users() {
        let boots = |share| -> usize {
            let orders = orders(Install::Refused, share);
            orders.iter().map(|order| order.kernels.len()).sum()
        };
        assert_eq!((boots(Share::Usual), boots(Share::All)), (1, 4));
    }
}
