//! Settings that are given on the command line.

/// Reads `SECTION.KEY=VALUE`, the value of a `--set`.
///
/// # Errors
/// What is expected instead.
pub fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected SECTION.KEY=VALUE, e.g. amqp.heartbeat_s=5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn a_setting_has_a_section_and_a_value() {
        let read = setting("amqp.uri=amqp://host/?a=b");
        let expected = ("amqp.uri".to_owned(), "amqp://host/?a=b".to_owned());
        assert_eq!(read, Ok(expected));
        for wrong in ["uri=amqp://host", "amqp.uri", ""] {
            setting(wrong).expect_err(wrong);
        }
    }
}
