//! The first frame of a traceback, which codejail's users know and our workers leave out.
//!
//! A worker's traceback begins in the code. codejail's begins in its wrapper, and whoever compares
//! texts of both looks for that frame: its folder by a pattern, its line by its words.

use std::borrow::Cow;

const HEADER: &[u8] = b"Traceback (most recent call last):\n";
const WRAPPER: &[u8] =
    b"  File \"/tmp/codejail-jailfleet/jailed_code\", line 19, in <module>\n    exec(code, g_dict)\n";
/// How the first frame of the code begins.
const CODE: &[u8] = b"  File \"<string>\", line ";

/// The same error output with the wrapper's frame before that of the code. Only the last traceback
/// went through the wrapper; those before it are causes that the code had caught.
pub(super) fn with_wrapper(stderr: &[u8]) -> Cow<'_, [u8]> {
    let mark = [HEADER, CODE].concat();
    if let Some(at) = line_starts(stderr)
        .filter(|at| begins(stderr, *at, &mark))
        .last()
    {
        return inserted(stderr, at + HEADER.len(), &[WRAPPER]);
    }
    // Code that does not compile: Python shows where, under no header, since no frame of it ran.
    match line_starts(stderr).find(|at| begins(stderr, *at, CODE)) {
        Some(at) => inserted(stderr, at, &[HEADER, WRAPPER]),
        None => Cow::Borrowed(stderr),
    }
}

fn line_starts(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1))
}

fn begins(text: &[u8], at: usize, with: &[u8]) -> bool {
    text.get(at..).is_some_and(|rest| rest.starts_with(with))
}

fn inserted<'a>(text: &'a [u8], at: usize, pieces: &[&[u8]]) -> Cow<'a, [u8]> {
    let (before, after) = text.split_at(at);
    Cow::Owned([before, &pieces.concat(), after].concat())
}

#[cfg(test)]
mod tests {
    use super::with_wrapper;

    fn shown(stderr: &str) -> String {
        String::from_utf8(with_wrapper(stderr.as_bytes()).into_owned()).expect("text")
    }

    const FRAME: &str = "  File \"/tmp/codejail-jailfleet/jailed_code\", line 19, in <module>\n    exec(code, g_dict)\n";

    #[test]
    fn the_wrappers_frame_stands_before_that_of_the_code_and_after_what_was_written_before() {
        let header = "Traceback (most recent call last):\n";
        let rest =
            "  File \"<string>\", line 2, in <module>\nZeroDivisionError: division by zero\n";
        let stderr = format!("said before\n{header}{rest}");
        assert_eq!(
            shown(&stderr),
            format!("said before\n{header}{FRAME}{rest}")
        );
    }

    #[test]
    fn of_several_tracebacks_only_the_last_went_through_the_wrapper() {
        let one =
            "Traceback (most recent call last):\n  File \"<string>\", line 2, in <module>\nE\n";
        let stderr = format!("{one}\nThe above exception was the direct cause of:\n\n{one}");
        let shown = shown(&stderr);
        assert_eq!(shown.matches(FRAME).count(), 1);
        assert!(shown.rfind(one).expect("the cause") < shown.find(FRAME).expect("a frame"));
    }

    #[test]
    fn code_that_does_not_compile_gets_a_header_too() {
        let stderr =
            "  File \"<string>\", line 2\n    x +\n       ^\nSyntaxError: invalid syntax\n";
        let expected = format!("Traceback (most recent call last):\n{FRAME}{stderr}");
        assert_eq!(shown(stderr), expected);
    }

    #[test]
    fn what_is_no_traceback_of_the_code_stays_as_it_is() {
        for stderr in [
            "",
            "words\n",
            "no start:   File \"<string>\", line 2\n",
            "Traceback (most recent call last):\n  File \"/x\", line 1, in f\nE\n",
        ] {
            assert_eq!(shown(stderr), stderr);
        }
    }
}
