//! Ends of the worker, the warden and the inits: nothing stays behind.

use super::{Fleet, job, plain};
use jailfleet::evidence::{Acted, End};
use jailfleet_harness::require;
use jailfleet_sandbox::protocol::{Order, Report};

#[test]
fn a_stopped_warden_leaves_no_process_mount_cgroup_or_lease() {
    let mut fleet = Fleet::start(2);
    let going = fleet.order(0, &job("bash", "sleep 60"));
    fleet.wait_started(going.run);
    fleet.run_in(1, &job("bash", "echo x"));
    assert!(!fleet.processes_of_slots().is_empty());
    assert!(!fleet.cgroups().is_empty(), "this host has usable cgroups");
    fleet.send(&Order::Stop, &[]);
    fleet.wait_for_end();
    fleet.assert_nothing_left();
}

#[test]
fn a_warden_whose_worker_is_gone_kills_the_jails_and_ends() {
    let mut fleet = Fleet::start(1);
    let going = fleet.order(0, &job("bash", "sleep 60 & sleep 60"));
    fleet.wait_started(going.run);
    // Closing the socket is what the kernel does for a worker that dies.
    fleet.wait_for_end();
    fleet.assert_nothing_left();
}

#[test]
fn jails_die_with_a_warden_that_is_killed_and_the_next_start_cleans_up() {
    let mut fleet = Fleet::start(1);
    let going = fleet.order(0, &job("bash", "sleep 60 & sleep 60"));
    fleet.wait_started(going.run);
    fleet.kill_warden();
    fleet.wait_until_no_process_is_left();
    let mut next = fleet.start_again();
    assert_eq!(next.run(&job("bash", "echo again")).out(), "again\n");
    next.wait_for_end();
    next.assert_nothing_left();
}

#[test]
fn a_slot_whose_init_dies_is_replaced_and_its_run_is_lost() {
    let mut fleet = Fleet::start(1);
    let going = fleet.order(0, &job("bash", "sleep 60"));
    fleet.wait_started(going.run);
    fleet.kill_inits();
    let mut seen = Vec::new();
    while seen.last() != Some(&"idle") {
        seen.push(match fleet.report() {
            Some(Report::Ended { evidence, .. }) => {
                assert_eq!(evidence.end, End::Lost);
                "ended"
            }
            Some(Report::Quarantined { .. }) => "quarantined",
            Some(Report::Idle { build }) => {
                fleet.builds[0] = build;
                "idle"
            }
            other => panic!("unexpected {other:?}"),
        });
    }
    assert_eq!(seen, ["ended", "quarantined", "idle"]);
    assert_eq!(fleet.run(&job("bash", "echo next")).out(), "next\n");
}

#[test]
fn a_kill_of_the_worker_is_recorded_with_its_reason() {
    let mut fleet = Fleet::start(1);
    for why in [Acted::Output, Acted::Cancel, Acted::Drain] {
        let going = fleet.order(0, &job("bash", "sleep 60"));
        fleet.wait_started(going.run);
        fleet.send(
            &Order::Kill {
                slot: 0,
                run: going.run,
                why,
            },
            &[],
        );
        let seen = fleet.finish(going);
        assert_eq!(
            (seen.evidence.acted, seen.evidence.end),
            (Some(why), End::Signaled(9))
        );
    }
    // A kill that comes too late does nothing to the next run.
    let going = fleet.order(0, &job("bash", "echo fine"));
    fleet.send(
        &Order::Kill {
            slot: 0,
            run: going.run - 1,
            why: Acted::Cancel,
        },
        &[],
    );
    let seen = fleet.finish(going);
    assert_eq!(
        (seen.evidence.acted, seen.out()),
        (None, "fine\n".to_owned())
    );
}

#[test]
fn a_plain_user_gets_jails_in_user_namespaces() {
    // It becomes a plain user, which only root can.
    require!(Root);
    plain::as_a_plain_user(&[
        "a_python_and_a_shell_program_say_hello",
        "parity::files_in_tmp_can_be_written_read_and_deleted",
        "parity::files_of_the_system_cannot_be_read",
        "parity::folders_of_the_host_answer_writers_that_they_are_read_only",
        "parity::folders_of_the_system_cannot_be_listed",
        "parity::no_socket_to_a_network_can_be_made",
        "parity::nothing_can_be_written_outside_tmp",
        "parity::the_working_directory_lists_exactly_the_jobs_files_and_tmp",
        "ends::a_kill_of_the_worker_is_recorded_with_its_reason",
        "ends::a_slot_whose_init_dies_is_replaced_and_its_run_is_lost",
        "programs::no_capability_group_descriptor_or_privilege_is_left",
        "programs::a_sleeper_ends_at_its_wall_limit_also_when_it_stops_itself",
    ]);
}
