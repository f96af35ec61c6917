//! A job as a request to a codejail service, where it can be one.

use std::io::Write as _;

use jailfleet::job::{Job, JobFileKind};
use jailfleet::limits::LimitsRequest;
use serde_json::Value;

use crate::serve::LIBRARY;

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// The request for a job.
///
/// # Errors
/// What of the job a codejail service cannot do.
pub(super) fn of(job: &Job) -> Result<Request, String> {
    let (payload, library) = payload(job)?;
    Ok(match library {
        None => {
            let encoded: String = form_urlencoded::byte_serialize(payload.as_bytes()).collect();
            Request {
                content_type: "application/x-www-form-urlencoded".to_owned(),
                body: format!("payload={encoded}").into_bytes(),
            }
        }
        Some(zip) => multipart(&payload, zip),
    })
}

/// The JSON that the platform sends, and the library beside it.
fn payload(job: &Job) -> Result<(String, Option<&[u8]>), String> {
    for (there, field) in [
        (!job.argv.is_empty(), "argv"),
        (!job.env.is_empty(), "env"),
        (job.stdin.is_some(), "stdin"),
        (job.limits != LimitsRequest::default(), "limits"),
    ] {
        if there {
            return Err(format!(
                "{field}: a codejail service has nothing like it: leave it out"
            ));
        }
    }
    let code = job
        .code
        .as_ref()
        .ok_or("code: a codejail service runs nothing else")?;
    let code = std::str::from_utf8(code.as_bytes())
        .map_err(|error| format!("code: a codejail service takes text: {error}"))?;
    let globals = job.globals.as_deref().ok_or(
        "globals: a codejail service always runs code with globals: add them (\"{}\", say)",
    )?;
    let library = library(job)?;
    let paths: Vec<&str> = job.python_path.iter().map(|path| path.as_str()).collect();
    if paths.iter().any(|path| *path != LIBRARY) {
        return Err(format!(
            "python_path: a codejail service takes {LIBRARY} alone"
        ));
    }
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let context = job.limit_profile.as_ref().map(|name| name.as_str());
    // The globals go as they are: no library of ours would keep all that is in them.
    let payload = format!(
        "{{\"code\": {}, \"globals_dict\": {globals}, \"python_path\": {}, \"limit_overrides_context\": {}, \
         \"slug\": {}, \"unsafely\": false}}",
        Value::from(code),
        Value::from(paths),
        text(context),
        text(job.slug.as_deref()),
    );
    Ok((payload, library))
}

fn library(job: &Job) -> Result<Option<&[u8]>, String> {
    let mut library = None;
    for file in &job.files {
        match &file.kind {
            JobFileKind::File { content, .. } if file.path.as_str() == LIBRARY => {
                library = Some(content.as_bytes());
            }
            JobFileKind::File { .. } | JobFileKind::Directory => {
                return Err(format!("files: a codejail service takes {LIBRARY} alone"));
            }
        }
    }
    Ok(library)
}

/// The body that `requests` makes of a field and a file.
///
/// # Source
/// RFC 7578; the platform's client sends no type for either part.
fn multipart(payload: &str, zip: &[u8]) -> Request {
    let boundary = boundary(payload.as_bytes(), zip);
    let mut body = Vec::with_capacity(payload.len() + zip.len() + 512);
    let head =
        |name: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
    let parts = [
        format!("{}\r\n\r\n{payload}\r\n", head("payload")).into_bytes(),
        format!("{}; filename=\"{LIBRARY}\"\r\n\r\n", head(LIBRARY)).into_bytes(),
        zip.to_vec(),
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ];
    for part in parts {
        body.write_all(&part).expect("writing to a Vec cannot fail");
    }
    Request {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        body,
    }
}

/// A line that is in neither part. Nobody can have foreseen it, so that one look is enough.
fn boundary(payload: &[u8], zip: &[u8]) -> String {
    loop {
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let there = |text: &[u8]| {
            text.windows(boundary.len())
                .any(|part| part == boundary.as_bytes())
        };
        if !there(payload) && !there(zip) {
            return boundary;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, of};
    use jailfleet::job::Job;
    use jailfleet::wire::{DecodeHint, WireCaps, decode_job};
    use serde_json::{Value, json};

    fn job(more: &Value) -> Job {
        let mut job =
            json!({ "v": 1, "id": "a", "runtime": "python", "code": "x = 1", "globals": "{}" });
        for (name, value) in more.as_object().expect("members") {
            job[name.as_str()] = value.clone();
        }
        let body = job.to_string();
        decode_job(
            body.as_bytes(),
            &DecodeHint::default(),
            &WireCaps::default(),
        )
        .unwrap_or_else(|no| panic!("{no}: {body}"))
    }

    #[test]
    fn a_job_without_a_library_is_one_encoded_field_with_its_globals_untouched() {
        let globals = r#"{"a": NaN, "b": "\ud800", "c": 1e999}"#;
        let job = job(&json!({
            "code": "é = 'a&b=c'", "globals": globals, "limit_profile": "course-v1:X+Y", "slug": "p 1",
        }));
        let Request { content_type, body } = of(&job).expect("it can be one");
        assert_eq!(content_type, "application/x-www-form-urlencoded");
        let mut fields = form_urlencoded::parse(&body);
        let (name, payload) = fields.next().expect("a field");
        assert_eq!((name.as_ref(), fields.next()), ("payload", None));
        let expected = format!(
            "{{\"code\": \"é = 'a&b=c'\", \"globals_dict\": {globals}, \"python_path\": [], \
             \"limit_overrides_context\": \"course-v1:X+Y\", \"slug\": \"p 1\", \"unsafely\": false}}"
        );
        assert_eq!(payload, expected);
    }

    #[test]
    fn a_library_goes_as_a_file_beside_the_payload() {
        let job = job(&json!({
            "files": [{ "path": "python_lib.zip", "content": { "base64": "UEsAAQ0K" } }],
            "python_path": ["python_lib.zip"],
        }));
        let Request { content_type, body } = of(&job).expect("it can be one");
        let boundary = content_type
            .strip_prefix("multipart/form-data; boundary=")
            .expect("one");
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{{\"code\": \"x = 1\", \
             \"globals_dict\": {{}}, \"python_path\": [\"python_lib.zip\"], \"limit_overrides_context\": null, \
             \"slug\": null, \"unsafely\": false}}\r\n--{boundary}\r\nContent-Disposition: form-data; \
             name=\"python_lib.zip\"; filename=\"python_lib.zip\"\r\n\r\nPK\0\u{1}\r\n\r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(body).expect("this zip is text"), expected);
    }

    #[test]
    fn what_the_service_has_nothing_like_is_named() {
        for (more, field) in [
            (json!({ "globals": null }), "globals"),
            (json!({ "argv": ["x"] }), "argv"),
            (json!({ "env": { "A": "b" } }), "env"),
            (json!({ "stdin": "x" }), "stdin"),
            (json!({ "limits": { "cpu_ms": 5 } }), "limits"),
            (json!({ "code": { "base64": "/w==" } }), "code"),
            (
                json!({ "files": [{ "path": "a.txt", "content": "x" }] }),
                "files",
            ),
            (
                json!({ "files": [{ "path": "d", "directory": true }], "python_path": ["d"] }),
                "files",
            ),
        ] {
            let mut job = job(&json!({}));
            if more["globals"].is_null() && more.get("globals").is_some() {
                job.globals = None;
            } else {
                job = self::job(&more);
            }
            let refused = of(&job).expect_err(field);
            assert!(refused.starts_with(&format!("{field}: ")), "{refused}");
        }
    }
}
