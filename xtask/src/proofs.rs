//! Which walls were proven where: the last table of `cargo xtask test`.

use crate::table::Table;
use jailfleet::wall::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// Tests that passed, by the place where they ran, as `program::test`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passed(BTreeMap<String, BTreeSet<String>>);

impl Passed {
    /// A test passed at `place`.
    pub(crate) fn note(&mut self, place: &str, test: &str) {
        let tests = self.0.entry(place.to_owned()).or_default();
        tests.insert(test.to_owned());
    }

    /// One did not, after all: it only said that it could not run.
    pub(crate) fn strike(&mut self, place: &str, test: &str) {
        if let Some(tests) = self.0.get_mut(place) {
            tests.remove(test);
        }
    }

    /// Takes what passed elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        for (place, tests) in other.0 {
            self.0.entry(place).or_default().extend(tests);
        }
    }

    /// Takes one line of nextest's, about a test of the sandbox.
    pub(crate) fn note_line(&mut self, line: &str) {
        let mut words = line.split_whitespace().rev();
        let (Some(test), Some(program)) = (words.next(), words.next()) else {
            return;
        };
        if let Some(program) = program.strip_prefix("jailfleet-sandbox::")
            && line.trim_start().starts_with("PASS")
        {
            self.note(HERE, &format!("{program}::{test}"));
        }
    }

    /// A row for each wall, a column for each place, in each field the test that proved it there.
    pub(crate) fn table(&self) -> String {
        let mut head = vec!["wall"];
        head.extend(self.0.keys().map(String::as_str));
        let mut table = Table::new(&head);
        for wall in Wall::ALL {
            let cells = self.0.values().map(|tests| {
                let proof = proofs(*wall).iter().find(|proof| tests.contains(**proof));
                proof.map_or("-".to_owned(), |proof| short(proof).to_owned())
            });
            table.row(std::iter::once(wall.as_str().to_owned()).chain(cells));
        }
        table.render()
    }

    /// The walls that no test proved anywhere.
    pub(crate) fn unproven(&self) -> Vec<Wall> {
        let is_proven = |wall: &Wall| {
            let mut proofs = proofs(*wall).iter();
            proofs.any(|proof| self.0.values().any(|tests| tests.contains(*proof)))
        };
        let walls = Wall::ALL.iter().copied();
        walls.filter(|wall| !is_proven(wall)).collect()
    }

    /// Whether no place has run anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// This machine, as opposed to a guest.
pub(crate) const HERE: &str = "here";

/// The last part of a test's name, cut to what a column can hold.
fn short(proof: &str) -> &str {
    let name = proof.rsplit("::").next().unwrap_or(proof);
    name.char_indices()
        .nth(40)
        .map_or(name, |(at, _)| name.get(..at).unwrap_or(name))
}

/// The tests that prove a wall, the plainest first.
const fn proofs(wall: Wall) -> &'static [&'static str] {
    match wall {
        Wall::Rlimits => &[
            "real_jail::programs::disk_files_and_file_sizes_are_limited",
            "real_jail::programs::an_address_space_limit_becomes_a_memory_error",
        ],
        Wall::NoNewPrivs | Wall::Descriptors | Wall::Caps => {
            &["real_jail::programs::no_capability_group_descriptor_or_privilege_is_left"]
        }
        Wall::Uid => &[
            "real_parts::two_workers_of_a_host_never_lease_the_same_uid",
            "real_parts::a_sweep_kills_what_ignores_every_signal_and_only_then_the_slot_is_proved_clean",
        ],
        Wall::Userns => &["real_jail::ends::a_plain_user_gets_jails_in_user_namespaces"],
        Wall::Pidns => &[
            "real_attacks::processes::two_jails_that_run_at_one_time_see_nothing_of_each_other",
            "real_jail::ends::jails_die_with_a_warden_that_is_killed_and_the_next_start_cleans_up",
        ],
        Wall::Mountns | Wall::Root => &[
            "real_attacks::files::no_mount_of_the_jail_is_wider_than_it_must_be",
            "real_jail::parity::files_of_the_system_cannot_be_read",
        ],
        Wall::Netns => &["real_jail::parity::no_socket_to_a_network_can_be_made"],
        Wall::Ipcns | Wall::Utsns => &[
            "real_leaks::what_a_run_has_is_not_there_for_a_neighbour_at_the_same_time",
            "real_leaks::what_a_run_left_is_not_there_for_the_next_run_of_its_slot",
        ],
        // One of its files looks at the groups by their names, and is skipped where the wall is missing.
        Wall::Cgroupns => &["real_catalogue::attacks_on_what_other_jobs_left_fail"],
        Wall::Scratch => &[
            "real_jail::programs::a_run_sees_nothing_of_the_run_before_it",
            "real_jail::programs::disk_files_and_file_sizes_are_limited",
        ],
        Wall::CgroupMemory => &["real_jail::programs::a_memory_hog_is_killed_and_counted"],
        Wall::CgroupPids => &["real_jail::programs::a_fork_bomb_stays_within_its_process_limit"],
        Wall::CgroupCpu => &["real_jail::programs::children_share_one_cpu_limit"],
        Wall::Apparmor => &["real_apparmor::each_program_runs_in_the_profile_of_its_runtime"],
        Wall::Landlock => {
            &["real_parts::landlock_alone_refuses_files_ports_and_sockets_of_the_host"]
        }
        Wall::Seccomp => &[
            "real_attacks::kernel::calls_that_the_policy_does_not_know_do_not_exist_and_are_told_by_their_number",
            "real_catalogue::attacks_on_the_kernels_surface_fail",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{HERE, Passed, proofs};
    use jailfleet::wall::Wall;
    use std::path::Path;

    #[test]
    fn a_wall_is_proven_where_one_of_its_tests_passed_and_was_not_skipped() {
        let mut passed = Passed::default();
        passed.note_line(
            "        PASS [   0.3s] (1/9) jailfleet-sandbox::real_jail programs::children_share_one_cpu_limit",
        );
        passed.note_line("        FAIL [   0.3s] (2/9) jailfleet-sandbox::real_jail parity::x");
        passed.note(
            "guest 6.1",
            "real_apparmor::each_program_runs_in_the_profile_of_its_runtime",
        );
        let row = |passed: &Passed, wall: &str| {
            let table = passed.table();
            let row = table
                .lines()
                .find(|line| line.trim_start().starts_with(wall));
            row.expect("a row")
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            row(&passed, "cgroup_cpu"),
            ["cgroup_cpu", "-", "children_share_one_cpu_limit"]
        );
        assert_eq!(
            row(&passed, "apparmor"),
            ["apparmor", "each_program_runs_in_the_profile_of_its_", "-"]
        );
        passed.strike(HERE, "real_jail::programs::children_share_one_cpu_limit");
        assert_eq!(row(&passed, "cgroup_cpu"), ["cgroup_cpu", "-", "-"]);
    }

    #[test]
    fn a_wall_without_a_proof_anywhere_is_named() {
        let mut passed = Passed::default();
        for wall in Wall::ALL {
            let place = if *wall == Wall::Apparmor {
                "guest 6.1"
            } else {
                HERE
            };
            passed.note(place, proofs(*wall).first().expect("a proof"));
        }
        assert_eq!(passed.unproven(), []);
        passed.strike(HERE, "real_jail::programs::children_share_one_cpu_limit");
        assert_eq!(passed.unproven(), [Wall::CgroupCpu]);
    }

    #[test]
    fn every_proof_is_a_test_of_the_sandbox() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox/tests");
        for wall in Wall::ALL {
            assert!(!proofs(*wall).is_empty(), "{wall} has no proof");
            for proof in proofs(*wall) {
                let (module, name) = proof.rsplit_once("::").expect("a test is in a module");
                let path = tests.join(format!("{}.rs", module.replace("::", "/")));
                let text = std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{proof}: {}: {error}", path.display()));
                let (before, _) = text
                    .split_once(&format!("\nfn {name}()"))
                    .unwrap_or_else(|| panic!("{proof}: {} has no such test", path.display()));
                let attributes = before.rsplit("\n\n").next().unwrap_or(before);
                assert!(attributes.contains("#[test]"), "{proof} is no test");
            }
        }
    }
}
