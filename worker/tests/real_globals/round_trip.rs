//! What Python's JSON knows and JSON does not survives there and back, and Rust and Python agree on
//! what is an object.

use super::{job, run, run_all, text_of};
use crate::worker::command;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::io::Write;
use std::process::Stdio;

#[test]
fn special_numbers_survive_there_and_back() {
    let huge = "9".repeat(4300);
    let text = format!(
        "{{\"nan\": NaN, \"inf\": [Infinity, -Infinity], \"huge\": {huge}, \"neg\": -{huge}, \
         \"zero\": -0.0, \"small\": 5e-324, \"third\": 0.3333333333333333}}"
    );
    let code = "import math\nassert math.isnan(nan) and inf == [math.inf, -math.inf]\n\
                assert huge == 10**4300 - 1 == -neg and small > 0\ndel math";
    assert_eq!(text_of(&run(&job(code, &text))), text);
}

#[test]
fn whole_numbers_beyond_what_python_reads_are_left_out_and_refused() {
    let results = run_all(&[
        job("x = 10**4300\ny = [1, -10**5000]\nz = 1", "{}"),
        job("", &format!("{{\"x\": {}}}", "9".repeat(4301))),
    ]);
    assert_eq!(text_of(&results[0]), r#"{"z": 1}"#);
    assert_eq!(results[1]["error"]["code"], "bad_globals");
}

#[test]
fn numbers_beyond_any_float_become_infinities_as_in_python() {
    let result = run(&job("", "{\"x\": 1e999, \"y\": [-1E999]}"));
    assert_eq!(text_of(&result), r#"{"x": Infinity, "y": [-Infinity]}"#);
}

#[test]
fn the_last_of_two_members_of_one_name_counts() {
    let result = run(&job("", r#"{"x": 1, "y": 2, "x": 3}"#));
    assert_eq!(text_of(&result), r#"{"x": 3, "y": 2}"#);
}

/// A value in the words in which Python writes it.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "NaN",
            "Infinity",
            "-Infinity",
            "null",
            "true",
            "false",
            "0",
            "-1",
            "0.1",
            "-0.0",
            "1e+16",
            "1.5e-07",
            "123456789012345678901234567890",
            "\"\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud800\"",
            "\"\\udfff\\ud800x\"",
            "\"\\u0000\\n\\\"\\\\\"",
            "\"\\u00e9\"",
            "[]",
            "{}",
        ])
        .prop_map(str::to_owned),
        any::<i128>().prop_map(|number| number.to_string()),
        "[ a-zA-Z/<&]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5)
                .prop_map(|values| format!("[{}]", values.join(", "))),
            members(inner),
        ]
    })
}

/// An object of such values, whose names are in no order and never twice.
fn members(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-z]{1,6}", "\\\\ud8[0-9a-f]{2}", "\\\\u00[a-f][0-9a-f]"];
    prop::collection::hash_map(name, inner, 1..5).prop_map(|members| {
        let members = members.into_iter();
        let members: Vec<_> = members
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        format!("{{{}}}", members.join(", "))
    })
}

fn some<T>(strategy: impl Strategy<Value = T>, number: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    let mut one = || strategy.new_tree(&mut runner).expect("a value").current();
    (0..number).map(|_| one()).collect()
}

#[test]
fn any_object_comes_back_in_the_same_words_and_the_same_order() {
    let texts = some(members(value()), 60);
    let jobs: Vec<_> = texts.iter().map(|text| job("", text)).collect();
    for (result, text) in run_all(&jobs).iter().zip(&texts) {
        assert_eq!(text_of(result), text);
    }
}

#[test]
fn rust_and_python_agree_on_what_is_an_object() {
    let change = (
        any::<prop::sample::Index>(),
        0..3_u8,
        "[\\[\\]{},:\"\\\\0-9eE.+NaInf\u{a0}\0\t -]",
    );
    let changed = (members(value()), prop::collection::vec(change, 0..3));
    let changed = changed.prop_map(|(text, changes)| {
        let mut letters: Vec<char> = text.chars().collect();
        for (at, kind, letter) in changes {
            let at = at.index(letters.len().max(1)).min(letters.len());
            let letter = letter.chars().next();
            match (kind, at < letters.len()) {
                (0, true) => drop(letters.remove(at)),
                (1, true) => letters[at] = letter.unwrap_or(' '),
                _ => letters.insert(at, letter.unwrap_or(' ')),
            }
        }
        letters.into_iter().collect::<String>()
    });
    let texts = some(changed, 5000);
    let program = "import json, sys\nfor text in json.load(sys.stdin):\n    try: taken = isinstance(json.loads(text), dict)\n    except (ValueError, RecursionError): taken = False\n    print(int(taken), end='')";
    let mut python = command("/usr/bin/python3");
    python
        .args(["-E", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut python = python.spawn().expect("python starts");
    let mut input = python.stdin.take().expect("it is a pipe");
    let all = serde_json::to_vec(&texts).expect("texts encode");
    input
        .write_all(&all)
        .expect("python reads it all before it writes");
    drop(input);
    let output = python.wait_with_output().expect("python ends").stdout;
    assert_eq!(output.len(), texts.len());
    let mut taken = 0;
    for (text, says) in texts.iter().zip(output) {
        let ours = jailfleet::wire::python_object(text);
        assert_eq!(ours.is_ok(), says == b'1', "{text:?}: {ours:?}");
        taken += usize::from(ours.is_ok());
    }
    // Both kinds must have been among them, or there was nothing to disagree on.
    assert!((500..4500).contains(&taken), "{taken} of 5000 are objects");
}
