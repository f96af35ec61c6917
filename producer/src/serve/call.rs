//! What a request asks for, and the order in which it is found wrong: that of the service that is
//! replaced, whose words are repeated to the byte.

use bytes::Bytes;
use jailfleet::blob::Blob;
use jailfleet::job::{
    EpochMs, Job, JobFile, JobFileKind, Lane, ProfileName, RelativePath, is_label,
};
use jailfleet::limits::LimitsRequest;
use jailfleet::rejection::Rejection;
use jailfleet::settings::{ProducerSettings, ServeShape};
use jailfleet::wire::{self, DecodeHint, WireCaps};

use super::form::Form;
use super::json::{self, Kind, Value};
use super::repr;
use crate::bulk::fresh_id;

/// The only name that a library may have, and the only entry of `python_path`.
pub(crate) const LIBRARY: &str = "python_lib.zip";

/// Code to run, with all that a caller said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) code: Vec<u8>,
    /// A JSON object as Python reads it.
    pub(super) globals: String,
    pub(super) files: Vec<(RelativePath, Bytes)>,
    pub(super) python_path: Vec<RelativePath>,
    pub(super) context: Option<String>,
    pub(super) slug: Option<String>,
}

/// Why nothing is run, by the check that found it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("Missing 'payload' parameter in POST body")]
    Missing,
    #[error("Unable to parse payload JSON: {0}")]
    BadJson(String),
    #[error("Payload JSON did not match schema at path {path}: {what}")]
    Schema { path: String, what: String },
    #[error("Only allowed entry in 'python_path' is 'python_lib.zip'")]
    PythonPath,
    #[error("Only allowed name for uploaded file is 'python_lib.zip'")]
    Files,
    #[error("Refusing codejail execution with unsafely=true")]
    Unsafely,
}

impl Call {
    /// Reads a form, as the service of that shape does.
    ///
    /// # Errors
    /// The first check that fails, in the order of the service.
    pub(super) fn read(form: Form, shape: ServeShape) -> Result<Self, Refused> {
        let payload = form.payload.ok_or(Refused::Missing)?;
        let value = json::read(&payload).map_err(Refused::BadJson)?;
        let given = Given::read(value, shape)?;
        let python_path = match shape {
            ServeShape::Openedx => given.python_path,
            // The older one never looked further than the first.
            ServeShape::Edunext => given.python_path.into_iter().take(1).collect(),
        };
        let may_be = |name: &String| match shape {
            ServeShape::Openedx => name == LIBRARY,
            // It took any name; here one that stays in its folder.
            ServeShape::Edunext => !name.contains('/') && RelativePath::parse(name).is_ok(),
        };
        if !python_path.iter().all(may_be) {
            return Err(Refused::PythonPath);
        }
        if !form.files.iter().all(|(name, _)| may_be(name)) {
            return Err(Refused::Files);
        }
        match shape {
            ServeShape::Openedx if given.unsafely => return Err(Refused::Unsafely),
            // It says that it ignores the word, and runs the code as safely as all other.
            ServeShape::Openedx | ServeShape::Edunext => {}
        }
        let mut python_path = paths(python_path.iter()).map_err(|_name| Refused::PythonPath)?;
        python_path.dedup();
        let names = form.files.iter().map(|(name, _)| name);
        let names = paths(names).map_err(|_name| Refused::Files)?;
        let contents = form.files.iter().map(|(_, content)| content.clone());
        Ok(Self {
            code: given.code,
            globals: given.globals,
            files: names.into_iter().zip(contents).collect(),
            python_path,
            context: given.context,
            slug: given.slug,
        })
    }

    /// Whether everything on its path came along. codejail would look for the rest on its own disk.
    pub(super) fn is_complete(&self) -> bool {
        let came = |path| self.files.iter().any(|(name, _)| name == path);
        self.python_path.iter().all(came)
    }

    /// The job that runs it, not to be started after `deadline`.
    ///
    /// # Errors
    /// When no worker would take it: what is too large, above all.
    pub(super) fn job(
        &self,
        settings: &ProducerSettings,
        deadline: EpochMs,
    ) -> Result<Job, Rejection> {
        let serve = &settings.serve;
        // Whoever calls may name any context; only those of the list are a profile's name.
        let asked = serve
            .profiles
            .iter()
            .find(|profile| Some(profile.as_str()) == self.context.as_deref());
        let limit_profile: Option<ProfileName> = asked.or(serve.profile.as_ref()).cloned();
        let wall_ms = limit_profile.is_none().then_some(serve.wall_ms.get());
        let files = self.files.iter().map(|(path, content)| JobFile {
            path: path.clone(),
            kind: JobFileKind::File {
                content: Blob::new(content.to_vec()),
                executable: false,
            },
        });
        let job = Job {
            id: fresh_id(),
            runtime: serve.runtime.clone(),
            code: Some(Blob::new(self.code.clone())),
            files: files.collect(),
            argv: Vec::new(),
            env: Vec::new(),
            stdin: None,
            globals: Some(self.globals.clone()),
            python_path: self.python_path.clone(),
            artifacts: Vec::new(),
            limits: LimitsRequest {
                wall_ms,
                ..LimitsRequest::default()
            },
            limit_profile,
            slug: self.slug.clone().filter(|slug| is_label(slug)),
            pool: settings.producer.pool.clone(),
            lane: Lane::Interactive,
            batch: None,
            deadline: Some(deadline),
            grade: None,
        };
        let caps = WireCaps {
            body_bytes: settings.producer.message_bytes,
            // How many of these may be globals is the workers' to say.
            globals_bytes: settings.producer.message_bytes,
            ..WireCaps::default()
        };
        let body = wire::encode_job(&job);
        let refused = wire::decode_job(&body, &DecodeHint::default(), &caps);
        refused.map(|_same| job).map_err(|no| no.rejection)
    }
}

fn paths<'a>(names: impl Iterator<Item = &'a String>) -> Result<Vec<RelativePath>, Rejection> {
    names.map(|name| RelativePath::parse(name)).collect()
}

/// The members of a payload that are read; others are passed over.
#[derive(Debug, Default)]
struct Given {
    code: Vec<u8>,
    globals: String,
    python_path: Vec<String>,
    context: Option<String>,
    slug: Option<String>,
    unsafely: bool,
}

/// A mistake in a payload. Of several the one that stands highest is told; of these the last by name.
#[derive(Debug)]
struct Mismatch {
    path: Vec<&'static str>,
    element: Option<usize>,
    what: String,
}

impl Given {
    fn read(payload: Value<'_>, shape: ServeShape) -> Result<Self, Refused> {
        let at_top = |what| Refused::Schema {
            path: "$".to_owned(),
            what,
        };
        if payload.kind != Kind::Object {
            return Err(at_top(not_of(payload, "object")));
        }
        let members = payload.members();
        let find = |name: &str| {
            let named = |raw: &str| {
                let kind = Kind::Text;
                Value { kind, raw }.text().as_deref() == Some(name)
            };
            // Of two members with one name the last counts.
            let found = members.iter().rev().find(|(raw, _)| named(raw));
            found.map(|(_, value)| *value)
        };
        let required: &[&str] = match shape {
            ServeShape::Openedx => &["code", "globals_dict"],
            ServeShape::Edunext => &[
                "code",
                "globals_dict",
                "python_path",
                "limit_overrides_context",
                "slug",
                "unsafely",
            ],
        };
        if let Some(missing) = required.iter().find(|name| find(name).is_none()) {
            return Err(at_top(format!("'{missing}' is a required property")));
        }
        let mut given = Self::default();
        let mut mistakes = Vec::new();
        for (name, take) in MEMBERS {
            if let Some(value) = find(name)
                && let Err((element, what)) = take(&mut given, value)
            {
                let path = vec![name];
                mistakes.push(Mismatch {
                    path,
                    element,
                    what,
                });
            }
        }
        let highest = mistakes
            .into_iter()
            .max_by(|left, right| left.path.cmp(&right.path));
        match highest {
            None => Ok(given),
            Some(mistake) => Err(Refused::Schema {
                path: mistake.json_path(),
                what: mistake.what,
            }),
        }
    }
}

impl Mismatch {
    fn json_path(&self) -> String {
        let element = self.element.map(|at| format!("[{at}]"));
        format!("$.{}{}", self.path.join("."), element.unwrap_or_default())
    }
}

type Taken = Result<(), (Option<usize>, String)>;
type Take = fn(&mut Given, Value<'_>) -> Taken;

/// What each member must be. The words are those of the JSON Schema library that the service uses.
const MEMBERS: [(&str, Take); 6] = [
    ("code", |given, value| {
        of_kind(value, Kind::Text, "string")?;
        given.code = value.bytes();
        Ok(())
    }),
    ("globals_dict", |given, value| {
        of_kind(value, Kind::Object, "object")?;
        value.raw.clone_into(&mut given.globals);
        Ok(())
    }),
    ("python_path", |given, value| match value.kind {
        Kind::Null => Ok(()),
        Kind::List => {
            for (at, element) in value.elements().into_iter().enumerate() {
                if element.kind != Kind::Text {
                    return Err((Some(at), not_of(element, "string")));
                }
                // What is no text is no name that is allowed either.
                given.python_path.push(element.text().unwrap_or_default());
            }
            Ok(())
        }
        Kind::Bool(_) | Kind::Int | Kind::Float | Kind::Text | Kind::Object => none_of(value),
    }),
    ("limit_overrides_context", |given, value| {
        text_or_null(value).map(|text| given.context = text)
    }),
    ("slug", |given, value| {
        text_or_null(value).map(|text| given.slug = text)
    }),
    ("unsafely", |given, value| match value.kind {
        Kind::Bool(unsafely) => {
            given.unsafely = unsafely;
            Ok(())
        }
        Kind::Null | Kind::Int | Kind::Float | Kind::Text | Kind::List | Kind::Object => {
            Err((None, not_of(value, "boolean")))
        }
    }),
];

fn of_kind(value: Value<'_>, kind: Kind, name: &str) -> Taken {
    if value.kind == kind {
        return Ok(());
    }
    Err((None, not_of(value, name)))
}

fn text_or_null(value: Value<'_>) -> Result<Option<String>, (Option<usize>, String)> {
    match value.kind {
        Kind::Null => Ok(None),
        Kind::Text => Ok(value.text()),
        Kind::Bool(_) | Kind::Int | Kind::Float | Kind::List | Kind::Object => {
            none_of(value).map(|()| None)
        }
    }
}

fn not_of(value: Value<'_>, name: &str) -> String {
    format!("{} is not of type '{name}'", repr::of_value(value))
}

fn none_of(value: Value<'_>) -> Taken {
    let value = repr::of_value(value);
    Err((
        None,
        format!("{value} is not valid under any of the given schemas"),
    ))
}

#[cfg(test)]
mod tests;
