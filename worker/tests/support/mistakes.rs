//! Jobs with one mistake each.

use jailfleet::rejection::RejectionCode;
use serde_json::{Value, json};

/// A job that is right.
pub(crate) fn valid(id: &str) -> Value {
    json!({ "v": 1, "id": id, "runtime": "bash", "code": "echo $((6*7))" })
}

/// The same job with these fields on top.
fn with(id: &str, fields: &Value) -> String {
    let mut job = valid(id);
    if let (Some(job), Some(fields)) = (job.as_object_mut(), fields.as_object()) {
        job.extend(fields.clone());
    }
    job.to_string()
}

/// The same job with a limit as it is written here, valid JSON or not.
fn limit(id: &str, text: &str) -> String {
    let limits = format!("{{\"limits\":{{\"cpu_ms\":{text}}},");
    valid(id).to_string().replacen('{', &limits, 1)
}

fn files(id: &str, paths: &[&str]) -> String {
    let files = paths
        .iter()
        .map(|path| json!({ "path": path, "content": "" }));
    with(id, &json!({ "files": Value::from_iter(files) }))
}

fn deep() -> String {
    let (open, close) = ("[".repeat(200), "]".repeat(200));
    format!("{{\"v\":1,\"id\":\"deep\",\"code\":{open}1{close}}}")
}

/// The codes that no message of this list can get: nobody could be told of the first, the second is handed on
/// to a newer worker.
pub(crate) const ELSEWHERE: [RejectionCode; 2] =
    [RejectionCode::BadReplyTo, RejectionCode::UnsupportedMinor];

/// The codes of mistakes that no reader of a message can see.
pub(crate) const FOUND_IN_THE_JAIL: [&str; 3] =
    ["bad_program", "files_too_large", "limits_too_small"];

/// Each mistake of the documentation's list: an id, the message, the code of its answer.
#[rustfmt::skip]
pub(crate) fn mistakes() -> Vec<(&'static str, String, &'static str)> {
    let text = |id, field: &str, text: &str| with(id, &json!({ field: text }));
    vec![
        ("json", "{\"v\":1,".to_owned(), "not_json"),
        ("bytes", "\u{0}\u{1}".to_owned(), "not_json"),
        ("version", with("version", &json!({ "v": 2 })), "wrong_version"),
        ("type", with("type", &json!({ "runtime": 5 })), "wrong_type"),
        ("field", with("field", &json!({ "sudo": true })), "unknown_field"),
        ("runtime", text("runtime", "runtime", "cobol"), "unknown_runtime"),
        ("profile", text("profile", "limit_profile", "huge"), "unknown_profile"),
        ("large", text("large", "stdin", &"x".repeat(70_000)), "too_large"),
        ("deep", deep(), "too_deep"),
        ("up", files("up", &["a/../../b"]), "bad_path"),
        ("absolute", files("absolute", &["/etc/passwd"]), "bad_path"),
        ("nul", files("nul", &["a\0b"]), "bad_path"),
        ("twice", files("twice", &["a", "a"]), "duplicate_path"),
        ("zero", limit("zero", "0"), "bad_limit"),
        ("negative", limit("negative", "-5"), "bad_limit"),
        ("fraction", limit("fraction", "1.5"), "bad_limit"),
        ("nan", limit("nan", "NaN"), "bad_limit"),
        ("overflow", limit("overflow", "18446744073709551616"), "bad_limit"),
        ("ceiling", limit("ceiling", "86400000"), "above_ceiling"),
        ("env", with("env", &json!({ "env": { "LD_PRELOAD": "x.so" } })), "bad_env"),
        ("lane", text("lane", "lane", "interactive"), "wrong_queue"),
        ("pool", text("pool", "pool", "gpu"), "wrong_queue"),
        ("other", text("another", "slug", "x"), "id_mismatch"),
        ("deadline", text("deadline", "deadline", "soon"), "bad_deadline"),
        ("globals", text("globals", "globals", "{}"), "globals_unsupported"),
        ("missing", "{\"v\":1,\"id\":\"missing\",\"code\":\"\"}".to_owned(), "missing_field"),
        ("again", valid("again").to_string().replacen('{', "{\"v\":1,", 1), "duplicate_field"),
        ("base64", with("base64", &json!({ "stdin": { "base64": "?" } })), "bad_base64"),
        ("no_id", valid("a/b").to_string(), "bad_id"),
        ("no_name", text("no_name", "runtime", "no name"), "bad_name"),
        ("no_lane", text("no_lane", "lane", "fast"), "bad_lane"),
        ("label", text("label", "slug", "\u{7}"), "bad_label"),
        ("argv", with("argv", &json!({ "argv": ["a\0b"] })), "bad_argv"),
        ("list", with("list", &json!({ "runtime": "python", "globals": "[]" })), "bad_globals"),
        ("import", with("import", &json!({ "runtime": "python", "globals": "{}", "python_path": ["lib"] })), "bad_python_path"),
        ("empty", "{\"v\":1,\"id\":\"empty\",\"runtime\":\"bash\"}".to_owned(), "no_code"),
        ("grade", with("grade", &json!({ "grade": {} })), "grade_unsupported"),
        ("program", with("program", &json!({ "runtime": "native", "code": "no program" })), "bad_program"),
        ("files", with("files", &json!({ "files": [{ "path": "a", "content": "b" }], "limits": { "disk_files": 1 } })), "files_too_large"),
        ("handles", with("handles", &json!({ "limits": { "open_files": 1 } })), "limits_too_small"),
    ]
}
