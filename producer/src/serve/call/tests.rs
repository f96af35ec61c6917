//! The order of the checks, and their words.

use super::super::answer::Answer;
use super::*;
use jailfleet::settings;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const GOOD: &str = r#""code": "x", "globals_dict": {}"#;

fn form(payload: &str, files: &[&str]) -> Form {
    let file = |name: &&str| ((*name).to_owned(), Bytes::from_static(b"PK"));
    Form {
        payload: Some(payload.to_owned()),
        files: files.iter().map(file).collect(),
    }
}

fn refused(payload: &str) -> String {
    let call = Call::read(form(payload, &[]), ServeShape::Openedx);
    call.expect_err(payload).to_string()
}

fn call(more: &str, files: &[&str]) -> Call {
    let payload = format!("{{{GOOD}{more}}}");
    Call::read(form(&payload, files), ServeShape::Openedx).expect("a good call")
}

#[test]
fn a_payload_that_does_not_match_is_told_in_the_words_of_the_schema_library() {
    // Each seen from jsonschema 4.26 with the service's schema.
    for (payload, words) in [
        ("{}", "$: 'code' is a required property"),
        ("[]", "$: [] is not of type 'object'"),
        ("null", "$: None is not of type 'object'"),
        (
            "[1, {\"a\": null}]",
            "$: [1, {'a': None}] is not of type 'object'",
        ),
        (
            "{\"code\": \"x\"}",
            "$: 'globals_dict' is a required property",
        ),
        ("{\"globals_dict\": {}}", "$: 'code' is a required property"),
        ("{\"code\": 1}", "$: 'globals_dict' is a required property"),
        (
            "{\"code\": 1, \"globals_dict\": {}}",
            "$.code: 1 is not of type 'string'",
        ),
        (
            "{\"code\": 1, \"globals_dict\": 2}",
            "$.globals_dict: 2 is not of type 'object'",
        ),
        (
            "{\"code\": \"x\", \"globals_dict\": {}, \"code\": 7}",
            "$.code: 7 is not of type 'string'",
        ),
    ] {
        let expected = format!("Payload JSON did not match schema at path {words}");
        assert_eq!(refused(payload), expected);
    }
    for (more, words) in [
        (
            "\"python_path\": 5",
            "$.python_path: 5 is not valid under any of the given schemas",
        ),
        (
            "\"python_path\": [\"a\", null, 5]",
            "$.python_path[1]: None is not of type 'string'",
        ),
        (
            "\"python_path\": {}",
            "$.python_path: {} is not valid under any of the given schemas",
        ),
        (
            "\"slug\": 5",
            "$.slug: 5 is not valid under any of the given schemas",
        ),
        (
            "\"slug\": 5, \"unsafely\": 1, \"limit_overrides_context\": []",
            "$.unsafely: 1 is not of type 'boolean'",
        ),
        (
            "\"unsafely\": null",
            "$.unsafely: None is not of type 'boolean'",
        ),
        (
            "\"slug\": 5, \"python_path\": [1]",
            "$.slug: 5 is not valid under any of the given schemas",
        ),
    ] {
        let expected = format!("Payload JSON did not match schema at path {words}");
        assert_eq!(refused(&format!("{{{GOOD}, {more}}}")), expected);
    }
}

#[test]
fn the_checks_come_in_the_order_of_the_service() {
    let all_wrong = r#", "python_path": ["/etc"], "unsafely": true"#;
    let read = |payload: Option<String>, files: &[&str]| {
        let mut form = form("", files);
        form.payload = payload;
        Call::read(form, ServeShape::Openedx).expect_err("it is wrong")
    };
    assert_eq!(read(None, &["/x"]), Refused::Missing);
    assert!(matches!(
        read(Some("{".to_owned()), &["/x"]),
        Refused::BadJson(_)
    ));
    let bad = format!("{{\"code\": 1, \"globals_dict\": {{}}{all_wrong}}}");
    assert!(matches!(read(Some(bad), &["/x"]), Refused::Schema { .. }));
    let bad = format!("{{{GOOD}{all_wrong}}}");
    assert_eq!(read(Some(bad), &["/x"]), Refused::PythonPath);
    let unsafely = format!("{{{GOOD}, \"unsafely\": true}}");
    assert_eq!(read(Some(unsafely.clone()), &["/x"]), Refused::Files);
    assert_eq!(read(Some(unsafely), &[LIBRARY]), Refused::Unsafely);
}

#[test]
fn globals_and_code_are_taken_as_they_were_written() {
    let payload = "{\"globals_dict\": {\"a\": NaN, \"b\":[1e999, \"\\ud800\"]}, \"code\": \"\\u00e9\\ud800\", \"new\": 1}";
    let call = Call::read(form(payload, &[]), ServeShape::Openedx).expect("a good call");
    assert_eq!(call.globals, "{\"a\": NaN, \"b\":[1e999, \"\\ud800\"]}");
    assert_eq!(call.code, b"\xc3\xa9\xed\xa0\x80");
}

#[test]
fn only_profiles_of_the_list_are_asked_for() {
    let set = |text: &str| {
        let source = settings::SourceText { name: "t", text };
        settings::producer_settings(Some(source), &[], &[]).expect("good settings")
    };
    let with = |profile: &str| {
        set(&format!(
            "[serve]\nprofile = \"{profile}\"\nprofiles = [\"course-v1:A+B+C\"]\nwall_ms = 2000"
        ))
    };
    let job = |settings: &ProducerSettings, context: &str| {
        let call = call(&format!(", \"limit_overrides_context\": {context}"), &[]);
        call.job(settings, EpochMs(1)).expect("a good job")
    };
    let profile = |job: &Job| job.limit_profile.as_ref().map(ToString::to_string);
    let listed = job(&with(""), "\"course-v1:A+B+C\"");
    assert_eq!(profile(&listed).as_deref(), Some("course-v1:A+B+C"));
    assert_eq!(listed.limits.wall_ms, None, "the profile says it");
    for context in ["\"large\"", "null", "\"\"", "\"\\ud800\""] {
        let other = job(&with(""), context);
        assert_eq!((profile(&other), other.limits.wall_ms), (None, Some(2000)));
        let other = job(&with("codejail"), context);
        assert_eq!(profile(&other).as_deref(), Some("codejail"));
    }
    assert_eq!(listed.lane, Lane::Interactive);
    assert_eq!(listed.deadline, Some(EpochMs(1)));
}

#[test]
fn a_library_comes_along_and_one_that_did_not_is_missed() {
    let whole = call(
        ", \"python_path\": [\"python_lib.zip\", \"python_lib.zip\"]",
        &[LIBRARY],
    );
    assert!(whole.is_complete() && whole.python_path.len() == 1);
    let settings = settings::producer_settings(None, &[], &[]).expect("good settings");
    whole.job(&settings, EpochMs(1)).expect("a good job");
    assert!(!call(", \"python_path\": [\"python_lib.zip\"]", &[]).is_complete());
}

#[test]
fn a_slug_that_is_no_label_is_left_out() {
    let settings = settings::producer_settings(None, &[], &[]).expect("good settings");
    for (slug, taken) in [
        ("\"p 1\"", Some("p 1")),
        ("\"a\\nb\"", None),
        ("\"\"", None),
        ("null", None),
    ] {
        let job = call(&format!(", \"slug\": {slug}"), &[]).job(&settings, EpochMs(1));
        assert_eq!(job.expect("a good job").slug.as_deref(), taken);
    }
}

#[test]
fn the_older_shape_wants_all_six_takes_other_names_and_passes_over_unsafely() {
    let read =
        |payload: &str, files: &[&str]| Call::read(form(payload, files), ServeShape::Edunext);
    let all = |path: &str| {
        format!(
            "{{{GOOD}, \"python_path\": {path}, \"limit_overrides_context\": null, \"slug\": null, \
             \"unsafely\": true}}"
        )
    };
    assert!(matches!(
        read(&format!("{{{GOOD}}}"), &[]),
        Err(Refused::Schema { .. })
    ));
    let call = read(&all("[\"lib.zip\", \"/etc\"]"), &["lib.zip"]).expect("a good call");
    assert!(call.is_complete() && call.python_path.len() == 1);
    assert_eq!(read(&all("[\"../x\"]"), &[]), Err(Refused::PythonPath));
    assert_eq!(read(&all("[]"), &["/tmp/test.txt"]), Err(Refused::Files));
}

/// Names that a library may have in the older shape, and some that only look so.
fn names() -> impl Strategy<Value = String> {
    const ODD: [&str; 10] = [
        "python_lib.zip",
        "jailed_code",
        "tmp",
        ".",
        "..",
        "",
        "a\0b",
        "a\nb",
        "-",
        "\u{202e}x",
    ];
    prop_oneof![
        3 => select(&ODD[..]).prop_map(str::to_owned),
        1 => "[^/]{0,8}",
        1 => Just("x".repeat(300)),
    ]
}

proptest! {
    /// A job that a worker would refuse for what the caller said is the caller's mistake.
    #[test]
    fn nothing_that_a_caller_can_say_makes_a_job_that_is_a_fault_of_ours(
        code in "[^x]{0,20}",
        given in vec((".{0,4}", prop_oneof![Just("NaN".to_owned()), Just("\"\\udc00\"".to_owned()),
            Just("[".repeat(950) + &"]".repeat(950)), "[0-9]{1,4400}", Just("{\"a\":1,\"a\":2}".to_owned())]), 0..4),
        context in option::of(".{0,300}"),
        slug in option::of(".{0,300}"),
        path in vec(names(), 0..3),
        files in vec(names(), 0..3),
        older in any::<bool>(),
    ) {
        let globals: Vec<String> = given
            .iter()
            .map(|(name, value)| format!("{}:{value}", serde_json::json!(name)))
            .collect();
        let payload = format!(
            "{{\"code\":{},\"globals_dict\":{{{}}},\"python_path\":{},\"limit_overrides_context\":{},\
             \"slug\":{},\"unsafely\":false}}",
            serde_json::json!(code), globals.join(","), serde_json::json!(path),
            serde_json::json!(context), serde_json::json!(slug),
        );
        let shape = if older { ServeShape::Edunext } else { ServeShape::Openedx };
        let mut taken: Vec<&str> = files.iter().map(String::as_str).collect();
        // The reader of forms keeps one of each name.
        taken.sort_unstable();
        taken.dedup();
        let settings = settings::producer_settings(None, &[], &[]).expect("good settings");
        if let Ok(call) = Call::read(form(&payload, &taken), shape)
            && let Err(rejection) = call.job(&settings, EpochMs(1))
        {
            let answer = Answer::of_rejection(&rejection);
            prop_assert!(answer.status < 500, "{} {:?}", rejection.message, rejection.code);
        }
    }
}
