//! Which tests run in a guest when nobody says which, and which never do.

use jailfleet_guest::User::{self, Plain, Root};
use regex::Regex;

/// A test of a test program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestName {
    /// The program, as cargo names it.
    pub(crate) program: String,
    /// The test, as the program lists it.
    pub(crate) test: String,
}

/// A test and who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// Which.
    pub(crate) name: TestName,
    /// As whom.
    pub(crate) user: User,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// The table below.
    Usual,
    /// All tests that can run in a guest.
    Everything,
    /// Those whose `program::test` fits.
    Fitting(Regex),
}

/// About two minutes' worth: each kind of wall once, what differs between the two versions of the
/// control groups, and the ends that must leave nothing.
const USUAL: &[(&str, &str, User)] = &[
    (
        "real_parts",
        "every_wall_is_tried_and_each_that_is_missing_comes_with_a_remedy",
        Root,
    ),
    (
        "real_parts",
        "every_wall_is_tried_and_each_that_is_missing_comes_with_a_remedy",
        Plain,
    ),
    (
        "real_apparmor",
        "each_program_runs_in_the_profile_of_its_runtime",
        Root,
    ),
    (
        "real_apparmor",
        "the_warden_is_in_its_own_profile_and_no_program_leaves_its_own",
        Root,
    ),
    (
        "real_apparmor",
        "files_that_all_jails_share_cannot_be_locked_and_their_own_can",
        Root,
    ),
    (
        "real_apparmor",
        "a_profile_that_is_not_loaded_is_a_missing_wall_and_is_not_entered",
        Root,
    ),
    (
        "real_apparmor",
        "the_examination_asks_for_the_profile_of_each_process_that_has_one",
        Root,
    ),
    (
        "real_apparmor",
        "limits_and_sweeps_end_programs_in_their_profiles",
        Root,
    ),
    (
        "real_apparmor",
        "a_killed_warden_takes_jails_in_their_profiles_with_it",
        Root,
    ),
    (
        "real_apparmor",
        "after_no_new_privs_a_profile_comes_on_top_of_the_containers",
        Root,
    ),
    (
        "real_apparmor",
        "without_no_new_privs_a_profile_comes_on_top_of_the_containers_too",
        Root,
    ),
    (
        "real_walls",
        "apparmor_alone_keeps_a_lock_of_one_jail_from_another",
        Root,
    ),
    (
        "real_parts",
        "landlock_alone_refuses_files_ports_and_sockets_of_the_host",
        Root,
    ),
    (
        "real_parts",
        "a_sweep_kills_what_ignores_every_signal_and_only_then_the_slot_is_proved_clean",
        Root,
    ),
    ("real_jail", "a_python_and_a_shell_program_say_hello", Root),
    ("real_jail", "a_python_and_a_shell_program_say_hello", Plain),
    (
        "real_jail",
        "parity::files_of_the_system_cannot_be_read",
        Root,
    ),
    (
        "real_jail",
        "parity::no_socket_to_a_network_can_be_made",
        Root,
    ),
    (
        "real_jail",
        "programs::no_capability_group_descriptor_or_privilege_is_left",
        Root,
    ),
    (
        "real_jail",
        "programs::a_memory_hog_is_killed_and_counted",
        Root,
    ),
    (
        "real_jail",
        "programs::a_memory_hog_is_killed_and_counted",
        Plain,
    ),
    (
        "real_artifacts",
        "files_and_trees_come_out_of_a_jail_and_so_do_the_jobs_own_files",
        Root,
    ),
    (
        "real_artifacts",
        "files_and_trees_come_out_of_a_jail_and_so_do_the_jobs_own_files",
        Plain,
    ),
    (
        "real_artifacts",
        "collector::a_collector_has_the_slots_identity_no_power_and_one_pipe",
        Root,
    ),
    (
        "real_host",
        "a_kill_for_want_of_memory_above_the_slot_is_no_verdict_on_the_run_that_the_kernel_chose",
        Root,
    ),
    (
        "real_host",
        "a_run_has_as_much_memory_as_its_limit_says_and_no_swap_beside_it",
        Root,
    ),
    (
        "real_host",
        "when_the_hosts_memory_runs_out_programs_go_first_and_the_warden_and_the_inits_last",
        Root,
    ),
    (
        "real_wardens",
        "an_old_warden_that_ends_takes_nothing_from_the_new_one_beside_it",
        Root,
    ),
    ("real_jail", "programs::children_share_one_cpu_limit", Root),
    (
        "real_jail",
        "ends::a_stopped_warden_leaves_no_process_mount_cgroup_or_lease",
        Root,
    ),
    (
        "real_jail",
        "ends::jails_die_with_a_warden_that_is_killed_and_the_next_start_cleans_up",
        Root,
    ),
    (
        "real_jail",
        "ends::a_stopped_warden_leaves_no_process_mount_cgroup_or_lease",
        Plain,
    ),
    (
        "real_jail",
        "ends::a_plain_user_gets_jails_in_user_namespaces",
        Root,
    ),
    (
        "real_jail",
        "ends::a_slot_whose_init_dies_is_replaced_and_its_run_is_lost",
        Root,
    ),
    (
        "real_jail",
        "programs::a_daemon_that_outlives_its_parent_is_dead_before_the_slot_is_idle",
        Root,
    ),
    (
        "real_jail",
        "programs::a_sleeper_ends_at_its_wall_limit_also_when_it_stops_itself",
        Plain,
    ),
    (
        "real_attacks",
        "kernel::calls_that_the_policy_does_not_know_do_not_exist_and_are_told_by_their_number",
        Root,
    ),
    (
        "real_attacks",
        "network::no_abstract_socket_of_the_host_can_be_reached",
        Root,
    ),
    (
        "real_attacks",
        "network::no_abstract_socket_of_the_host_can_be_reached",
        Plain,
    ),
    (
        "real_attacks",
        "resources::a_memory_hog_is_killed_by_its_own_limit_and_its_neighbour_goes_on",
        Root,
    ),
    (
        "real_attacks",
        "processes::two_jails_that_run_at_one_time_see_nothing_of_each_other",
        Root,
    ),
    (
        "real_catalogue",
        "attacks_on_the_kernels_surface_fail",
        Root,
    ),
    (
        "real_catalogue",
        "attacks_on_the_kernels_surface_fail",
        Plain,
    ),
    ("real_catalogue", "attacks_on_the_hosts_files_fail", Root),
    ("real_catalogue", "attacks_by_the_network_fail", Root),
    (
        "real_catalogue",
        "attacks_on_what_other_jobs_left_fail",
        Root,
    ),
];

/// Never in a guest, by the start of the name, with the reason.
const NEVER: &[(&str, &str, &str)] = &[
    (
        "real_jail",
        "bench::",
        "an emulated processor says nothing about speed",
    ),
    (
        "real_attacks",
        "teardown::neighbours_wall_limits_stay_exact_while_a_million",
        "a guest has less memory than a million inodes take",
    ),
    (
        "real_artifacts",
        "hostile::a_million_entries",
        "a guest has less memory than a million inodes take",
    ),
    (
        "real_artifacts",
        "a_plain_users_jails_bring_out_the_same",
        "the guest's own plain user runs them",
    ),
    (
        "real_catalogue",
        "the_attacks_fail_in_a_plain_users_jails_too",
        "the guest's own plain user runs them",
    ),
    (
        "real_leaks",
        "a_plain_users_jails_leak_no_more_than_roots",
        "the guest's own plain user runs them",
    ),
];

/// Chooses among the tests that are there. `user` takes the place of the table's.
///
/// # Errors
/// Names of the table that no test has, since a test that was renamed must not vanish unseen.
pub(crate) fn choose(
    there: &[TestName],
    wanted: &Wanted,
    user: Option<User>,
) -> Result<Vec<Case>, Vec<String>> {
    let case = |name: &TestName, usual: User| Case {
        name: name.clone(),
        user: user.unwrap_or(usual),
    };
    let fits = |name: &&TestName| match wanted {
        Wanted::Usual => false,
        Wanted::Everything => may_run(name),
        Wanted::Fitting(pattern) => {
            may_run(name) && pattern.is_match(&format!("{}::{}", name.program, name.test))
        }
    };
    if !matches!(wanted, Wanted::Usual) {
        return Ok(there
            .iter()
            .filter(fits)
            .map(|name| case(name, Root))
            .collect());
    }
    let mut cases = Vec::new();
    let mut unknown = Vec::new();
    for (program, test, usual) in USUAL {
        let found = there
            .iter()
            .find(|name| name.program == *program && name.test == *test);
        match found {
            // With one user for all, what the table has for both comes but once.
            Some(name) if cases.contains(&case(name, *usual)) => {}
            Some(name) => cases.push(case(name, *usual)),
            None => unknown.push(format!("{program}::{test}")),
        }
    }
    if unknown.is_empty() {
        Ok(cases)
    } else {
        Err(unknown)
    }
}

fn may_run(name: &TestName) -> bool {
    !NEVER
        .iter()
        .any(|(program, start, _)| name.program == *program && name.test.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::{TestName, USUAL, Wanted, choose};
    use jailfleet_guest::User;

    fn name(program: &str, test: &str) -> TestName {
        TestName {
            program: program.to_owned(),
            test: test.to_owned(),
        }
    }

    fn usual() -> Vec<TestName> {
        let mut names: Vec<TestName> = USUAL
            .iter()
            .map(|(program, test, _)| name(program, test))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn the_usual_tests_are_run_as_the_table_says_or_all_as_one_user() {
        let cases = choose(&usual(), &Wanted::Usual, None).expect("all are there");
        assert_eq!(cases.len(), USUAL.len());
        assert!(cases.iter().any(|case| case.user == User::Plain));
        let cases = choose(&usual(), &Wanted::Usual, Some(User::Plain)).expect("all are there");
        assert_eq!(cases.len(), usual().len(), "each but once");
        assert!(cases.iter().all(|case| case.user == User::Plain));
    }

    #[test]
    fn a_test_of_the_table_that_is_gone_is_told() {
        let mut there = usual();
        let gone = there.remove(0);
        let unknown = choose(&there, &Wanted::Usual, None).expect_err("one is gone");
        assert!(
            unknown.iter().all(|name| name.ends_with(&gone.test)),
            "{unknown:?}"
        );
        assert!(!unknown.is_empty());
    }

    #[test]
    fn a_pattern_sees_program_and_test_and_a_bench_never_runs() {
        let there = [
            name("real_jail", "ends::a"),
            name("real_jail", "bench::a"),
            name("real_parts", "b"),
        ];
        let tests = |wanted: &Wanted| {
            let cases = choose(&there, wanted, None).expect("nothing is looked up");
            let names = cases.into_iter().map(|case| case.name.test);
            names.collect::<Vec<_>>()
        };
        let pattern = |text| Wanted::Fitting(regex::Regex::new(text).expect("a good pattern"));
        assert_eq!(tests(&Wanted::Everything), ["ends::a", "b"]);
        assert_eq!(tests(&pattern("^real_jail")), ["ends::a"]);
        assert_eq!(tests(&pattern("::b$")), ["b"]);
    }
}
