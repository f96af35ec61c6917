//! What the layers give.

use crate::{defaults, lines, worker};
use jailfleet::job::Name;
use jailfleet::limits::LimitsRequest;
use jailfleet::runtime::{Cwd, Presence, Program};
use jailfleet::settings::{CredentialFile, LaneShares, ReplyMode, Slots, producer_settings};
use jailfleet::wall::WallSet;

#[test]
fn the_embedded_defaults_are_right_and_complete() {
    let settings = defaults();
    let names: Vec<&str> = settings
        .runtimes
        .iter()
        .map(|runtime| runtime.name.as_str())
        .collect();
    assert_eq!(names, ["bash", "native", "node", "python"]);
    assert_eq!(settings.worker.walls, WallSet::Full);
    assert_eq!(settings.worker.slots, Slots::Auto);
    let python = settings.runtimes.last().expect("there are four");
    assert_eq!(python.program, Program::Path("/usr/bin/python3".to_owned()));
    assert_eq!(python.args, ["-E", "-B"]);
    assert_eq!(python.main_file, "jailed_code");
    assert_eq!(python.presence, Presence::IfPresent);
    assert_eq!(python.cwd, Cwd::ReadOnly);
    assert!(
        python
            .env
            .contains(&("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned()))
    );
    assert!(python.limits.address_space_bytes.is_none());
    producer_settings(None, &[], &[]).expect("the embedded defaults are right");
}

#[test]
fn who_lets_jobs_be_held_for_longer_than_a_broker_waits_is_told() {
    assert_eq!(defaults().cautions(), [""; 0]);
    let held = |wall_ms: u32, extra: u32| {
        let file = format!(
            "[runtimes.python.ceiling]\nwall_ms = {wall_ms}\n[amqp]\nprefetch_extra = {extra}"
        );
        worker(&file, &[], &[]).expect("it is allowed").cautions()
    };
    assert_eq!(held(1_799_999, 0), [""; 0]);
    let told = held(1_800_000, 0).join("\n");
    assert!(
        told.contains("30 minutes") && told.contains("runtime python"),
        "{told}"
    );
    let told = held(600_000, 2).join("\n");
    assert!(
        told.contains("consumer_timeout"),
        "with what is before it: {told}"
    );
}

#[test]
fn no_flag_takes_a_password_which_everybody_on_the_host_could_read() {
    for uri in ["amqp://g:hunter2@h/%2f", "amqps://h/exams?token=hunter2"] {
        let refused = worker("", &[], &[("amqp.uri", uri)]);
        let told = lines(refused).join("\n");
        assert!(told.contains("JAILFLEET__AMQP__URI"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let plain = worker("", &[], &[("amqp.uri", "amqp://g@h/exams")]).expect("no secret");
    assert_eq!(plain.amqp.uri.expose(), "amqp://g@h/exams");
}

#[test]
fn a_later_layer_wins_over_an_earlier_one() {
    let file = "[worker]\nslots = 2\npool = \"exams\"\nhost = \"h1\"";
    let env = [
        ("JAILFLEET__WORKER__SLOTS", "3"),
        ("jailfleet__worker__pool", "labs"),
    ];
    let flags = [("worker.slots", "4")];
    let settings = worker(file, &env, &flags).expect("all of it is right");
    assert_eq!(settings.worker.slots, Slots::Count(4));
    assert_eq!(settings.worker.pool.as_str(), "labs");
    assert_eq!(settings.worker.host.as_deref(), Some("h1"));
    assert_eq!(settings.worker.user, "nobody");
}

#[test]
fn a_runtime_inherits_what_it_does_not_say_and_its_variables_are_laid_over() {
    let file = r#"
        [runtimes.python311]
        program = "/opt/venv/bin/python"
        main_file = "jailed_code"
        binds = [{ source = "/opt/venv" }]
        env = { LANG = "de_DE.UTF-8", EXTRA = "1" }
        limits = { cpu_ms = 9000 }
    "#;
    let settings = worker(file, &[], &[]).expect("the file is right");
    let name = Name::parse("python311").expect("it is a name");
    let runtime = settings.runtime(&name).expect("it is configured");
    assert_eq!(settings.runtimes[runtime.0].name, name);
    let runtime = runtime.1;
    assert_eq!(runtime.limits.cpu_ms.get(), 9000);
    assert_eq!(runtime.limits.wall_ms.get(), 6000);
    assert_eq!(runtime.binds[0].target, "/opt/venv");
    assert!(
        runtime
            .env
            .contains(&("LANG".to_owned(), "de_DE.UTF-8".to_owned()))
    );
    assert!(runtime.env.contains(&("EXTRA".to_owned(), "1".to_owned())));
    assert!(
        runtime
            .env
            .contains(&("OMP_NUM_THREADS".to_owned(), "1".to_owned()))
    );
}

#[test]
fn a_job_gets_its_own_limits_over_the_profile_over_the_runtime() {
    let settings = defaults();
    let python = Name::parse("python").expect("it is a name");
    let (_, python) = settings.runtime(&python).expect("it is configured");
    let large = settings.profiles.values().next().expect("there is one");
    let job = LimitsRequest {
        wall_ms: Some(7000),
        ..LimitsRequest::default()
    };
    let limits = python
        .limits_for(Some(large), &job)
        .expect("all lies below the ceiling");
    assert_eq!(limits.cpu_ms.get(), 20_000);
    assert_eq!(limits.wall_ms.get(), 7000);
    assert_eq!(limits.output_bytes.get(), 1_048_576);
    let job = LimitsRequest {
        cpu_ms: Some(60_001),
        ..LimitsRequest::default()
    };
    let rejection = python
        .limits_for(None, &job)
        .expect_err("the ceiling is 60 s");
    assert!(
        rejection.message.contains("cpu_ms"),
        "{}",
        rejection.message
    );
}

#[test]
fn no_limit_of_a_runtime_is_wider_than_its_ceiling_even_where_none_is_named() {
    let file = "[runtime_defaults.ceiling]\naddress_space_bytes = 1073741824";
    let settings = worker(file, &[], &[]).expect("the file is right");
    for runtime in settings.runtimes {
        assert!(
            runtime.limits.within(&runtime.ceiling),
            "{}: {:?}",
            runtime.name,
            runtime.limits
        );
    }
}

#[test]
fn a_runtime_that_is_never_offered_is_left_out_but_still_checked() {
    let settings = worker("[runtimes.node]\noffered = \"never\"", &[], &[]).expect("it is right");
    assert!(
        settings
            .runtimes
            .iter()
            .all(|runtime| runtime.name.as_str() != "node")
    );
    let said = lines(worker(
        "[runtimes.node]\noffered = \"never\"\ncwd = \"x\"",
        &[],
        &[],
    ));
    assert_eq!(said.len(), 1);
    let none = "runtimes = { bash.offered = \"never\", native.offered = \"never\", \
                node.offered = \"never\", python.offered = \"never\" }";
    assert!(
        lines(worker(none, &[], &[]))
            .concat()
            .contains("offer at least one")
    );
}

#[test]
fn lanes_share_all_slots_and_none_of_them_starves() {
    let weights = LaneShares {
        interactive: 1,
        bulk: 3,
    };
    assert_eq!(
        weights.split(1),
        LaneShares {
            interactive: 1,
            bulk: 1
        }
    );
    for slots in 2..200 {
        let LaneShares { interactive, bulk } = weights.split(slots);
        assert!(
            interactive >= 1 && bulk >= 1 && interactive + bulk == slots,
            "{slots}"
        );
    }
    assert_eq!(
        weights.split(8),
        LaneShares {
            interactive: 2,
            bulk: 6
        }
    );
    let lopsided = LaneShares {
        interactive: 1000,
        bulk: 1,
    };
    assert_eq!(
        lopsided.split(4),
        LaneShares {
            interactive: 3,
            bulk: 1
        }
    );
    let single = LaneShares {
        interactive: 0,
        bulk: 1,
    };
    assert_eq!(
        single.split(4),
        LaneShares {
            interactive: 0,
            bulk: 4
        }
    );
}

#[test]
fn the_uri_of_a_mounted_file_takes_its_place_after_the_same_check() {
    let mut settings = defaults();
    settings
        .amqp
        .take_credentials(CredentialFile::Uri, "amqps://u:p@h:5671/exams\n")
        .expect("it is a URI");
    assert_eq!(settings.amqp.uri.expose(), "amqps://u:p@h:5671/exams");
    let mistake = settings
        .amqp
        .take_credentials(CredentialFile::Uri, "u:hunter2@h")
        .expect_err("it has no scheme")
        .to_string();
    assert!(
        mistake.contains("amqp.uri_file") && !mistake.contains("hunter2"),
        "{mistake}"
    );
    assert_eq!(settings.amqp.reply_mode, ReplyMode::Default);
    settings
        .amqp
        .take_credentials(CredentialFile::Password, "new\n")
        .expect("it is a password");
    assert_eq!(settings.amqp.uri.expose(), "amqps://u:new@h:5671/exams");
    let empty = settings
        .amqp
        .take_credentials(CredentialFile::Password, "\n");
    let mistake = empty.expect_err("it is none").to_string();
    assert!(mistake.contains("amqp.password_file"), "{mistake}");
}

#[test]
fn two_slots_fit_into_two_gibibytes() {
    for runtime in defaults().runtimes {
        let ceiling = runtime.ceiling.0.memory_bytes.get();
        assert!(2 * ceiling <= 2 << 30, "{}", runtime.name);
    }
}
