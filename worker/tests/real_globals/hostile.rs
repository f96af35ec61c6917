//! Programs that do not want their globals to be what they seem.

use super::{assert_ended, assert_none, job, run, run_all, text_of};
use serde_json::json;

#[test]
fn an_answer_that_is_doubled_is_none() {
    let results = run_all(&[
        job("import os\nos.write(4, b'{\"a\": 1}')", "{}"),
        // Not at once, but from a copy of the descriptor, when the harness has closed its own.
        job(
            "import atexit, os\ncopy = os.dup(4)\natexit.register(os.write, copy, b'{}')",
            "{}",
        ),
        job(
            "import os\nif os.fork() == 0:\n    os.write(4, b'{\"child\": 1}')\n    os._exit(0)\nos.wait()",
            "{}",
        ),
    ]);
    for result in &results {
        assert_ended(result, "exited", 0);
        assert_none(result, "not one JSON object");
    }
}

#[test]
fn a_fork_that_comes_to_the_codes_end_does_not_answer_too() {
    let code = "import os\nchild = os.fork() == 0\nif not child: os.wait()\nx = 1";
    let result = run(&job(code, "{}"));
    assert_eq!(text_of(&result), r#"{"child": false, "x": 1}"#);
}

#[test]
fn a_descriptor_that_is_closed_or_replaced_costs_the_globals_and_nothing_else() {
    let results = run_all(&[
        job("import os\nos.close(4)\nx = 1", "{}"),
        job("import os\nos.closerange(3, 64)\nx = 1", "{}"),
        job("import os\nos.dup2(1, 4)\nx = 1", "{}"),
        job(
            "import os\nos.close(4)\nos.open('/dev/null', os.O_RDONLY)\nx = 1",
            "{}",
        ),
        job("x = 1", "{}"),
    ]);
    for result in &results[..4] {
        assert_ended(result, "exited", 0);
        assert_none(result, "did not run to its end");
    }
    assert_eq!(results[2]["stdout"], r#"{"x": 1}"#);
    assert_eq!(text_of(&results[4]), r#"{"x": 1}"#);
}

#[test]
fn more_globals_than_the_cap_are_none_and_stop_nobody() {
    let mut at_the_cap = job("x = 'a' * ((1 << 20) - 9)", "{}");
    at_the_cap["slug"] = json!("at the cap");
    let mut flood = job(
        "import os\ntry:\n    while True: os.write(4, b' ' * 65536)\nexcept OSError as e:\n    print(type(e).__name__)",
        "{}",
    );
    flood["limits"] = json!({ "wall_ms": 5000 });
    let results = run_all(&[
        at_the_cap,
        job("x = 'a' * ((1 << 20) - 8)", "{}"),
        job(
            "x = {str(i): 'y' * 1000 for i in range(20000)}\nprint('over')",
            "{}",
        ),
        flood,
    ]);
    assert_eq!(text_of(&results[0]).len(), 1 << 20);
    for result in &results[1..] {
        assert_ended(result, "exited", 0);
        assert_none(result, "more than 1048576 bytes");
    }
    assert_eq!(results[2]["stdout"], "over\n");
    assert_eq!(results[3]["stdout"], "BrokenPipeError\n");
}

#[test]
fn an_answer_that_the_code_makes_itself_counts_as_its_word_if_it_is_one_object() {
    let results = run_all(&[
        job(
            "import os\nos.write(4, b' {\"a\": NaN}\\n')\nos._exit(7)",
            "{}",
        ),
        job("import os\nos.write(4, b'[1]')\nos._exit(0)", "{}"),
        job(
            "import os\nos.write(4, b'{\"a\": \"\\xff\"}')\nos._exit(0)",
            "{}",
        ),
        job("import os\nos.write(4, b'{\"a\": 1')\nos._exit(0)", "{}"),
        job("import os\nos.write(4, b'[' * 500000)\nos._exit(0)", "{}"),
    ]);
    assert_ended(&results[0], "exited", 7);
    assert_eq!(text_of(&results[0]), r#"{"a": NaN}"#);
    for (result, why) in results[1..]
        .iter()
        .zip(["byte 0", "UTF-8", "byte 7", "byte 0"])
    {
        assert_ended(result, "exited", 0);
        assert_none(result, why);
    }
}

#[test]
fn values_that_contain_themselves_or_go_too_deep_are_left_out() {
    let code = "a = []\na.append(a)\nb = {}\nb['b'] = b\nc = []\nfor i in range(100000): c = [c]\n\
                d = []\nfor i in range(800): d = [d]\ndel i";
    let result = run(&job(code, "{}"));
    let text = text_of(&result);
    assert!(
        text.starts_with(r#"{"d": [[["#) && text.len() == 801 * 2 + 7,
        "{text}"
    );
}

#[test]
fn names_that_the_code_redefines_are_not_ours() {
    let code = "import builtins, json, os, sys\n\
                for name in ('isinstance', 'list', 'dict', 'map', 'len', 'Exception', 'TypeError', 'OSError', 'memoryview'):\n\
                \x20   setattr(builtins, name, None)\n\
                json.dumps = json.loads = os.write = os.close = os.getpid = None\n\
                sys.modules.clear()\n\
                x = 1\n\
                del name";
    let result = run(&job(code, "{}"));
    assert_eq!(text_of(&result), r#"{"x": 1}"#);
}

#[test]
fn code_that_empties_its_globals_leaves_an_empty_object() {
    let result = run(&job("globals().clear()", r#"{"x": 1}"#));
    assert_eq!(text_of(&result), "{}");
}

#[test]
fn classes_of_the_code_cannot_break_the_other_globals() {
    let code = "class K(str):\n  def __eq__(self, other): raise ValueError\n  __hash__ = str.__hash__\n\
                class D(dict):\n  def items(self): raise LookupError\n\
                class L(list):\n  def __iter__(self): return iter([object()])\n\
                class C:\n  @property\n  def __class__(self): raise ValueError\n\
                globals()[K('k')] = 1\nd = D(a=1)\nl = L([1])\nc = C()\nn = [C()]\nkept = 2";
    let result = run(&job(code, "{}"));
    let text = text_of(&result);
    assert!(text.ends_with(r#""kept": 2}"#), "{text}");
    assert!(
        !text.contains(r#""c""#) && !text.contains(r#""n""#),
        "{text}"
    );
}

#[test]
fn threads_that_go_on_writing_change_nothing_after_the_end() {
    let code = "import threading, time\nseen = threading.Event()\n\
                def later():\n    i = 0\n    while not done or i < 1000:\n        globals()['n%d' % (i % 50)] = i; i += 1\n        seen.set()\n\
                done = []\nt = threading.Thread(target=later)\nt.start()\nseen.wait()\nx = 1\ndone = [1]";
    let results = run_all(&vec![job(code, "{}"); 4]);
    for result in &results {
        assert_ended(result, "exited", 0);
        assert!(text_of(result).contains(r#""x": 1"#));
    }
}

#[test]
fn a_process_that_keeps_the_descriptor_open_does_not_hold_up_the_result() {
    let code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(86414)\nx = 1";
    let mut kept = job(code, "{}");
    kept["limits"] = json!({ "wall_ms": 30000 });
    let result = run(&kept);
    assert_ended(&result, "exited", 0);
    assert_eq!(text_of(&result), r#"{"x": 1}"#);
    let wall = result["usage"]["wall_ms"].as_f64().expect("a number");
    assert!(wall < 15_000.0, "{result}");
}

#[test]
fn neither_what_was_given_nor_a_descriptor_of_ours_is_there_for_the_program_and_its_children() {
    let listing = "import os\ndef listed():\n    found = []\n    for fd in range(64):\n        try: os.fstat(fd)\n\
                   \x20       except OSError: continue\n        found.append(fd)\n    return found\n";
    let code = format!(
        "{listing}mine = listed()\nimport subprocess, sys\ncode = {listing:?} + 'print(listed())'\n\
         child = subprocess.run([sys.executable, '-c', code], close_fds=False, stdout=subprocess.PIPE)\n\
         child = child.stdout.decode()\ndel code"
    );
    let mut plain = job(&format!("{listing}print(listed())"), "{}");
    plain.as_object_mut().expect("an object").remove("globals");
    let results = run_all(&[job(&code, "{}"), plain]);
    let expected = r#"{"mine": [0, 1, 2, 4], "child": "[0, 1, 2]\n"}"#;
    assert_eq!(text_of(&results[0]), expected);
    assert_eq!(results[1]["stdout"], "[0, 1, 2]\n");
}

#[test]
fn a_harness_that_the_code_replaces_in_memory_is_whole_for_the_next_job() {
    let code = "import __main__\n__main__.entry.__code__ = (lambda *a: '\"forged\": 1').__code__\n\
                try:\n    open(__main__.__file__, 'w')\nexcept OSError as e:\n    print(type(e).__name__)\nx = 1";
    let results = run_all(&[job(code, "{}"), job("x = 1", "{}"), job("x = 2", "{}")]);
    assert!(text_of(&results[0]).contains("forged"));
    assert_eq!(results[0]["stdout"], "PermissionError\n");
    assert_eq!(text_of(&results[1]), r#"{"x": 1}"#);
    assert_eq!(text_of(&results[2]), r#"{"x": 2}"#);
}
