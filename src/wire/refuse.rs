//! From the parser's complaints to rejections: a code, the field, and what to do.

use super::given::Object;
use super::message::JobMessage;
use super::scan;
use crate::rejection::{Rejection, RejectionCode};
use crate::units::clipped;
use serde::de::DeserializeOwned;

/// What a visitor of ours says where serde has no error of its own.
pub(super) const TWICE: &str = "the same name twice";

/// Why a body could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is no JSON.
    Syntax(String),
    /// It is JSON, and not what it should be.
    Data(Rejection),
}

/// Reads a body, which must be one JSON value and nothing after it.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unread> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(Unread::Syntax(error.to_string())),
        },
        Err(error) if error.inner().is_data() => {
            let path = error.path().to_string();
            Err(Unread::Data(data_mistake(
                &path,
                &error.inner().to_string(),
            )))
        }
        Err(error) => Err(Unread::Syntax(error.inner().to_string())),
    }
}

/// Reads a job. A number that JSON cannot say is refused by the field that it stands in.
pub(super) fn read_job(body: &[u8]) -> Result<JobMessage, Rejection> {
    match read::<Object<JobMessage>>(body) {
        Ok(Object(message)) => Ok(message),
        Err(Unread::Data(rejection)) => Err(rejection),
        Err(Unread::Syntax(complaint)) => Err(odd_number(body).unwrap_or_else(|| {
            let message = format!("the body is no JSON: {complaint}; send one object in UTF-8");
            Rejection::new(RejectionCode::NotJson, message)
        })),
    }
}

fn odd_number(body: &[u8]) -> Option<Rejection> {
    let fixed = scan::with_odd_numbers_as_strings(body)?;
    match read::<Object<JobMessage>>(&fixed) {
        Ok(Object(message)) => {
            let Object(limits) = message.limits.0?;
            limits.request().err().map(|mistake| bad_limit(&mistake))
        }
        Err(Unread::Data(rejection)) => Some(rejection),
        Err(Unread::Syntax(_)) => None,
    }
}

/// The refusal of something that is no whole number, or means nothing.
pub(super) fn bad_limit((field, value, least): &(&'static str, String, u64)) -> Rejection {
    let message = format!(
        "limits.{field}: {} is not allowed; give a whole number from {least} up to the runtime's \
         ceiling",
        clipped(value),
    );
    Rejection::new(RejectionCode::BadLimit, message)
}

/// Sorts serde's complaint about well-formed JSON. Its texts are fixed by serde's public error
/// constructors; the tests hold every one that is relied on here.
fn data_mistake(path: &str, complaint: &str) -> Rejection {
    // The position in the text follows last; a stranger's text may hold the same words before it.
    let complaint = complaint
        .rsplit_once(" at line ")
        .map_or(complaint, |(text, _)| text);
    let place = if path == "." {
        String::new()
    } else {
        format!("{}: ", clipped(path))
    };
    if let Some(rest) = complaint.strip_prefix("unknown field `") {
        // The known names come last; the unknown one may hold backticks of its own.
        let (name, known) = rest
            .rsplit_once("`, expected ")
            .unwrap_or((rest, "no field"));
        let message = format!("{place}unknown field `{}`; expected {known}", clipped(name));
        return Rejection::new(RejectionCode::UnknownField, message);
    }
    if let Some(rest) = complaint.strip_prefix("missing field `") {
        let message = format!("{place}the field `{rest} is missing: add it");
        return Rejection::new(RejectionCode::MissingField, message);
    }
    if let Some(rest) = complaint.strip_prefix("duplicate field `") {
        let message = format!("{place}the field `{rest} is there twice: leave one out");
        return Rejection::new(RejectionCode::DuplicateField, message);
    }
    if complaint == TWICE {
        let message = format!("{place}holds the same name twice: leave one out");
        return Rejection::new(RejectionCode::DuplicateField, message);
    }
    let (found, expected) = complaint
        .rsplit_once(", expected ")
        .unwrap_or((complaint, "else"));
    let message = format!("{place}{}; expected {}", clipped(found), clipped(expected));
    Rejection::new(RejectionCode::WrongType, message)
}
