//! What a caller is told, to the byte: a pure function of what became of its request.

use jailfleet::rejection::{Rejection, RejectionCode};
use jailfleet::result::JobResult;
use jailfleet::settings::ServeShape;

use super::call::Refused;
use super::form::NoForm;
use super::guard::Foreign;
use super::json::{self, Kind, Value};
use super::verdict::{self, Verdict};

/// How a request ended: the label of its metric, in the service's own words where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The service is switched off.
    Disabled,
    /// No round of safety checks has passed.
    Unsafe,
    /// No payload.
    Missing,
    /// A payload that is no JSON.
    BadJson,
    /// A payload with other members than it must have.
    Schema,
    /// An entry of `python_path` that is not allowed.
    PythonPath,
    /// A file that is not allowed.
    Files,
    /// `unsafely`.
    Unsafely,
    /// The code came to its end.
    Success,
    /// The code raised, or was ended.
    Error,
    /// `Host` is not ours.
    Host,
    /// A web page's request.
    Origin,
    /// Another method than POST.
    Method,
    /// A body that is no form.
    Form,
    /// A body or a job that is too large.
    TooLarge,
    /// A body that did not come in time, or broke off.
    Slow,
    /// A job that no worker takes, by its own size or shape.
    Job,
    /// No answer of a worker before the caller's time was up.
    Deadline,
    /// The broker took no job.
    Broker,
    /// Trouble of the fleet's.
    Fault,
    /// The caller went away first.
    Gone,
}

impl End {
    /// All of them.
    pub(super) const ALL: [Self; 21] = [
        Self::Disabled,
        Self::Unsafe,
        Self::Missing,
        Self::BadJson,
        Self::Schema,
        Self::PythonPath,
        Self::Files,
        Self::Unsafely,
        Self::Success,
        Self::Error,
        Self::Host,
        Self::Origin,
        Self::Method,
        Self::Form,
        Self::TooLarge,
        Self::Slow,
        Self::Job,
        Self::Deadline,
        Self::Broker,
        Self::Fault,
        Self::Gone,
    ];

    /// The word for it in metrics and logs.
    #[must_use]
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled.feature_switch",
            Self::Unsafe => "disabled.safety_checks_failed",
            Self::Missing => "invalid.payload.missing",
            Self::BadJson => "invalid.payload.bad_json",
            Self::Schema => "invalid.payload.schema_mismatch",
            Self::PythonPath => "invalid.python_path",
            Self::Files => "invalid.files",
            Self::Unsafely => "invalid.unsafely",
            Self::Success => "executed.success",
            Self::Error => "executed.error",
            Self::Host => "refused.host",
            Self::Origin => "refused.origin",
            Self::Method => "refused.method",
            Self::Form => "invalid.form",
            Self::TooLarge => "invalid.too_large",
            Self::Slow => "invalid.slow",
            Self::Job => "invalid.job",
            Self::Deadline => "failed.deadline",
            Self::Broker => "failed.broker",
            Self::Fault => "failed.fault",
            Self::Gone => "gone",
        }
    }
}

/// An answer in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) end: End,
}

impl Answer {
    /// `{"error": ...}`, as the service's own code says it.
    pub(super) fn error(status: u16, what: &str, end: End) -> Self {
        let body = format!("{{\"error\":{}}}", json::quoted(what));
        Self { status, body, end }
    }

    /// `{"detail": ...}`, as its framework says it.
    fn detail(status: u16, what: &str, end: End) -> Self {
        let body = format!("{{\"detail\":{}}}", json::quoted(what));
        Self { status, body, end }
    }

    pub(super) fn disabled() -> Self {
        Self::error(500, "Codejail service not enabled", End::Disabled)
    }

    pub(super) fn not_safe() -> Self {
        let what = "Codejail service is not correctly configured";
        Self::error(500, what, End::Unsafe)
    }

    pub(super) fn method(method: &str) -> Self {
        let what = format!("Method \"{method}\" not allowed.");
        Self::detail(405, &what, End::Method)
    }

    pub(super) fn foreign(foreign: Foreign) -> Self {
        let end = match foreign {
            Foreign::Host => End::Host,
            Foreign::Origin => End::Origin,
        };
        Self::error(403, &foreign.to_string(), end)
    }

    pub(super) fn no_form(no_form: &NoForm) -> Self {
        let status = match no_form {
            NoForm::MediaType(_) => 415,
            NoForm::NoBoundary | NoForm::Broken(_) | NoForm::TooMany => 400,
        };
        Self::detail(status, &no_form.to_string(), End::Form)
    }

    pub(super) fn refused(refused: &Refused) -> Self {
        let end = match refused {
            Refused::Missing => End::Missing,
            Refused::BadJson(_) => End::BadJson,
            Refused::Schema { .. } => End::Schema,
            Refused::PythonPath => End::PythonPath,
            Refused::Files => End::Files,
            Refused::Unsafely => End::Unsafely,
        };
        Self::error(400, &refused.to_string(), end)
    }

    /// A job that was refused, by us or by the worker.
    pub(super) fn rejected(code: RejectionCode, message: &str) -> Self {
        match code {
            RejectionCode::TooLarge | RejectionCode::FilesTooLarge => {
                Self::error(413, message, End::TooLarge)
            }
            RejectionCode::TooDeep
            | RejectionCode::BadGlobals
            | RejectionCode::BadPath
            | RejectionCode::DuplicatePath
            | RejectionCode::BadPythonPath
            | RejectionCode::NoCode => Self::error(400, message, End::Job),
            // What the caller sent has no part in it: the job is of our making, and our settings or
            // the workers' do not fit.
            RejectionCode::NotJson
            | RejectionCode::WrongVersion
            | RejectionCode::UnsupportedMinor
            | RejectionCode::WrongType
            | RejectionCode::UnknownField
            | RejectionCode::MissingField
            | RejectionCode::DuplicateField
            | RejectionCode::BadBase64
            | RejectionCode::BadId
            | RejectionCode::IdMismatch
            | RejectionCode::BadName
            | RejectionCode::BadLane
            | RejectionCode::BadLabel
            | RejectionCode::UnknownRuntime
            | RejectionCode::UnknownProfile
            | RejectionCode::BadLimit
            | RejectionCode::AboveCeiling
            | RejectionCode::LimitsTooSmall
            | RejectionCode::BadEnv
            | RejectionCode::BadArgv
            | RejectionCode::BadReplyTo
            | RejectionCode::WrongQueue
            | RejectionCode::BadDeadline
            | RejectionCode::BadProgram
            | RejectionCode::GradeUnsupported
            | RejectionCode::GlobalsUnsupported => Self {
                end: End::Fault,
                ..Self::not_safe()
            },
        }
    }

    pub(super) fn of_rejection(rejection: &Rejection) -> Self {
        Self::rejected(rejection.code, &rejection.message)
    }

    /// No word about the code: a caller must not take this for its failure.
    pub(super) fn unavailable(what: &str, end: End) -> Self {
        Self::error(503, what, end)
    }

    /// The code failed, in these words.
    pub(super) fn failed(words: &str, globals: &str, shape: ServeShape) -> Self {
        let emsg = format!("\"emsg\":{}", json::quoted(words));
        Self::executed(globals, Some(&emsg), shape, End::Error)
    }

    fn executed(globals: &str, emsg: Option<&str>, shape: ServeShape, end: End) -> Self {
        let mut written = String::with_capacity(globals.len());
        json::write(globals, &mut written);
        let body = match (shape, emsg) {
            (ServeShape::Openedx, None) => format!("{{\"globals_dict\":{written}}}"),
            (ServeShape::Openedx, Some(emsg)) => format!("{{\"globals_dict\":{written},{emsg}}}"),
            (ServeShape::Edunext, emsg) => {
                let emsg = emsg.unwrap_or("\"emsg\":null");
                format!("{{{emsg},\"globals_dict\":{written}}}\n")
            }
        };
        Self {
            status: 200,
            body,
            end,
        }
    }

    /// What a result means for a caller that sent `globals`.
    pub(super) fn of_result(result: &JobResult, globals: &str, shape: ServeShape) -> Self {
        match verdict::of(result) {
            Verdict::Left(left) => {
                Self::executed(&merged(globals, left), None, shape, End::Success)
            }
            Verdict::Failed(words) => Self::failed(&words, globals, shape),
            Verdict::Rejected(Some(code)) => {
                let message = result.error.as_ref().map(|error| error.message.as_str());
                Self::rejected(code, message.unwrap_or("The job was refused"))
            }
            Verdict::Late => Self::late(),
            Verdict::Rejected(None) | Verdict::Fault => Self::fault(),
        }
    }

    /// Trouble of the fleet's.
    pub(super) fn fault() -> Self {
        let what = "The workers could not run the code; try again";
        Self::unavailable(what, End::Fault)
    }

    /// The broker took no job before the caller's time was up.
    pub(super) fn no_broker() -> Self {
        let what = "The broker takes no job now; try again";
        Self::unavailable(what, End::Broker)
    }

    /// The broker took the job, and was away when the caller's time was up: workers may well have answered.
    pub(super) fn cut_off() -> Self {
        let what = "The broker went away with the answer; try again";
        Self::unavailable(what, End::Broker)
    }

    /// The caller's time is up.
    pub(super) fn late() -> Self {
        let what = "No worker answered in time; try again";
        Self::unavailable(what, End::Deadline)
    }
}

/// `{**given, **left}`: what the code deleted keeps its value, as after `dict.update`.
fn merged(given: &str, left: &str) -> String {
    let (Ok(given), Ok(left)) = (json::read(given), json::read(left)) else {
        return left.to_owned(); // Both were read before.
    };
    let mut merged: Vec<(String, Value<'_>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (raw, value) in given.members().into_iter().chain(left.members()) {
        let mut name = String::with_capacity(raw.len());
        json::write(raw, &mut name);
        let place = *places.entry(name.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            Some((_, old)) => *old = value,
            None => merged.push((name, value)),
        }
    }
    debug_assert!(given.kind == Kind::Object && left.kind == Kind::Object);
    let members: Vec<String> = merged
        .iter()
        .map(|(name, value)| format!("{name}:{}", value.raw))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests;
