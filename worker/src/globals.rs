//! Code with globals: what its harness is given, and what its answer is worth.
//!
//! The harness is a small Python program of ours in the place of the job's main file. It runs in the
//! jail beside the code, so that whatever it answers is the program's word: an answer that is
//! missing, doubled, broken or too large is an outcome and no fault.

use std::io;
use std::os::fd::OwnedFd;

use jailfleet::blob::Blob;
use jailfleet::job::{Job, RelativePath};
use jailfleet::outcome::{ErrorCode, ErrorDetail};
use jailfleet::rejection::{Rejection, RejectionCode};
use jailfleet::runtime::Runtime;
use jailfleet::wire::python_object;
use jailfleet_sandbox::client::sealed_memfd;

use crate::programs::Offer;
use crate::readers::Captured;

/// The harness's text.
pub(crate) const HARNESS: &[u8] = include_bytes!("globals/harness.py");

/// What a run with globals needs beside the rest of its order.
#[derive(Debug)]
pub(crate) struct GlobalsOrder {
    /// Code, globals and `python_path`, sealed.
    pub(crate) given: OwnedFd,
    /// The most that the answer may be.
    pub(crate) answer_bytes: usize,
}

/// The order for a job with globals, `None` for any other.
pub(crate) fn order(job: &Job, answer_bytes: usize) -> io::Result<Option<GlobalsOrder>> {
    let (Some(globals), Some(code)) = (&job.globals, &job.code) else {
        return Ok(None);
    };
    let given = given(code.as_bytes(), globals, &job.python_path);
    Ok(Some(GlobalsOrder {
        given: sealed_memfd("jailfleet-globals", &given)?,
        answer_bytes,
    }))
}

/// What the jail's main file holds: the job's code, or the harness that will run it.
pub(crate) fn main_of(job: &Job) -> Option<&[u8]> {
    let code = job.code.as_ref().map(Blob::as_bytes);
    match job.globals {
        Some(_) => code.map(|_runs_in_the_harness| HARNESS),
        None => code,
    }
}

/// Refuses what the runtime cannot do.
pub(crate) fn check<'a>(
    job: &Job,
    runtime: &Runtime,
    runtimes: &'a [Runtime],
    offer: &'a Offer,
) -> Result<(), Rejection> {
    if job.globals.is_some() && !runtime.globals {
        let able = runtimes.iter().enumerate();
        let able = able.filter(|(index, runtime)| offer.has(*index) && runtime.globals);
        let able: Vec<_> = able.map(|(_, runtime)| runtime.name.as_str()).collect();
        let able = if able.is_empty() {
            "no runtime of this worker can".to_owned()
        } else {
            format!("this worker can with {}", able.join(", "))
        };
        let complaint = format!("cannot run code with globals; {able}");
        let code = RejectionCode::GlobalsUnsupported;
        return Err(Rejection::about(code, runtime.name.as_str(), &complaint).in_field("globals"));
    }
    if job.globals.is_none() && !job.python_path.is_empty() {
        let text = "python_path: it goes with globals; send globals (\"{}\", say), or append to \
                    sys.path in the code";
        return Err(Rejection::new(RejectionCode::BadPythonPath, text));
    }
    Ok(())
}

/// A line with two sizes, then the code, the globals and the entries of `python_path`, with a NUL
/// after each of these.
fn given(code: &[u8], globals: &str, python_path: &[RelativePath]) -> Vec<u8> {
    // The harness's reader begins with a value and not with white space.
    let globals = globals.trim_matches(WHITE);
    let mut given = format!("{} {}\n", code.len(), globals.len()).into_bytes();
    given.extend_from_slice(code);
    given.extend_from_slice(globals.as_bytes());
    for entry in python_path {
        given.extend_from_slice(entry.as_str().as_bytes());
        given.push(0);
    }
    given
}

/// What JSON calls white space.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The globals that an answer holds.
///
/// # Errors
/// [`ErrorCode::NoGlobals`], and why there are none.
pub(crate) fn left(answer: Captured, answer_bytes: usize) -> Result<String, ErrorDetail> {
    let none = |why: String| ErrorDetail::new(ErrorCode::NoGlobals, why);
    if answer.truncated {
        return Err(none(format!(
            "the code left more than {answer_bytes} bytes of globals: delete those that nobody needs"
        )));
    }
    if answer.bytes.is_empty() {
        let why = "no globals came: the code did not run to its end, or stopped their way out";
        return Err(none(why.to_owned()));
    }
    let text = String::from_utf8(answer.bytes)
        .map_err(|_bytes| none("what came in place of globals is not UTF-8".to_owned()))?;
    match python_object(&text) {
        Ok(()) => Ok(text.trim_matches(WHITE).to_owned()),
        Err(wrong) => Err(none(format!(
            "what came in place of globals is not one JSON object, see {wrong}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet_sandbox::protocol::SIDE_PLACES;

    fn came(bytes: impl Into<Vec<u8>>) -> Captured {
        Captured {
            bytes: bytes.into(),
            truncated: false,
        }
    }

    #[test]
    fn one_object_is_the_globals_as_they_came() {
        let text = "{\"x\": [NaN, \"\\ud800\"], \"a\": 1}";
        assert_eq!(left(came(text), 100).as_deref(), Ok(text));
    }

    #[test]
    fn a_missing_doubled_broken_or_oversized_answer_is_the_programs_own_outcome() {
        let cut = Captured {
            truncated: true,
            ..came("{}")
        };
        for (answer, why) in [
            (came(""), "did not run to its end"),
            (came("{}{}"), "byte 2"),
            (came("[1]"), "byte 0"),
            (came("{\"a\": "), "byte 6"),
            (came(b"{\"a\": \"\xff\"}"), "UTF-8"),
            (cut, "more than 7 bytes"),
        ] {
            let error = left(answer, 7).expect_err(why);
            assert_eq!(error.code, ErrorCode::NoGlobals);
            assert!(error.message.contains(why), "{error:?}");
        }
    }

    #[test]
    fn the_harness_looks_where_the_jail_puts_what_it_is_given() {
        let [given, answer] = SIDE_PLACES;
        let text = String::from_utf8_lossy(HARNESS);
        for line in [
            format!("\nGIVEN = {given}\n"),
            format!("\nANSWER = {answer}\n"),
        ] {
            assert!(text.contains(&line), "{line}");
        }
    }

    #[test]
    fn the_harness_can_tell_code_globals_and_path_apart() {
        let path = ["lib", "a b.zip"].map(|path| RelativePath::parse(path).expect("a path"));
        let given = given(b"x\n\0", " {\"a\": 1}\n", &path);
        assert_eq!(given, b"3 8\nx\n\0{\"a\": 1}lib\0a b.zip\0");
    }
}
