//! A look at a body before the parser sees it: how deep it is nested, how much it holds.

/// What a body looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// How deep arrays and objects are nested.
    pub(super) depth: usize,
    /// How many entries all its lists and objects have together, but for the first of each. Short
    /// entries cost much more memory than bytes: three bytes of JSON are a whole string.
    pub(super) entries: usize,
}

/// Looks at a body. It needs no valid JSON: on anything else the parser finds more to say.
pub(super) fn shape(body: &[u8]) -> Shape {
    let mut shape = Shape {
        depth: 0,
        entries: 0,
    };
    let mut depth = 0_usize;
    outside_strings(body, |_, byte| match byte {
        b'[' | b'{' => {
            depth += 1;
            shape.depth = shape.depth.max(depth);
        }
        b']' | b'}' => depth = depth.saturating_sub(1),
        b',' => shape.entries += 1,
        _ => {}
    });
    shape
}

/// Calls `seen` for every byte that is not in a string, with its position.
fn outside_strings(body: &[u8], mut seen: impl FnMut(usize, u8)) {
    let mut in_string = false;
    let mut escaped = false;
    for (position, byte) in body.iter().copied().enumerate() {
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_string = false,
            (true, false, _) => {}
            (false, _, b'"') => in_string = true,
            (false, _, _) => seen(position, byte),
        }
    }
}

/// The same body with every bare word or number that JSON cannot say (`NaN`, `-Infinity`, `1e999`)
/// written as a string; `None` where there is none. Many serializers write such numbers, and who
/// refuses them should be able to say in which field they stand.
pub(super) fn with_odd_numbers_as_strings(body: &[u8]) -> Option<Vec<u8>> {
    let mut bare = vec![false; body.len()];
    outside_strings(body, |position, byte| {
        let part = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if let Some(flag) = bare.get_mut(position) {
            *flag = part;
        }
    });
    let mut written = Vec::with_capacity(body.len() + 16);
    let mut found = false;
    // Runs of bare bytes are tokens; everything between them is copied as it is.
    let mut rest = body;
    let mut flags = bare.as_slice();
    while let Some(is_token) = flags.first().copied() {
        let length = flags.iter().take_while(|flag| **flag == is_token).count();
        let (token, after) = rest.split_at(length);
        if is_token && is_odd_number(token) {
            found = true;
            written.push(b'"');
            written.extend_from_slice(token);
            written.push(b'"');
        } else {
            written.extend_from_slice(token);
        }
        rest = after;
        flags = flags.get(length..).unwrap_or_default();
    }
    found.then_some(written)
}

fn is_odd_number(token: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(token) else {
        return false;
    };
    let number = text.strip_prefix('-').unwrap_or(text);
    match number {
        "NaN" | "nan" | "Infinity" | "infinity" | "Inf" | "inf" => true,
        // Rust reads a number that is too large as infinity, where JSON's parser gives up.
        _ => {
            number.starts_with(|first: char| first.is_ascii_digit())
                && text.parse::<f64>().is_ok_and(f64::is_infinite)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let body = br#"{"a": "[[[[\"[[[,,,", "b": [1, {"c": []}]}"#;
        assert_eq!(
            shape(body),
            Shape {
                depth: 4,
                entries: 2
            }
        );
        assert_eq!(
            shape(b""),
            Shape {
                depth: 0,
                entries: 0
            }
        );
        assert_eq!(shape(b"]]]]{").depth, 1);
    }

    #[test]
    fn a_bracket_after_an_escaped_backslash_counts() {
        assert_eq!(shape(br#"["\\",[["#).depth, 3);
    }

    #[test]
    fn odd_numbers_become_strings_where_they_stand() {
        let fixed =
            with_odd_numbers_as_strings(br#"{"a":NaN,"b":-Infinity,"NaN":"NaN","c":1e999}"#);
        let fixed = fixed.expect("three of them");
        assert_eq!(
            String::from_utf8(fixed).expect("ASCII"),
            r#"{"a":"NaN","b":"-Infinity","NaN":"NaN","c":"1e999"}"#,
        );
        assert_eq!(
            with_odd_numbers_as_strings(br#"{"a":1e30,"b":true,"c":[0.5]}"#),
            None
        );
    }
}
