//! Limits as an operator names them and a job asks for them, through the built worker.

#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that have a broker")]
mod worker;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use worker::{file_of, local};

/// The limits that `[profiles.exam]` names.
const EXAM: [(&str, u64); 4] = [
    ("cpu_ms", 1500),
    ("wall_ms", 3000),
    ("disk_files", 77),
    ("output_bytes", 4096),
];

/// A profile, and a runtime beside the embedded ones for which an unknown profile is no mistake.
const SITE: &str = r#"
[profiles.exam]
cpu_ms = 1500
wall_ms = 3000
disk_files = 77
output_bytes = 4096

[runtimes.forgiving]
program = "/bin/bash"
main_file = "main.sh"
unknown_profile = "default"
limits = { wall_ms = 5555 }
"#;

fn job(id: &str, runtime: &str, more: &Value) -> String {
    let mut job = json!({ "v": 1, "id": id, "runtime": runtime, "code": "echo ran" });
    let (fields, more) = (job.as_object_mut(), more.as_object());
    let (fields, more) = fields.zip(more).expect("both are objects");
    fields.extend(more.clone());
    job.to_string()
}

/// Runs the jobs under that configuration and answers with their results by id.
fn run(site: &str, jobs: &[String]) -> Map<String, Value> {
    let file = file_of(site);
    let name = file.path().to_str().expect("a plain path");
    let (code, results) = local(jobs, &["--config", name]);
    assert_eq!(code, 0);
    assert_eq!(results.len(), jobs.len(), "{results:?}");
    let by_id = |result: Value| {
        let id = result.get("job_id").and_then(Value::as_str);
        let id = id.expect("an id").to_owned();
        (id, result)
    };
    results.into_iter().map(by_id).collect()
}

#[test]
fn a_named_profile_is_in_force_and_told_and_the_jobs_own_limits_go_on_top() {
    let jobs = [
        job("plain", "bash", &json!({})),
        job("exam", "bash", &json!({ "limit_profile": "exam" })),
        job(
            "more",
            "bash",
            &json!({ "limit_profile": "exam", "limits": { "wall_ms": 4000 } }),
        ),
        // It prints more than the profile allows, and less than the runtime does.
        job(
            "loud",
            "bash",
            &json!({ "limit_profile": "exam", "code": "printf %05000d 1; exec sleep 60" }),
        ),
    ];
    let results = run(SITE, &jobs);
    let plain = &results["plain"]["limits"];
    assert_eq!(plain["profile"], Value::Null, "{plain}");
    assert_eq!(plain["cpu_ms"], 2000, "{plain}");
    for id in ["exam", "more"] {
        let result = &results[id];
        assert_eq!(result["stdout"], "ran\n", "{result}");
        let limits = result["limits"].as_object().expect("they were in force");
        assert_eq!(limits["profile"], "exam", "{result}");
        assert_eq!(limits["config_digest"], plain["config_digest"]);
        for (name, value) in limits.iter().filter(|(_, value)| value.is_number()) {
            let named = EXAM.iter().find(|(named, _)| *named == name);
            let mut expected = named.map_or(plain[name].clone(), |(_, number)| json!(number));
            if id == "more" && name == "wall_ms" {
                expected = json!(4000);
            }
            assert_eq!(*value, expected, "{name} of {result}");
        }
    }
    let loud = &results["loud"];
    assert_eq!(loud["outcome"], "output_limit", "{loud}");
    assert_eq!(loud["stdout"].as_str().map(str::len), Some(4096), "{loud}");
}

#[test]
fn an_unknown_profile_is_refused_by_its_name_or_passed_over_as_the_runtime_says() {
    let unknown = json!({ "limit_profile": "course-v1:X+Y" });
    let jobs = [
        job("refused", "bash", &unknown),
        job("default", "forgiving", &unknown),
        job("known", "forgiving", &json!({ "limit_profile": "exam" })),
    ];
    let results = run(SITE, &jobs);
    let refused = &results["refused"];
    assert_eq!(refused["outcome"], "rejected", "{refused}");
    assert_eq!(refused["error"]["code"], "unknown_profile", "{refused}");
    let message = refused["error"]["message"].as_str().expect("words");
    for word in ["limit_profile", "course-v1:X+Y", "exam", "large"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    assert!(refused.get("stdout").is_none(), "{refused}");

    let default = &results["default"];
    assert_eq!(default["stdout"], "ran\n", "{default}");
    let limits = &default["limits"];
    assert_eq!(
        (&limits["wall_ms"], limits.get("profile")),
        (&json!(5555), None),
        "{default}"
    );
    let known = &results["known"]["limits"];
    assert_eq!(
        (&known["wall_ms"], &known["profile"]),
        (&json!(3000), &json!("exam")),
        "{known}"
    );
}

#[test]
fn every_limit_that_is_no_number_or_above_its_ceiling_is_answered_with_its_name() {
    // The embedded ceiling leaves the address space out.
    let site = "[runtime_defaults.ceiling]\naddress_space_bytes = 1073741824";
    let limits = run(site, &[job("a", "bash", &json!({}))]);
    let limits = limits["a"]["limits"]
        .as_object()
        .expect("they were in force");
    let names: Vec<_> = limits
        .iter()
        .filter(|(_, value)| value.is_number())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names.len(), 11, "{limits:?}");

    let mut jobs = Vec::new();
    let mut expected = BTreeSet::new();
    for name in &names {
        let above = json!({ "limits": { *name: 1_u64 << 62 } });
        jobs.push(job(&format!("above-{name}"), "bash", &above));
        // No library would write a number that JSON cannot say; somebody's own code will.
        let zero = json!({ "limits": { *name: 0 } });
        let zero = job(&format!("zero-{name}"), "bash", &zero);
        let number = format!("\"{name}\":0");
        assert!(zero.contains(&number), "{zero}");
        jobs.push(zero.replace(&number, &format!("\"{name}\":NaN")));
        let codes = ["above_ceiling", "bad_limit"];
        expected.extend(codes.map(|code| (code.to_owned(), format!("limits.{name}"))));
    }
    let refused = run(site, &jobs).into_iter().map(|(_, result)| {
        assert_eq!(result["outcome"], "rejected", "{result}");
        let part = |name: &str| result["error"][name].as_str().expect("words").to_owned();
        let message = part("message");
        let (field, _) = message.split_once(':').expect("it begins with the field");
        (part("code"), field.to_owned())
    });
    assert_eq!(refused.collect::<BTreeSet<_>>(), expected);
}
