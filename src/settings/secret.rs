//! Text that must not reach a log line.

/// A value such as an AMQP URI with its password. Its `Debug` never shows the secret part.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: only for whoever connects with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The same URI with another password; `None` where it names no user, or the password is empty.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Option<Self> {
        let (scheme, rest) = self.0.split_once("://")?;
        // Behind the authority an `@` is a letter like any other, in the name of a vhost for example.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end)?;
        let (user, host) = authority.rsplit_once('@')?;
        let name = user.split(':').next().unwrap_or_default();
        if name.is_empty() || password.is_empty() {
            return None;
        }
        Some(Self(format!(
            "{scheme}://{name}:{}@{host}{behind}",
            escaped(password)
        )))
    }

    /// Whether it holds anything that people must not see.
    pub(super) fn is_secret(&self) -> bool {
        self.redacted() != self.0
    }

    /// The text for people: a URI keeps all but its password, anything else vanishes.
    #[must_use]
    pub fn redacted(&self) -> String {
        redact_uri(&self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// A password as a URI spells it.
fn escaped(password: &str) -> String {
    let mut escaped = String::with_capacity(password.len());
    for byte in password.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

const HIDDEN: &str = "***";

/// Hides the password of a URI. A text that does not look like one is hidden whole: somebody may
/// have put a bare password there. The query goes too, since tokens travel in queries.
fn redact_uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return HIDDEN.to_owned();
    };
    // The last `@` ends the user part, so that an unescaped one in a password stays hidden.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = match user.map(|user| user.split_once([':', '/', '?'])) {
        Some(Some((name, _))) => format!("{name}:{HIDDEN}@"),
        Some(None) => format!("{}@", user.unwrap_or_default()),
        None => String::new(),
    };
    match rest.split_once('?') {
        Some((host, _)) => format!("{scheme}://{user}{host}?{HIDDEN}"),
        None => format!("{scheme}://{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_password_is_hidden_and_the_rest_of_the_uri_stays() {
        let secret = Secret::new("amqp://grader:s3cret@broker:5672/exams");
        assert_eq!(secret.redacted(), "amqp://grader:***@broker:5672/exams");
        assert_eq!(format!("{secret:?}"), "amqp://grader:***@broker:5672/exams");
    }

    #[test]
    fn a_password_with_an_at_sign_or_a_slash_or_a_question_mark_is_hidden_whole() {
        for password in ["p@ss", "p/ss", "a:b", "p?ss"] {
            let shown = Secret::new(format!("amqp://u:{password}@h/%2f")).redacted();
            assert_eq!(shown, "amqp://u:***@h/%2f");
        }
    }

    #[test]
    fn a_password_from_elsewhere_takes_the_place_of_the_one_in_the_uri() {
        for uri in ["amqps://grader@h:5671/v", "amqps://grader:old@h:5671/v"] {
            let secret = Secret::new(uri).with_password("p@ss/ü:");
            let secret = secret.expect("it names a user");
            assert_eq!(
                secret.expose(),
                "amqps://grader:p%40ss%2F%C3%BC%3A@h:5671/v"
            );
        }
        let elsewhere = Secret::new("amqp://grader:old@h/team@prod").with_password("new");
        let elsewhere = elsewhere.expect("it names a user");
        assert_eq!(elsewhere.expose(), "amqp://grader:new@h/team@prod");
        assert_eq!(Secret::new("amqp://h/a@b").with_password("x"), None);
        assert_eq!(Secret::new("amqp://h/v").with_password("x"), None);
        assert_eq!(Secret::new("amqp://grader@h/v").with_password(""), None);
    }

    #[test]
    fn a_text_that_is_no_uri_is_hidden_whole_and_a_query_with_it() {
        assert_eq!(Secret::new("hunter2").redacted(), "***");
        assert_eq!(
            Secret::new("amqps://h:5671/v?token=abc").redacted(),
            "amqps://h:5671/v?***"
        );
    }
}
