//! What users of codejail's `safe_exec` rely on.

use super::{assert_ended, assert_none, exec, job, left, run, run_all, text_of};
use serde_json::json;

#[test]
fn a_value_that_the_code_sets_comes_back() {
    assert_eq!(exec("a = 17", "{}"), json!({ "a": 17 }));
}

#[test]
fn a_value_that_was_given_is_there_and_comes_back_as_the_code_left_it() {
    let globals = r#"{"x": 16, "list": [1, [2]], "keep": null}"#;
    assert_eq!(
        exec("x += 1\nlist[1].append(3)", globals),
        json!({ "x": 17, "list": [1, [2, 3]], "keep": null })
    );
}

#[test]
fn a_value_that_the_code_deletes_is_not_among_those_left() {
    assert_eq!(exec("del x", r#"{"x": 1, "y": 2}"#), json!({ "y": 2 }));
}

#[test]
fn bytes_come_back_as_text_tuples_as_lists_and_keys_as_strings() {
    let code = "a = {b'k': b'v', 1: (1, (2, b'x')), None: True, False: 0.5}\nb = b'bytes'\nc = (1, 2)\n\
                globals()[7] = 'seven'";
    assert_eq!(
        exec(code, "{}"),
        json!({
            "a": { "k": "v", "1": [1, [2, "x"]], "null": true, "false": 0.5 },
            "b": "bytes",
            "c": [1, 2],
            "7": "seven"
        })
    );
}

#[test]
fn a_value_with_bytes_that_are_no_text_is_left_out_whole() {
    let code = "a = b'\\xff'\nb = [1, b'\\xff']\nc = {b'\\xff': 1}\nd = [{'x': {'y': b'\\xfe'}}]\n\
                globals()[b'\\xff'] = 1\nkept = 1";
    assert_eq!(exec(code, "{}"), json!({ "kept": 1 }));
}

#[test]
fn modules_functions_classes_and_objects_are_left_out() {
    let code = "import math, sys\ndef f(): pass\nclass C: pass\no = C()\ng = lambda: 1\ns = {1}\n\
                c = 1j\nr = range(3)\na = bytearray(b'x')\nn = [o]\nm = {'x': {'y': f}}\nkept = [1]";
    assert_eq!(exec(code, "{}"), json!({ "kept": [1] }));
}

#[test]
fn subclasses_of_plain_values_come_back_as_plain_values() {
    let code = "import collections, enum\nclass I(int): pass\nclass S(str): pass\nclass F(float): pass\n\
                class E(enum.IntEnum):\n  one = 1\ni = I(3)\ns = S('t')\nf = F(0.5)\ne = E.one\n\
                o = collections.OrderedDict([('z', 1), ('a', 2)])\n\
                p = collections.namedtuple('P', 'x y')(1, 2)\nd = collections.defaultdict(list, k=[1])\n\
                del collections, enum";
    assert_eq!(
        exec(code, "{}"),
        json!({
            "i": 3, "s": "t", "f": 0.5, "e": 1, "o": { "z": 1, "a": 2 }, "p": [1, 2],
            "d": { "k": [1] }
        })
    );
}

#[test]
fn functions_of_the_code_call_each_other() {
    let code = "def f(n): return 1 if n == 0 else n * g(n - 1)\ndef g(n): return f(n)\nx = f(5)";
    assert_eq!(exec(code, "{}"), json!({ "x": 120 }));
}

#[test]
fn what_the_code_prints_is_its_output_and_does_not_spoil_its_globals() {
    let code = "import sys\nprint('{\"x\": 1}')\nsys.stderr.write('err')\nsys.__stdout__.write('more')\nx = 2";
    let result = run(&job(code, "{}"));
    assert_eq!(text_of(&result), r#"{"x": 2}"#);
    assert_eq!(result["stdout"], "{\"x\": 1}\nmore");
    assert_eq!(result["stderr"], "err");
    assert_ended(&result, "exited", 0);
}

#[test]
fn a_module_of_many_names_can_be_poured_into_the_globals() {
    let left = exec(
        "from math import *\nfrom json import *\ny = floor(pi)\ndel nan, inf",
        "{}",
    );
    assert_eq!(left["y"], 3);
    assert!(left["pi"].is_f64() && left.get("sin").is_none() && left.get("loads").is_none());
}

#[test]
fn an_exception_ends_the_run_with_1_and_a_traceback_that_begins_in_the_code() {
    let code = "import sys\nsys.stderr.write('before\\n')\ndef pour():\n    raise ValueError(\"That's not how you pour soup!\")\npour()";
    let result = run(&job(code, r#"{"x": 1}"#));
    assert_ended(&result, "exited", 1);
    assert_eq!(
        result["stderr"],
        "before\nTraceback (most recent call last):\n  File \"<string>\", line 5, in <module>\n  \
         File \"<string>\", line 4, in pour\nValueError: That's not how you pour soup!\n"
    );
    assert_eq!(result["stdout"], "");
    assert_none(&result, "did not run to its end");
}

#[test]
fn every_other_way_to_fail_is_told_without_our_frames_too() {
    let results = run_all(&[
        job("x = 1\nx +", "{}"),
        job(
            "import sys\nsys.excepthook = lambda *what: print('hooked', what[0].__name__)\n1/0",
            "{}",
        ),
        job(
            "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('k') from e",
            "{}",
        ),
        job("def f(): f()\nf()", "{}"),
        job("raise KeyboardInterrupt", "{}"),
        job("import sys\ndel sys.excepthook\n1/0", "{}"),
    ]);
    let stderr = |at: usize| results[at]["stderr"].as_str().expect("text");
    assert_eq!(
        stderr(0),
        "  File \"<string>\", line 2\n    x +\n       ^\nSyntaxError: invalid syntax\n"
    );
    assert_eq!(results[1]["stdout"], "hooked ZeroDivisionError\n");
    assert!(stderr(2).contains("direct cause") && stderr(2).ends_with("KeyError: 'k'\n"));
    assert!(stderr(3).contains("RecursionError"));
    for at in 0..5 {
        assert!(!stderr(at).contains("jailed_code"), "{}", stderr(at));
    }
    // Python itself ends by the signal then, as without a harness.
    assert_eq!(results[4]["outcome"], "signaled", "{}", results[4]);
    for at in [0, 1, 2, 3, 5] {
        assert_ended(&results[at], "exited", 1);
        assert_none(&results[at], "did not run to its end");
    }
}

#[test]
fn text_of_any_language_survives_as_names_and_values() {
    let globals = json!({ "ключ": "значение", "鍵": ["値", "\u{1f600}"] }).to_string();
    assert_eq!(
        exec("ñ = ключ + '\u{1f600}' + 鍵[1]", &globals),
        json!({ "ключ": "значение", "鍵": ["値", "\u{1f600}"], "ñ": "значение\u{1f600}\u{1f600}" })
    );
}

#[test]
fn each_half_of_a_surrogate_pair_survives_as_a_value_and_as_a_key() {
    let all = "{chr(c): chr(c) for c in range(0xd800, 0xe000)}";
    let first = run(&job(&format!("a = {all}\nglobals().update(a)"), "{}"));
    let text = text_of(&first);
    assert!(text.contains(r#""\udfff": "\udfff""#));
    let code = format!("same = a == {all} and all(globals()[c] == c for c in a)\na = None");
    let second = run(&job(&code, text));
    assert!(text_of(&second).starts_with(r#"{"a": null, "\ud800": "\ud800""#));
    assert!(text_of(&second).ends_with(r#""same": true}"#));
}

#[test]
fn the_code_finds_the_working_directory_that_codejail_makes() {
    let mut job = job(
        "import os, pathlib, sys\nls = sorted(os.listdir('.'))\n\
         text = pathlib.Path('also.txt').read_text()\nbin = list(pathlib.Path('d/blob').read_bytes())\n\
         argv = sys.argv\nread = sys.stdin.read()\n\
         try:\n    open('mydata.txt', 'w')\nexcept OSError as e:\n    refused = type(e).__name__\n\
         pathlib.Path('tmp/mine').write_text('x')",
        "{}",
    );
    job["files"] = json!([
        { "path": "also.txt", "content": "héllo" },
        { "path": "d/blob", "content": { "base64": "AP8Q" } }
    ]);
    job["argv"] = json!(["-x", "two words"]);
    job["stdin"] = json!("line\n");
    let result = run(&job);
    assert_eq!(
        serde_json::Value::Object(left(&result)),
        json!({
            "ls": ["also.txt", "d", "jailed_code", "tmp"],
            "text": "héllo",
            "bin": [0, 255, 16],
            "argv": ["jailed_code", "-x", "two words"],
            "read": "line\n",
            "refused": "PermissionError"
        })
    );
}

#[test]
fn the_codes_name_and_builtins_are_those_of_an_exec_and_are_not_left() {
    let code = "n = __name__\nb = __builtins__['len']([1])\nimport builtins\nbuiltins.mine = 5\nm = mine\ndel builtins";
    let globals = r#"{"__builtins__": {}, "__name__": "given"}"#;
    assert_eq!(exec(code, "{}"), json!({ "n": "builtins", "b": 1, "m": 5 }));
    assert_eq!(
        exec(code, globals),
        json!({ "__name__": "given", "n": "given", "b": 1, "m": 5 })
    );
}

#[test]
fn nothing_but_pythons_own_is_imported_for_the_code() {
    let code = "import sys\nfound = [name for name in ('six', 'simplejson', 'json') if name in sys.modules]";
    assert_eq!(exec(code, "{}"), json!({ "found": [] }));
}

#[test]
fn sys_exit_keeps_its_code_and_leaves_no_globals() {
    let results = run_all(&[
        job("import sys\nx = 1\nsys.exit(3)", "{}"),
        job("import sys\nx = 1\nsys.exit(0)", "{}"),
        job("raise SystemExit('words')", "{}"),
        job("import os\nx = 1\nos._exit(0)", "{}"),
    ]);
    for (result, exit_code) in results.iter().zip([3, 0, 1, 0]) {
        assert_ended(result, "exited", exit_code);
        assert_none(result, "did not run to its end");
    }
    assert_eq!(results[2]["stderr"], "words\n");
    assert_eq!(results[0]["stderr"], "");
}

#[test]
fn a_limit_that_ends_the_run_leaves_no_globals_and_stays_the_outcome() {
    let mut slow = job("x = 1\nimport time\ntime.sleep(60)", "{}");
    slow["limits"] = json!({ "wall_ms": 400 });
    let mut greedy = job(
        "x = 1\na = 'x' * (1 << 20)\nb = [a + str(i) for i in range(10**6)]",
        "{}",
    );
    greedy["limits"] = json!({ "address_space_bytes": 134_217_728 });
    let results = run_all(&[slow, greedy]);
    assert_eq!(results[0]["outcome"], "wall_limit");
    assert_none(&results[0], "did not run to its end");
    assert_ended(&results[1], "exited", 1);
    assert!(
        results[1]["stderr"]
            .as_str()
            .is_some_and(|text| text.ends_with("MemoryError\n"))
    );
    assert_none(&results[1], "did not run to its end");
}
