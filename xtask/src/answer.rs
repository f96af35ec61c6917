//! Results against expectations, and results against results.

use crate::example::{Expectation, OneOrMore, bytes_of};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Results by job id.
pub(crate) type Answers = BTreeMap<String, Value>;

/// Reads a file of one result a line; each job may occur once.
pub(crate) fn read_all(path: &Path) -> Result<Answers> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the results {}", path.display()))?;
    let mut answers = Answers::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let result: Value =
            serde_json::from_str(line).with_context(|| format!("read the result {line:.200}"))?;
        let id = result.get("job_id").and_then(Value::as_str);
        let id = id
            .with_context(|| format!("find the job_id in {line:.200}"))?
            .to_owned();
        let earlier = answers.insert(id.clone(), result);
        ensure!(earlier.is_none(), "accept two results of the job {id}");
    }
    Ok(answers)
}

/// The text of a field, or a dash.
pub(crate) fn text<'a>(result: &'a Value, field: &str) -> &'a str {
    result.get(field).and_then(Value::as_str).unwrap_or("-")
}

/// What a result says, short enough for a table: `exited 3`, `signaled 9`, `rejected bad_path`.
pub(crate) fn summary(result: &Value) -> String {
    let outcome = text(result, "outcome");
    match outcome {
        "exited" => format!("exited {}", number(result, "exit_code")),
        "signaled" => format!("signaled {}", number(result, "signal")),
        _ => match error_code(result) {
            Some(code) if outcome == "rejected" || outcome == "engine_fault" => {
                format!("{outcome} {code}")
            }
            _ => outcome.to_owned(),
        },
    }
}

/// The same of an expectation.
pub(crate) fn expected_summary(expect: &Expectation) -> String {
    let outcome = expect.outcome.as_slice().join(" or ");
    let detail = match (expect.exit_code, expect.signal, &expect.error_code) {
        (Some(code), _, _) => code.to_string(),
        (None, Some(signal), _) => signal.to_string(),
        (None, None, Some(code)) => code.clone(),
        (None, None, None) => return outcome,
    };
    format!("{outcome} {detail}")
}

fn number(result: &Value, field: &str) -> String {
    result
        .get(field)
        .map_or_else(|| "-".to_owned(), Value::to_string)
}

/// The code of the error that a result carries.
pub(crate) fn error_code(result: &Value) -> Option<&str> {
    result
        .get("error")
        .and_then(|error| error.get("code"))
        .and_then(Value::as_str)
}

/// The walls that held, as they stand in the result.
pub(crate) fn walls(result: &Value) -> impl Iterator<Item = &str> {
    result
        .get("walls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// What differs of all that the code left behind.
fn what_was_left(expect: &Expectation, result: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let globals = result.get("globals").and_then(Value::as_str);
    if expect.globals.is_some() && globals != expect.globals.as_deref() {
        wrong.push(format!("globals {globals:?}"));
    }
    for (name, expected) in [
        ("artifacts", &expect.artifacts),
        ("artifacts_left_out", &expect.artifacts_left_out),
    ] {
        if expected.is_some() && result.get(name) != expected.as_ref() {
            wrong.push(format!("{name} {:?}", result.get(name)));
        }
    }
    wrong
}

/// The differences between what was expected and what came; none if it is as it should be.
pub(crate) fn mismatches(expect: &Expectation, result: &Value) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let outcome = text(result, "outcome");
    if !expect.outcome.as_slice().iter().any(|one| one == outcome) {
        let words = result
            .get("error")
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        wrong.push(format!("outcome {outcome}{words}"));
    }
    for (name, wanted) in [("exit_code", expect.exit_code), ("signal", expect.signal)] {
        let found = result.get(name).and_then(Value::as_i64);
        if wanted.is_some() && found != wanted {
            wrong.push(format!("{name} {found:?} instead of {wanted:?}"));
        }
    }
    if expect.error_code.is_some() && error_code(result) != expect.error_code.as_deref() {
        wrong.push(format!("error {:?}", error_code(result)));
    }
    wrong.extend(what_was_left(expect, result));
    // Whatever ended by itself ended without any word of ours.
    if matches!(outcome, "exited" | "signaled") && expect.error_code.is_none() {
        wrong.extend(
            result
                .get("error")
                .map(|error| format!("an error beside it: {error}")),
        );
    }
    let cut: Vec<&str> = result
        .get("truncated")
        .and_then(Value::as_array)
        .map(|streams| streams.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let wanted = expect.truncated.as_deref().unwrap_or_default();
    if cut != wanted {
        wrong.push(format!("truncated {cut:?} instead of {wanted:?}"));
    }
    let stdout = bytes_of(result.get("stdout"))?;
    let stderr = bytes_of(result.get("stderr"))?;
    stream(
        "stdout",
        &stdout,
        expect.stdout.as_ref(),
        &expect.stdout_contains,
        &mut wrong,
    )?;
    stream(
        "stderr",
        &stderr,
        expect.stderr.as_ref(),
        &expect.stderr_contains,
        &mut wrong,
    )?;
    if let Some(wanted) = expect.stdout_bytes
        && stdout.len() != wanted
    {
        wrong.push(format!(
            "{} bytes of stdout instead of {wanted}",
            stdout.len()
        ));
    }
    if !wrong.is_empty() && !stderr.is_empty() {
        wrong.push(format!("stderr said {}", shown(&stderr)));
    }
    Ok(wrong)
}

fn stream(
    name: &str,
    found: &[u8],
    exact: Option<&Value>,
    parts: &OneOrMore,
    wrong: &mut Vec<String>,
) -> Result<()> {
    if let Some(exact) = exact
        && found != bytes_of(Some(exact))?
    {
        wrong.push(format!("{name} {}", shown(found)));
    }
    for part in parts.as_slice() {
        if !found
            .windows(part.len().max(1))
            .any(|window| window == part.as_bytes())
        {
            wrong.push(format!("{name} without {part:?}: {}", shown(found)));
        }
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
    format!("{text:?}")
}

/// The fields in which two results of one job differ, apart from those that say when, where and
/// behind what it ran, and those that the example allows to differ.
pub(crate) fn differences(one: &Value, other: &Value, may_differ: &[String]) -> Vec<String> {
    const OF_THE_RUN: [&str; 3] = ["usage", "timing", "worker"];
    let (one, other) = (fields(one), fields(other));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names
        .into_iter()
        .filter(|name| !OF_THE_RUN.contains(&name.as_str()))
        .filter(|name| !may_differ.contains(name))
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| {
            let side = |fields: &BTreeMap<String, String>| {
                let text = fields.get(name).map_or("absent", String::as_str);
                text.chars().take(160).collect::<String>()
            };
            format!("{name}: {} against {}", side(&one), side(&other))
        })
        .collect()
}

/// Each field's exact text, with the one random word of a run, its folder's name, taken out.
fn fields(result: &Value) -> BTreeMap<String, String> {
    let object = result.as_object().into_iter().flatten();
    object
        .map(|(name, value)| (name.clone(), without_folder(&value.to_string())))
        .collect()
}

fn without_folder(text: &str) -> String {
    const FIXED: &str = "codejail-";
    const LETTERS: usize = 8;
    let mut parts = text.split(FIXED);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let random = part
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .count();
        plain.push_str(FIXED);
        plain.push_str(if random == LETTERS {
            part.get(LETTERS..).unwrap_or_default()
        } else {
            part
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{differences, mismatches, summary};
    use crate::example::Expectation;
    use serde_json::json;

    fn expectation(value: serde_json::Value) -> Expectation {
        serde_json::from_value(value).expect("the test's expectation is well-formed")
    }

    #[test]
    fn a_result_as_expected_has_no_mismatch() {
        let expect = expectation(json!({"outcome": "exited", "exit_code": 0, "stdout": "42\n"}));
        let result = json!({"outcome": "exited", "exit_code": 0, "stdout": "42\n", "stderr": ""});
        assert_eq!(
            mismatches(&expect, &result).expect("blobs are well-formed"),
            [""; 0]
        );
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        let expect = expectation(json!({
            "outcome": ["cpu_limit", "wall_limit"], "exit_code": 0, "stdout": "a",
            "stderr_contains": "b", "truncated": ["stdout"], "globals": "{}",
            "artifacts": [{"path": "a", "content": ""}],
        }));
        let result = json!({"outcome": "exited", "exit_code": 1, "stdout": {"base64": "/w=="}});
        let wrong = mismatches(&expect, &result).expect("blobs are well-formed");
        assert_eq!(wrong.len(), 7, "{wrong:?}");
    }

    #[test]
    fn output_that_was_cut_without_being_expected_is_a_mismatch() {
        let expect = expectation(json!({"outcome": "exited"}));
        let result = json!({"outcome": "exited", "truncated": ["stderr"]});
        assert_eq!(
            mismatches(&expect, &result)
                .expect("blobs are well-formed")
                .len(),
            1
        );
    }

    #[test]
    fn timing_and_the_random_folder_are_no_difference_and_the_output_is_one() {
        let one =
            json!({"stdout": "x", "stderr": "/tmp/codejail-ab12_x9z/jailed_code", "timing": 1});
        let two =
            json!({"stdout": "x", "stderr": "/tmp/codejail-00000000/jailed_code", "timing": 2});
        assert_eq!(differences(&one, &two, &[]), [""; 0]);
        let three = json!({"stdout": "y", "stderr": "/tmp/codejail-00000000/jailed_code"});
        assert_eq!(differences(&one, &three, &[]).len(), 1);
        assert_eq!(differences(&one, &three, &["stdout".to_owned()]), [""; 0]);
    }

    #[test]
    fn a_summary_names_the_code_that_matters() {
        assert_eq!(
            summary(&json!({"outcome": "exited", "exit_code": 3})),
            "exited 3"
        );
        assert_eq!(
            summary(&json!({"outcome": "signaled", "signal": 9})),
            "signaled 9"
        );
        let rejected = json!({"outcome": "rejected", "error": {"code": "bad_path"}});
        assert_eq!(summary(&rejected), "rejected bad_path");
    }
}
