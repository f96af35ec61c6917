//! `emsg`, the one text in which codejail tells what went wrong: what of two such texts the platform's
//! dark launch passes over when it compares them.

use std::sync::LazyLock;

use regex::Regex;

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
        // The wrapper's own frame, with the marks below it, which ours never has.
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
