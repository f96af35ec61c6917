//! The two encodings of a form: `application/x-www-form-urlencoded`, and `multipart/form-data` where
//! files come along.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use multer::{Constraints, Multipart, SizeLimit};

/// More fields than any caller has: Django takes as many.
const FIELDS: usize = 1000;
const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// How a body is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encoding {
    Urlencoded,
    Multipart { boundary: String },
}

/// Why a body is no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoForm {
    #[error("Unsupported media type \"{0}\" in request.")]
    MediaType(String),
    #[error("Multipart form parse error - Invalid boundary in multipart: None")]
    NoBoundary,
    #[error("Multipart form parse error - {0}")]
    Broken(String),
    #[error("The number of fields exceeded {FIELDS}.")]
    TooMany,
}

/// What a form holds that matters here. Of fields of one name the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) payload: Option<String>,
    /// Uploaded files by the names of their fields.
    pub(super) files: Vec<(String, Bytes)>,
}

impl Encoding {
    /// The encoding that a content type names.
    ///
    /// # Errors
    /// When it names another, or no boundary.
    pub(super) fn of(content_type: &str) -> Result<Self, NoForm> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(URLENCODED) {
            return Ok(Self::Urlencoded);
        }
        if essence.eq_ignore_ascii_case(MULTIPART) {
            let boundary = multer::parse_boundary(content_type);
            let boundary = boundary.map_err(|_no_boundary| NoForm::NoBoundary)?;
            return Ok(Self::Multipart { boundary });
        }
        Err(NoForm::MediaType(content_type.to_owned()))
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// When it is not encoded so.
    pub(super) async fn read(&self, body: Bytes) -> Result<Form, NoForm> {
        match self {
            Self::Urlencoded => urlencoded(&body),
            Self::Multipart { boundary } => multipart(body, boundary).await,
        }
    }
}

fn urlencoded(body: &[u8]) -> Result<Form, NoForm> {
    let mut form = Form::default();
    for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if count == FIELDS {
            return Err(NoForm::TooMany);
        }
        if name == "payload" {
            form.payload = Some(value.into_owned());
        }
    }
    Ok(form)
}

async fn multipart(body: Bytes, boundary: &str) -> Result<Form, NoForm> {
    let broken = |error: multer::Error| NoForm::Broken(error.to_string());
    // The whole body is here already: its own cap is the only one.
    let limit = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(limit));
    let pieces = stream::iter([Ok::<_, Infallible>(body)]);
    let mut parts = Multipart::with_constraints(pieces, boundary, constraints);
    let mut form = Form::default();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        count += 1;
        if count > FIELDS {
            return Err(NoForm::TooMany);
        }
        let name = part.name().map(str::to_owned);
        let file = part.file_name().map(str::to_owned);
        let content = part.bytes().await.map_err(broken)?;
        match (name, file.as_deref()) {
            (Some(name), None) if name == "payload" => {
                form.payload = Some(String::from_utf8_lossy(&content).into_owned());
            }
            // A part without a name, or a file of which nobody chose one, is passed over.
            (None, _) | (Some(_), None | Some("")) => {}
            (Some(name), Some(_)) => {
                form.files.retain(|(other, _)| *other != name);
                form.files.push((name, content));
            }
        }
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(content_type: &str, body: &str) -> Result<Form, NoForm> {
        let encoding = Encoding::of(content_type)?;
        encoding.read(Bytes::copy_from_slice(body.as_bytes())).await
    }

    fn part(head: &str, content: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    async fn parts(parts: &[String]) -> Result<Form, NoForm> {
        let body = format!("{}--B--\r\n", parts.concat());
        read("multipart/form-data; boundary=B", &body).await
    }

    #[tokio::test]
    async fn a_payload_is_read_out_of_both_encodings() {
        let form = read(
            "Application/X-WWW-Form-Urlencoded; charset=utf-8",
            "a=1&payload=%7B%22+%C3%A9%22%7D",
        )
        .await
        .expect("a form");
        assert_eq!(form.payload.as_deref(), Some("{\" é\"}"));
        let zip = part(
            "name=\"python_lib.zip\"; filename=\"python_lib.zip\"",
            "z\r\n--z",
        );
        let form = parts(&[part("name=\"payload\"", "{}"), zip])
            .await
            .expect("a form");
        assert_eq!(form.payload.as_deref(), Some("{}"));
        assert_eq!(
            form.files,
            [("python_lib.zip".to_owned(), Bytes::from("z\r\n--z"))]
        );
    }

    #[tokio::test]
    async fn the_last_of_one_name_counts_and_an_empty_payload_is_one() {
        let form = read(URLENCODED, "payload=1&payload=")
            .await
            .expect("a form");
        assert_eq!(form.payload.as_deref(), Some(""));
        assert_eq!(read(URLENCODED, "").await, Ok(Form::default()));
        let file = |content| part("name=\"f\"; filename=\"x\"", content);
        let form = parts(&[file("old"), file("new")]).await.expect("a form");
        assert_eq!(form.files, [("f".to_owned(), Bytes::from("new"))]);
    }

    #[tokio::test]
    async fn a_payload_that_is_a_file_and_parts_without_a_name_are_no_payload() {
        let form = parts(&[part("name=\"payload\"; filename=\"x\"", "{}")]).await;
        let form = form.expect("a form");
        assert_eq!((form.payload, form.files.len()), (None, 1));
        let form = parts(&[
            part("filename=\"\"", "{}"),
            part("name=\"z\"; filename=\"\"", ""),
        ])
        .await;
        assert_eq!(form, Ok(Form::default()));
    }

    #[tokio::test]
    async fn a_body_that_is_cut_or_no_form_at_all_is_told_and_not_guessed_at() {
        let whole = format!("{}--B--\r\n", part("name=\"payload\"", "{}"));
        let multipart = "multipart/form-data; boundary=B";
        for body in [
            "",
            "garbage",
            "--B\r\n\r\n",
            &whole[..whole.len() - 6],
            &whole[..30],
        ] {
            let told = read(multipart, body).await;
            assert!(matches!(told, Err(NoForm::Broken(_))), "{body:?}: {told:?}");
        }
        let other = read("multipart/form-data; boundary=X", &whole).await;
        assert!(matches!(other, Err(NoForm::Broken(_))), "{other:?}");
        assert_eq!(read(MULTIPART, &whole).await, Err(NoForm::NoBoundary));
        let json = read("application/json", "{}").await.expect_err("no form");
        assert_eq!(
            json.to_string(),
            "Unsupported media type \"application/json\" in request."
        );
        let many = "a=1&".repeat(FIELDS + 1);
        assert_eq!(read(URLENCODED, &many).await, Err(NoForm::TooMany));
    }
}
