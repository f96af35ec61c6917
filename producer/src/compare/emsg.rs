//! `emsg`, the one text in which codejail tells what went wrong: how ours would read, and what of two
//! such texts the platform's dark launch passes over when it compares them.

use std::sync::LazyLock;

use jailfleet::outcome::Outcome;
use jailfleet::result::JobResult;
use regex::Regex;

use crate::serve::repr;

/// What codejail-service says when the wrapper's answer does not read, as after `sys.exit(0)`.
const CORRUPTED: &str = "Sandboxed code produced corrupted stdout.";

/// SIGXCPU and SIGKILL: how codejail tells of its two clocks.
const CPU_STATUS: i32 = -24;
const KILLED_STATUS: i32 = -9;

/// The text that codejail's users would have got for this result; `None` for a run that left globals.
pub(super) fn of(result: &JobResult) -> Option<String> {
    let status = status(result);
    if status == 0 {
        return result.globals.is_none().then(|| CORRUPTED.to_owned());
    }
    let stderr = result.stderr.clone().unwrap_or_default();
    // What the code prints is thrown away there, so that their stdout is empty whenever code fails.
    Some(format!(
        "Couldn't execute jailed code: stdout: b'', stderr: {} with status code: {status}",
        repr::of_bytes(stderr.as_bytes())
    ))
}

/// The status of a run as Python's `subprocess` has it.
fn status(result: &JobResult) -> i32 {
    match result.outcome {
        Outcome::Exited => result.exit_code.unwrap_or(0),
        Outcome::Signaled => result.signal.map_or(KILLED_STATUS, |signal| -signal),
        Outcome::CpuLimit => CPU_STATUS,
        Outcome::WallLimit
        | Outcome::MemoryLimit
        | Outcome::OutputLimit
        | Outcome::Rejected
        | Outcome::Expired
        | Outcome::Cancelled
        | Outcome::WorkerLost
        | Outcome::EngineFault
        | Outcome::Other => KILLED_STATUS,
    }
}

/// A search and what takes its place.
type Pass = (Regex, &'static str);

fn passes(pairs: &[(&str, &'static str)]) -> Vec<Pass> {
    let pass = |(search, replace): &(&str, &'static str)| {
        (
            Regex::new(search).expect("our own pattern is well-formed"),
            *replace,
        )
    };
    pairs.iter().map(pass).collect()
}

/// The platform's own, in its order (`CODEJAIL_DARKLAUNCH_EMSG_NORMALIZERS` at its default).
static DARKLAUNCH: LazyLock<Vec<Pass>> = LazyLock::new(|| {
    passes(&[
        (
            "/tmp/codejail-[0-9a-zA-Z_]+",
            "/tmp/codejail-<SANDBOX_DIR_NAME>",
        ),
        (
            "File \"/tmp/codejail-<SANDBOX_DIR_NAME>/jailed_code\"",
            "File \"jailed_code\"",
        ),
        (r"python3\.[0-9]+", "python3.XX"),
        (", line [0-9]+, in ", ", line XXX, in "),
        (r"\\n[ \t]*\^+[ \t]*\\n", r"\n"),
        (
            r#"\\n  File "[^"]+", line (?:[0-9]+|XXX), in <listcomp>\\n"#,
            r"\n",
        ),
    ])
});

/// Ours, for what differs on purpose (docs/from-codejail.md).
static OURS: LazyLock<Vec<Pass>> = LazyLock::new(|| {
    passes(&[
        // The wrapper's own frame, with the marks below it; our tracebacks begin in the code.
        (
            r#"  File "jailed_code", line XXX, in <module>\\n    exec\(code, g_dict\)\\n(?: *[~^]+\\n)?"#,
            "",
        ),
        // Without that frame a traceback of code that does not even compile has no frames left.
        (
            r#"Traceback \(most recent call last\):\\n(  File "<string>", line [0-9]+\\n)"#,
            "$1",
        ),
        // Entries of sys.path are relative there.
        (
            "File \"/tmp/codejail-<SANDBOX_DIR_NAME>/python_lib.zip",
            "File \"python_lib.zip",
        ),
        // The same bottom of the stack is one frame higher here.
        (
            r"\[Previous line repeated [0-9]+ more times\]",
            "[Previous line repeated XXX more times]",
        ),
    ])
});

/// A text without what differs between two runs of the same code.
pub(super) fn normalised(emsg: &str) -> String {
    let passes = DARKLAUNCH.iter().chain(OURS.iter());
    passes.fold(emsg.to_owned(), |text, (search, replace)| {
        // In a replacement a `$` names a group, and `\n` is two letters, as in the text.
        search.replace_all(&text, *replace).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_python_writes_them() {
        for (bytes, text) in [
            (&b""[..], "b''"),
            (b"it's", "b\"it's\""),
            (b"it's \"it\"", "b'it\\'s \"it\"'"),
            (
                b"a\\b\n\r\t\0\x7f\xc3\xa9",
                "b'a\\\\b\\n\\r\\t\\x00\\x7f\\xc3\\xa9'",
            ),
        ] {
            assert_eq!(repr::of_bytes(bytes), text);
        }
    }

    #[test]
    fn the_frame_of_the_wrapper_and_the_name_of_the_sandbox_make_no_difference() {
        let head = "Couldn't execute jailed code: stdout: b'', stderr: b'before\\nTraceback (most recent call last):\\n";
        let tail = "ValueError: no\\n' with status code: 1";
        let theirs = format!(
            "{head}  File \"/tmp/codejail-a1_b2c3d/jailed_code\", line 20, in <module>\\n    exec(code, g_dict)\\n  \
             File \"<string>\", line 3, in <module>\\n  File \"/edx/lib/python3.8/json/x.py\", line 9, in f\\n    g(x)\\n{tail}"
        );
        let marked = theirs
            .replace(
                "exec(code, g_dict)\\n",
                "exec(code, g_dict)\\n    ~~~~^^^^^^^^^^^^^^\\n",
            )
            .replace("g(x)\\n", "g(x)\\n    ^^^^\\n");
        let ours = format!(
            "{head}  File \"<string>\", line 3, in <module>\\n  File \"/edx/lib/python3.11/json/x.py\", line 12, in f\\n    \
             g(x)\\n{tail}"
        );
        assert_eq!(normalised(&theirs), normalised(&ours));
        assert_eq!(normalised(&marked), normalised(&ours));
        assert_ne!(
            normalised(&theirs.replace("no\\n", "yes\\n")),
            normalised(&ours)
        );
        assert_ne!(
            normalised(&theirs.replace("code: 1", "code: -9")),
            normalised(&ours)
        );
    }

    #[test]
    fn code_that_does_not_compile_and_code_without_end_make_no_difference_either() {
        let syntax =
            "  File \"<string>\", line 2\\n    x +\\n       ^\\nSyntaxError: invalid syntax\\n";
        let frame = "Traceback (most recent call last):\\n  File \"/tmp/codejail-x/jailed_code\", line 20, in <module>\\n    \
                     exec(code, g_dict)\\n";
        assert_eq!(normalised(&format!("{frame}{syntax}")), normalised(syntax));
        let deep = |times| format!("[Previous line repeated {times} more times]");
        assert_eq!(normalised(&deep(994)), normalised(&deep(995)));
    }
}
