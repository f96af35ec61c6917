//! Every mistake that the decoder can find, its code, and the words that its message must hold.

use super::decode;
use crate::rejection::RejectionCode::{self, *};

/// A job with `field` in it.
pub(super) fn with(field: &str) -> String {
    format!(r#"{{"v":1,"id":"a","runtime":"python","code":"pass",{field}}}"#)
}

fn with_file(path: &str) -> String {
    with(&format!(r#""files":[{{"path":"{path}","content":""}}]"#))
}

pub(super) fn refusal(body: &str) -> crate::rejection::Rejection {
    match decode(body) {
        Ok(job) => panic!("{body} was taken as {job:?}"),
        Err(refused) => refused.rejection,
    }
}

/// A body, the code that it must be refused with, and words that the message must hold.
type Case = (String, RejectionCode, &'static [&'static str]);

fn check(cases: Vec<Case>) {
    for (body, code, words) in cases {
        let rejection = refusal(&body);
        assert_eq!(rejection.code, code, "{body} was refused as {rejection}");
        for word in words {
            assert!(
                rejection.message.contains(word),
                "{word} is not in {rejection}, of {body}"
            );
        }
    }
}

#[test]
fn what_is_no_job_of_version_1_is_refused() {
    check(vec![
        (String::new(), NotJson, &["JSON"]),
        ("{".to_owned(), NotJson, &["line 1"]),
        (with(r#""slug":"\ud800""#), NotJson, &[]),
        (with(r#""slug":"s"} {"#), NotJson, &["trailing"]),
        ("[1]".to_owned(), WrongType, &["object"]),
        (r#"[1,0,"a","python"]"#.to_owned(), WrongType, &["object"]),
        (
            r#"{"id":"a","runtime":"python","code":""}"#.to_owned(),
            MissingField,
            &["`v`"],
        ),
        (
            r#"{"v":2,"id":"a","new":1}"#.to_owned(),
            WrongVersion,
            &["v: 2", "send 1"],
        ),
        (
            r#"{"v":"1","id":"a"}"#.to_owned(),
            WrongType,
            &["v: ", "\\\"1\\\""],
        ),
        (r#"{"v":1.0,"id":"a"}"#.to_owned(), WrongType, &["v: "]),
        (
            r#"{"v":1,"id":"a","code":""}"#.to_owned(),
            MissingField,
            &["`runtime`"],
        ),
    ]);
}

#[test]
fn unknown_missing_and_doubled_fields_are_refused_by_name() {
    check(vec![
        (with(r#""cod":1"#), UnknownField, &["`cod`", "`code`"]),
        (
            with(r#""limits":{"cpu":1}"#),
            UnknownField,
            &["limits", "`cpu`", "`cpu_ms`"],
        ),
        (
            with(r#""files":[{"path":"a","content":"","mode":7}]"#),
            UnknownField,
            &["files[0]", "`mode`", "`executable`"],
        ),
        (
            with(r#""stdin":{"base65":""}"#),
            UnknownField,
            &["stdin", "`base65`", "`base64`"],
        ),
        (with(r#""code":"""#), DuplicateField, &["`code`", "twice"]),
        (with(r#""env":{"A":"","A":""}"#), DuplicateField, &["env"]),
        (
            with(r#""stdin":{"base64":"","base64":""}"#),
            DuplicateField,
            &["stdin", "`base64`"],
        ),
    ]);
}

#[test]
fn wrong_types_are_refused_with_what_was_found_and_expected() {
    check(vec![
        (
            with(r#""slug":null"#),
            WrongType,
            &["slug", "null", "string"],
        ),
        (
            with(r#""argv":["a",7]"#),
            WrongType,
            &["argv[1]", "7", "string"],
        ),
        (with(r#""env":["A"]"#), WrongType, &["env", "object"]),
        (with(r#""limits":[1,2]"#), WrongType, &["limits", "object"]),
        (
            with(r#""files":[["a",""]]"#),
            WrongType,
            &["files[0]", "object"],
        ),
        (with(r#""stdin":7"#), WrongType, &["stdin", "base64"]),
    ]);
}

#[test]
fn blobs_ids_names_and_labels_are_vetted() {
    check(vec![
        (
            with(r#""stdin":{"base64":"*"}"#),
            BadBase64,
            &["stdin", "base64"],
        ),
        (with(r#""stdin":{"base64":"YQ"}"#), BadBase64, &["padded"]),
        (
            with(r#""files":[{"path":"a","content":{"base64":"-"}}]"#),
            BadBase64,
            &["files[0].content"],
        ),
        (
            r#"{"v":1,"id":"a b","runtime":"python","code":""}"#.to_owned(),
            BadId,
            &["id: "],
        ),
        (
            r#"{"v":1,"id":"a","runtime":"Py","code":""}"#.to_owned(),
            BadName,
            &["runtime"],
        ),
        (with(r#""pool":"""#), BadName, &["pool"]),
        (with(r#""limit_profile":"""#), BadName, &["limit_profile"]),
        (with(r#""lane":"fast""#), BadLane, &["lane", "interactive"]),
        (with(r#""slug":"a\u0000b""#), BadLabel, &["slug"]),
        (with(r#""batch":"""#), BadLabel, &["batch"]),
    ]);
}

#[test]
fn file_paths_are_vetted() {
    check(vec![
        (
            with_file("/etc/passwd"),
            BadPath,
            &["files[0].path", "absolute"],
        ),
        (with_file("a/../b"), BadPath, &[".."]),
        (with_file(".."), BadPath, &[".."]),
        (with_file("./a"), BadPath, &["."]),
        (with_file("a//b"), BadPath, &["empty part"]),
        (with_file("a/"), BadPath, &["empty part"]),
        (with_file(""), BadPath, &["1 to 1024"]),
        (with_file("a\\u0000b"), BadPath, &["NUL"]),
        (with_file(&"a".repeat(256)), BadPath, &["255"]),
        (with_file(&"a/".repeat(600)), BadPath, &["1024"]),
        (
            with(r#""files":[{"path":"a"}]"#),
            MissingField,
            &["files[0]", "`content`"],
        ),
        (
            with(r#""files":[{"path":"a","content":"","directory":true}]"#),
            WrongType,
            &["files[0]", "folder"],
        ),
    ]);
}

#[test]
fn environment_arguments_and_the_rest_are_vetted() {
    check(vec![
        (with(r#""env":{"A=B":"c"}"#), BadEnv, &["env", "A=B"]),
        (with(r#""env":{"":"c"}"#), BadEnv, &["env"]),
        (with(r#""env":{"A":"\u0000"}"#), BadEnv, &["NUL"]),
        (with(r#""argv":["\u0000"]"#), BadArgv, &["argv[0]", "NUL"]),
        (
            with(r#""deadline":"tomorrow""#),
            BadDeadline,
            &["deadline", "2026-"],
        ),
        (
            with(r#""deadline":"2026-02-30T00:00:00Z""#),
            BadDeadline,
            &["deadline"],
        ),
        (
            with(r#""deadline":"2026-01-01T00:00:00Z[UTC]""#),
            BadDeadline,
            &["deadline"],
        ),
        (
            with(r#""globals":"[1]""#),
            BadGlobals,
            &["globals", "object"],
        ),
        (
            with(r#""globals":"{\"x\": undefined}""#),
            BadGlobals,
            &["globals", "byte 6", "json.dumps"],
        ),
        (
            with(r#""globals":"{} {}""#),
            BadGlobals,
            &["globals", "after the end"],
        ),
        (with(r#""globals":{}"#), WrongType, &["globals", "string"]),
        (
            r#"{"v":1,"id":"a","runtime":"python"}"#.to_owned(),
            NoCode,
            &["code", "argv"],
        ),
        (
            r#"{"v":1,"id":"a","runtime":"python","argv":["x"],"globals":"{}"}"#.to_owned(),
            NoCode,
            &["globals"],
        ),
        (
            with(r#""python_path":["lib"]"#),
            BadPythonPath,
            &["python_path[0]", "lib"],
        ),
        (
            with(r#""python_path":["../lib"]"#),
            BadPath,
            &["python_path[0]"],
        ),
        (
            with(r#""grade":{"cases":[]}"#),
            GradeUnsupported,
            &["grade"],
        ),
    ]);
}

#[test]
fn a_number_that_json_cannot_say_is_no_json_where_no_number_belongs() {
    assert_eq!(refusal(&with(r#""env":{"A":NaN}"#)).code, NotJson);
    assert_eq!(refusal(&with(r#""argv":["a",NaN"#)).code, NotJson);
}

#[test]
fn paths_that_meet_are_refused() {
    let files = |paths: &[&str]| {
        let files: Vec<_> = paths
            .iter()
            .map(|path| format!(r#"{{"path":"{path}","content":""}}"#))
            .collect();
        with(&format!(r#""files":[{}]"#, files.join(",")))
    };
    assert_eq!(refusal(&files(&["a", "b", "a"])).code, DuplicatePath);
    assert_eq!(refusal(&files(&["a/b/c", "a"])).code, DuplicatePath);
    assert_eq!(refusal(&files(&["a", "a/b/c"])).code, DuplicatePath);
    decode(&files(&["a/b", "a/c", "ab", "a.b", "A"])).expect("none of them meet");
    decode(&with(
        r#""files":[{"path":"a/b","content":""},{"path":"a","directory":true}]"#,
    ))
    .expect("a folder may be named beside what is in it");
    decode(&files(&["back\\\\slash", "...", "-rf", " "])).expect("odd, and harmless");
}

#[test]
fn loader_steering_variables_are_refused() {
    for name in [
        "LD_PRELOAD",
        "LD_AUDIT",
        "DYLD_X",
        "GLIBC_TUNABLES",
        "GCONV_PATH",
        "LOCPATH",
        "PATH",
        "MALLOC_PERTURB_",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "NODE_OPTIONS",
        "BASH_ENV",
        "HOME",
        "PERL5OPT",
        "RUBYOPT",
        "IFS",
        "TMPDIR",
        "BASH_FUNC_ls%%",
    ] {
        let rejection = refusal(&with(&format!(r#""env":{{"{name}":"x"}}"#)));
        assert_eq!(rejection.code, BadEnv, "{name}");
    }
    decode(&with(
        r#""env":{"LANG":"C","PYTHONHASHSEED":"0","ld_preload":"x"}"#,
    ))
    .expect("harmless");
}

#[test]
fn hostile_text_is_cut_and_escaped_in_messages() {
    let hostile = format!("\u{1b}[31m`, expected `{}", "x".repeat(10_000));
    let json = serde_json::to_string(&hostile).expect("a string");
    for field in [
        format!("{json}:1"),
        format!(r#""limits":{{{json}:1}}"#),
        format!(r#""env":{{{json}:1}}"#),
        format!(r#""env":{{{json}:"\u0000"}}"#),
        format!(r#""pool":{json}"#),
        format!(r#""minor":{json}"#),
        format!(r#""files":[{{"path":{json},"content":{json},"directory":{json}}}]"#),
        format!(r#""limits":{{"cpu_ms":{json}}}"#),
        format!(r#""deadline":{json}"#),
        format!(r#""minor":1,"artifacts":[{json},{json}]"#),
        format!(r#""minor":1,"artifacts":["/",{json}]"#),
    ] {
        let rejection = refusal(&with(&field));
        assert!(
            rejection.message.len() < 700,
            "{} bytes: {rejection}",
            rejection.message.len()
        );
        assert!(
            !rejection.message.contains('\u{1b}'),
            "an escape passed: {rejection:?}"
        );
    }
}
