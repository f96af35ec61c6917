//! Jobs with globals that are the producer's mistake.

use super::{job, run_all};
use serde_json::json;

#[test]
fn each_mistake_about_globals_and_python_path_has_its_code_and_says_what_to_do() {
    let mut no_code = job("", "{}");
    no_code.as_object_mut().expect("an object").remove("code");
    no_code["argv"] = json!(["x"]);
    let mut elsewhere = job("", "{}");
    elsewhere["python_path"] = json!(["lib"]);
    let mut plain = job("", "{}");
    plain.as_object_mut().expect("an object").remove("globals");
    plain["files"] = json!([{ "path": "lib/", "directory": true }]);
    plain["python_path"] = json!(["lib"]);
    let mut bash = job("", "{}");
    bash["runtime"] = json!("bash");
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20));
    let results = run_all(&[
        job("", "[1]"),
        job("", "{\"a\": NaN, \"b\": nan}"),
        job("", "{} {}"),
        job("", &large),
        no_code,
        elsewhere,
        plain,
        bash,
    ]);
    let expected = [
        ("bad_globals", "byte 0"),
        ("bad_globals", "byte 16"),
        ("bad_globals", "byte 3"),
        ("too_large", "at most 1048576"),
        ("no_code", "send code"),
        ("bad_python_path", "not among the files"),
        ("bad_python_path", "goes with globals"),
        ("globals_unsupported", "this worker can with python"),
    ];
    for (result, (code, words)) in results.iter().zip(expected) {
        assert_eq!(result["outcome"], "rejected", "{result}");
        assert_eq!(result["error"]["code"], code, "{result}");
        let message = result["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{result}");
    }
}
