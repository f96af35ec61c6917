//! Settings as they are found, and what becomes of them.

use jailfleet::job::{Name, ProfileName};
use jailfleet::runtime::{Program, UnknownProfile};
use jailfleet::settings::{SourceText, WorkerSettings, worker_settings};
use proptest::prelude::*;
use serde_json::json;

use super::{ImportError, convert};

fn read(configuration: &str) -> WorkerSettings {
    let source = SourceText {
        name: "imported.toml",
        text: configuration,
    };
    worker_settings(Some(source), &[], &[]).unwrap_or_else(|no| panic!("{no}\n{configuration}"))
}

fn converted(settings: &serde_json::Value) -> (String, WorkerSettings) {
    let text = settings.to_string();
    let (configuration, _) = convert("lms.json", &text).unwrap_or_else(|no| panic!("{no:?}"));
    let read = read(&configuration);
    (configuration, read)
}

fn python(settings: &WorkerSettings) -> &jailfleet::runtime::Runtime {
    let name = Name::parse("python").expect("a name");
    settings.runtime(&name).expect("it is there").1
}

fn said(text: &str) -> Vec<String> {
    match convert("s.json", text) {
        Err(ImportError::Wrong(mistakes)) => mistakes.0.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_settings_of_a_platform_become_a_runtime_and_profiles_by_course_run() {
    let (text, settings) = converted(&json!({ "SITE_NAME": "x", "CODE_JAIL": {
        "python_bin": "/edx/app/edxapp/venvs/edxapp-sandbox/bin/python",
        "user": "sandbox",
        "limits": { "CPU": 1, "VMEM": 536_870_912, "REALTIME": 3, "PROXY": 0 },
        "limit_overrides": {
            "course-v1:edX+Demo.X+2026": { "CPU": 10, "REALTIME": 12.5, "FSIZE": 1_048_576 },
            "debug_run_python": { "VMEM": 0 },
            "large": { "NPROC": 30 },
        },
    }}));
    let python = python(&settings);
    let environment = "/edx/app/edxapp/venvs/edxapp-sandbox";
    assert_eq!(
        python.program,
        Program::Path(format!("{environment}/bin/python"))
    );
    assert_eq!(python.binds[0].source, environment);
    assert_eq!(python.unknown_profile, UnknownProfile::Default);
    let mib = 1 << 20;
    let limits = &python.limits;
    assert_eq!((limits.cpu_ms.get(), limits.wall_ms.get()), (1000, 3000));
    assert_eq!(
        limits.address_space_bytes.map(|bytes| bytes.get()),
        Some(512 * mib)
    );
    assert_eq!(limits.memory_bytes.get(), (512 + 16 + 16) * mib);
    assert_eq!((limits.file_bytes.get(), limits.processes.get()), (0, 15));

    let of = |name: &str| {
        let profile = settings
            .profiles
            .get(&ProfileName::parse(name).expect("a name"));
        let profile = profile.expect("it is there");
        let nothing = jailfleet::limits::LimitsRequest::default();
        python
            .limits_for(Some(profile), &nothing)
            .expect("below the ceiling")
    };
    let course = of("course-v1:edX+Demo.X+2026");
    assert_eq!(
        (course.cpu_ms.get(), course.wall_ms.get()),
        (10_000, 12_500)
    );
    assert_eq!((course.file_bytes.get(), course.processes.get()), (mib, 15));
    let debug = of("debug_run_python");
    assert_eq!(debug.memory_bytes, python.ceiling.0.memory_bytes);
    assert_eq!((debug.cpu_ms.get(), debug.file_bytes.get()), (1000, 0));
    // The embedded profile of that name has other times.
    let large = of("large");
    assert_eq!((large.wall_ms.get(), large.processes.get()), (3000, 30));
    for word in [
        "user = \"sandbox\": dropped",
        "PROXY = 0: dropped",
        "REALTIME: 12500 ms",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
}

#[test]
fn what_is_off_there_is_the_ceiling_here_but_no_file_size_is_none() {
    let off = json!({ "limits": { "CPU": 0, "REALTIME": 0, "VMEM": 0, "NPROC": 0 } });
    let (_, settings) = converted(&off);
    let python = python(&settings);
    let (limits, ceiling) = (&python.limits, &python.ceiling.0);
    assert_eq!(
        (limits.cpu_ms, limits.wall_ms),
        (ceiling.cpu_ms, ceiling.wall_ms)
    );
    assert_eq!(
        (limits.memory_bytes, limits.processes),
        (ceiling.memory_bytes, ceiling.processes)
    );
    assert_eq!(
        (limits.address_space_bytes, limits.file_bytes.get()),
        (None, 0)
    );
    // -1 is the kernel's own word for it, and an interpreter of the host stays where it is.
    let off =
        json!({ "python_bin": "/usr/bin/python3", "limits": { "FSIZE": -1, "NPROC": u64::MAX } });
    let (_, settings) = converted(&off);
    let python = self::python(&settings);
    assert_eq!(python.limits.file_bytes, python.ceiling.0.file_bytes);
    assert_eq!(python.limits.processes, python.ceiling.0.processes);
    assert_eq!(python.binds, []);
}

#[test]
fn a_ceiling_is_raised_for_what_is_asked_and_said_to_be() {
    let much = json!({ "limits": { "CPU": 0 }, "limit_overrides": {
        "big": { "CPU": 600, "REALTIME": 900, "VMEM": 8_589_934_592_u64, "NPROC": 500, "FSIZE": 1 << 30 },
    }});
    let (text, settings) = converted(&much);
    assert!(
        text.contains("[runtimes.python.ceiling]\n# Raised"),
        "{text}"
    );
    let python = python(&settings);
    assert_eq!(python.ceiling.0.cpu_ms.get(), 600_000);
    assert_eq!(
        python.limits.cpu_ms.get(),
        600_000,
        "off is as much as any context may have"
    );
    assert!(!converted(&json!({})).0.contains("ceiling]"));
    for most in [1_u64 << 38, (1 << 38) + 1, 1 << 40, (1 << 40) + 1] {
        converted(&json!({ "limits": { "VMEM": most, "FSIZE": most } }));
    }
}

#[test]
fn every_setting_of_a_wrong_type_is_told_at_once_by_its_key() {
    let wrong = json!({
        "python_bin": 3, "user": [], "extra": 1,
        "limits": { "CPU": "1", "REALTIME": -1, "VMEM": 1000, "FSIZE": 0.5, "NPROC": true, "PROXY": "no" },
        "limit_overrides": { "course": { "CPU": 1.5 }, "other": 7 },
    });
    let said = said(&wrong.to_string());
    let expected = [
        "s.json: python_bin = 3: expected a text",
        "s.json: user = [ … ]: expected a text",
        "s.json: limits.CPU = \"1\": expected a whole number of seconds, 0 for no limit",
        "s.json: limits.REALTIME = -1: expected a number of seconds, 0 for no limit",
        "s.json: limits.VMEM = 1000: expected 0 for no limit, or a whole number of bytes, at least 1048576 \
         (no Python starts with less)",
        "s.json: limits.FSIZE = 0.5: expected a whole number of bytes; 0: nothing may be written",
        "s.json: limits.NPROC = true: expected a whole number of processes, 0 for no limit",
        "s.json: limits.PROXY = \"no\": expected 0, 1 or null",
        "s.json: limit_overrides.\"course\".CPU = 1.5: expected a whole number of seconds, 0 for no limit",
        "s.json: limit_overrides.\"other\" = 7: expected an object of limits",
    ];
    assert_eq!(said, expected);
    for (text, part) in [
        ("{", "expected JSON"),
        ("[]", "expected an object"),
        ("{\"CODE_JAIL\": 1}", "CODE_JAIL = 1: expected an object"),
        (
            "{\"a\": 1}",
            "none of python_bin, user, limits, limit_overrides is there",
        ),
        ("{\"python_bin\": \"bin/python\"}", "an absolute path"),
        (
            "{\"python_bin\": \"/tmp/v/bin/python\"}",
            "move the environment",
        ),
    ] {
        let said = self::said(text);
        assert!(
            said.len() == 1 && said[0].contains(part),
            "{text}: {said:?}"
        );
    }
}

#[test]
fn what_codejail_does_not_know_either_is_named_with_what_it_knows() {
    let odd = json!({ "bin_path": "/x", "limits": { "fsize": 1 }, "limit_overrides": { "c\u{7f}": {}, "": {} } });
    let (text, strangers) = convert("s.json", &odd.to_string()).expect("they are dropped");
    let said: Vec<String> = strangers.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "bin_path: dropped: codejail does not know it either; it knows python_bin, user, limits, limit_overrides",
            "limits.fsize: dropped: codejail does not know it either; it knows CPU, REALTIME, VMEM, FSIZE, NPROC, PROXY",
        ]
    );
    for part in [
        "# bin_path: dropped",
        "# limits.fsize: dropped",
        "of \"c\\u{7f}\": dropped",
        "of \"\": dropped",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

fn amounts() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(0)),
        (1_u64..=20).prop_map(|n| json!(n)),
        (1_u64 << 20..1 << 34).prop_map(|n| json!(n)),
        (1_u64 << 34..1 << 42).prop_map(|n| json!(n)),
        Just(json!(u64::MAX)),
    ]
}

proptest! {
    // Each reads a whole configuration twice.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_taken_is_a_configuration_that_a_worker_takes(
        cpu in amounts(), real in 0.0_f64..1e7, vmem in amounts(), fsize in amounts(), nproc in amounts(),
        context in ".{0,300}", bin in "(/[a-z\"\\\\ü #]{1,9}){1,4}",
    ) {
        let limits = json!({ "CPU": cpu, "REALTIME": real, "VMEM": vmem, "FSIZE": fsize, "NPROC": nproc });
        let settings = json!({
            "python_bin": bin, "user": context, "limits": limits,
            "limit_overrides": { context.clone(): { "VMEM": 0, "FSIZE": 5 }, "large": limits },
        });
        match convert("s.json", &settings.to_string()) {
            Ok((text, _)) => drop(read(&text)),
            Err(ImportError::Wrong(_)) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
