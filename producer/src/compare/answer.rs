//! What came of one job on either side, and where the two differ.

use jailfleet::job::Job;
use jailfleet::result::JobResult;

use super::emsg;
use super::value::{Object, Text, Value, read};
use crate::serve::verdict;

/// What one side says to a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Side {
    /// The code ran.
    Ran(Ran),
    /// The job was refused: why.
    Refused(String),
    /// Nothing that says anything about the code: what happened.
    Nothing(String),
}

/// What a caller of `safe_exec` has in hand after a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ran {
    pub(super) globals: Object,
    pub(super) emsg: Option<String>,
}

/// One thing in which the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// `globals.NAME`, `emsg`, or `answer`.
    pub(super) what: String,
    pub(super) codejail: String,
    pub(super) jailfleet: String,
}

/// What the comparison of one job came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Equal,
    Different(Vec<Difference>),
    /// One side has nothing to compare: which, and why.
    NotCompared(String),
}

impl Side {
    /// The service's answer with status 200.
    pub(super) fn of_service(body: &[u8]) -> Self {
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            Err(error) => return Self::Nothing(format!("the answer is no UTF-8: {error}")),
        };
        let mut answer = match read(text) {
            Ok(answer) => answer,
            Err(error) => return Self::Nothing(format!("the answer is no object: {error}")),
        };
        let Some(Value::Object(globals)) = answer.remove(&Text::from("globals_dict")) else {
            return Self::Nothing("the answer has no globals_dict".to_owned());
        };
        let emsg = match answer.remove(&Text::from("emsg")) {
            None | Some(Value::Null) => None,
            Some(Value::Text(text)) => Some(text.to_string()).filter(|text| !text.is_empty()),
            Some(other) => return Self::Nothing(format!("its emsg is no text: {other}")),
        };
        Self::Ran(Ran { globals, emsg })
    }

    /// The result of a worker, as a caller of `safe_exec` would have it: the globals that were left lie
    /// over those that were given, and failed code leaves none.
    pub(super) fn of_result(job: &Job, result: &JobResult) -> Self {
        let told = || match &result.error {
            Some(error) => format!(
                "{}: {}: {}",
                result.outcome,
                error.code.as_str(),
                error.message
            ),
            None => result.outcome.to_string(),
        };
        let (left, emsg) = match verdict::of(result) {
            verdict::Verdict::Left(left) => (Some(left), None),
            verdict::Verdict::Failed(words) => (None, Some(words)),
            verdict::Verdict::Rejected(_) => return Self::Refused(told()),
            verdict::Verdict::Late | verdict::Verdict::Fault => return Self::Nothing(told()),
        };
        let given = job.globals.as_deref().unwrap_or("{}");
        match (read(given), left.map(read)) {
            (Ok(globals), None) => Self::Ran(Ran { globals, emsg }),
            (Ok(mut globals), Some(Ok(left))) => {
                globals.extend(left);
                Self::Ran(Ran { globals, emsg })
            }
            (Err(error), _) | (_, Some(Err(error))) => {
                Self::Nothing(format!("the globals are no object: {error}"))
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Ran(Ran { emsg: None, .. }) => "ran".to_owned(),
            Self::Ran(Ran {
                emsg: Some(text), ..
            }) => format!("failed: {text}"),
            Self::Refused(why) => format!("refused: {why}"),
            Self::Nothing(why) => why.clone(),
        }
    }
}

/// Compares the two.
pub(super) fn compare(codejail: &Side, jailfleet: &Side) -> Verdict {
    match (codejail, jailfleet) {
        (Side::Nothing(why), _) => Verdict::NotCompared(format!("codejail: {why}")),
        (_, Side::Nothing(why)) => Verdict::NotCompared(format!("jailfleet: {why}")),
        (Side::Ran(left), Side::Ran(right)) => match differences(left, right) {
            none if none.is_empty() => Verdict::Equal,
            some => Verdict::Different(some),
        },
        // Each in words of its own.
        (Side::Refused(_), Side::Refused(_)) => Verdict::Equal,
        (left, right) => {
            Verdict::Different(vec![shortened("answer", &left.shown(), &right.shown())])
        }
    }
}

fn differences(left: &Ran, right: &Ran) -> Vec<Difference> {
    let mut found = Vec::new();
    let texts = [left, right].map(|side| side.emsg.as_deref().map(emsg::normalised));
    let [codejail, jailfleet] = &texts;
    if codejail != jailfleet {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        found.push(shortened("emsg", &or_none(codejail), &or_none(jailfleet)));
    }
    let mut names: Vec<&Text> = left.globals.keys().chain(right.globals.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let values = [left, right].map(|side| side.globals.get(name));
        let [codejail, jailfleet] = values;
        if codejail != jailfleet {
            let or_none = |value: Option<&Value>| {
                value.map_or_else(|| "not there".to_owned(), ToString::to_string)
            };
            let what = format!("globals.{name}");
            found.push(shortened(&what, &or_none(codejail), &or_none(jailfleet)));
        }
    }
    found
}

/// How much of a text is shown.
const SHOWN_CHARS: usize = 160;
/// How much of it is shown that is equal, before the first letter that is not.
const EQUAL_CHARS: usize = 40;

/// The part of the two texts in which they begin to differ.
fn shortened(what: &str, codejail: &str, jailfleet: &str) -> Difference {
    let equal = codejail.chars().zip(jailfleet.chars());
    let equal = equal.take_while(|(left, right)| left == right).count();
    let longest = codejail.chars().count().max(jailfleet.chars().count());
    let from = if longest <= SHOWN_CHARS {
        0
    } else {
        equal.saturating_sub(EQUAL_CHARS)
    };
    let part = |text: &str| {
        let mut letters = text.chars().skip(from);
        let mut part: String = letters.by_ref().take(SHOWN_CHARS).collect();
        if from > 0 {
            part.insert(0, '…');
        }
        if letters.next().is_some() {
            part.push('…');
        }
        part
    };
    Difference {
        what: jailfleet::units::clipped(what),
        codejail: part(codejail),
        jailfleet: part(jailfleet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::outcome::Outcome;
    use jailfleet::result::WorkerStamp;
    use jailfleet::wire::{DecodeHint, WireCaps, decode_job};

    fn service(body: &str) -> Side {
        Side::of_service(body.as_bytes())
    }

    #[test]
    fn an_answer_is_equal_whatever_its_order_and_its_way_to_write() {
        let left = service(r#"{"globals_dict": {"a": 1, "b": [NaN]}, "emsg": null}"#);
        let right = service(r#"{"globals_dict":{"b":[NaN],"a":1.0}}"#);
        assert_eq!(compare(&left, &right), Verdict::Equal);
    }

    #[test]
    fn a_result_is_what_a_caller_of_safe_exec_has_in_hand() {
        let body =
            r#"{"v":1,"id":"a","runtime":"python","code":"","globals":"{\"x\": 1, \"y\": 2}"}"#;
        let (hint, caps) = (DecodeHint::default(), WireCaps::default());
        let job = decode_job(body.as_bytes(), &hint, &caps).expect("a job");
        let result = |outcome, code, signal, globals: Option<&str>| {
            let worker = WorkerStamp {
                host: "h".to_owned(),
                version: "0".to_owned(),
                slot: None,
                attempt: 1,
                last_canary: None,
            };
            let mut result = JobResult::without_run(None, outcome, None, worker);
            (result.exit_code, result.signal) = (code, signal);
            result.globals = globals.map(str::to_owned);
            Side::of_result(&job, &result)
        };
        // What was deleted keeps its value, since a dict is updated with what is left.
        let left = result(Outcome::Exited, Some(0), None, Some(r#"{"x": 5, "z": 3}"#));
        let updated = service(r#"{"globals_dict": {"x": 5, "y": 2, "z": 3}}"#);
        assert_eq!(left, updated);
        let failed = |status: &str| {
            let text = format!(
                "Couldn't execute jailed code: stdout: b'', stderr: b'' with status code: {status}"
            );
            service(&format!(
                r#"{{"globals_dict": {{"x": 1, "y": 2}}, "emsg": "{text}"}}"#
            ))
        };
        assert_eq!(result(Outcome::Exited, Some(3), None, None), failed("3"));
        assert_eq!(
            result(Outcome::Signaled, None, Some(11), None),
            failed("-11")
        );
        assert_eq!(
            result(Outcome::CpuLimit, None, Some(9), None),
            failed("-24")
        );
        assert_eq!(
            result(Outcome::WallLimit, None, Some(9), None),
            failed("-9")
        );
        // A child was killed there, and the program told so itself.
        assert_eq!(
            result(Outcome::MemoryLimit, Some(3), Some(9), None),
            failed("3")
        );
        let rejected = result(Outcome::Rejected, None, None, None);
        assert!(matches!(rejected, Side::Refused(_)), "{rejected:?}");
        for ours in [
            Outcome::EngineFault,
            Outcome::WorkerLost,
            Outcome::Expired,
            Outcome::Cancelled,
        ] {
            let nothing = result(ours, None, None, None);
            assert!(matches!(nothing, Side::Nothing(_)), "{nothing:?}");
        }
    }

    #[test]
    fn each_global_that_differs_is_named_and_a_long_one_shown_where_it_does() {
        let long = "x".repeat(500);
        let left = service(&format!(
            r#"{{"globals_dict": {{"a": 1, "c": "{long}y", "d": 0}}}}"#
        ));
        let right = service(&format!(
            r#"{{"globals_dict": {{"a": 2, "b": null, "c": "{long}z"}}}}"#
        ));
        let Verdict::Different(found) = compare(&left, &right) else {
            panic!("they differ")
        };
        let named: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(named, ["globals.a", "globals.b", "globals.c", "globals.d"]);
        assert_eq!(
            (found[0].codejail.as_str(), found[0].jailfleet.as_str()),
            ("1", "2")
        );
        assert_eq!(
            (found[1].codejail.as_str(), found[1].jailfleet.as_str()),
            ("not there", "null")
        );
        assert!(found[2].codejail.ends_with("xy\"") && found[2].codejail.chars().count() < 60);
    }

    #[test]
    fn an_answer_that_is_none_is_not_compared_and_a_refusal_differs_from_a_run() {
        let ran = service(r#"{"globals_dict": {}}"#);
        for odd in [
            "",
            "[]",
            "{}",
            r#"{"globals_dict": null}"#,
            r#"{"globals_dict": {}, "emsg": 1}"#,
        ] {
            let verdict = compare(&service(odd), &ran);
            assert!(
                matches!(verdict, Verdict::NotCompared(_)),
                "{odd}: {verdict:?}"
            );
        }
        let refused = Side::Refused("400".to_owned());
        assert!(matches!(compare(&refused, &ran), Verdict::Different(_)));
        assert_eq!(compare(&refused, &refused), Verdict::Equal);
    }
}
