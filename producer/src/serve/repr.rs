//! What Python's `repr` writes of bytes and of values that came as JSON.

use super::json::{Kind, Unit, Value};

/// No caller needs more of a wrong value than this (characters).
const MOST: usize = 2000;

/// `repr(bytes)`.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    let quote = quote_for(bytes.contains(&b'\''), bytes.contains(&b'"'));
    let mut out = String::with_capacity(bytes.len() + 3);
    out.push('b');
    out.push(quote);
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte if char::from(*byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
    out
}

/// `repr` of what `json.loads` makes of a value; cut where it is long. One that is far too long is
/// shown as it came: each level of a value that is walked down costs its whole length anew.
pub(super) fn of_value(value: Value<'_>) -> String {
    let mut out = String::new();
    if value.raw.len() > 8 * MOST {
        // A character more than is shown, so that it is cut.
        out.extend(value.raw.chars().take(MOST + 1));
    } else {
        write_value(value, &mut out);
    }
    if let Some((end, _)) = out.char_indices().nth(MOST) {
        out.truncate(end);
        out.push_str("...");
    }
    out
}

fn write_value(value: Value<'_>, out: &mut String) {
    if out.len() > 4 * MOST {
        return; // It is cut anyway.
    }
    match value.kind {
        Kind::Null => out.push_str("None"),
        Kind::Bool(true) => out.push_str("True"),
        Kind::Bool(false) => out.push_str("False"),
        Kind::Int => out.push_str(if value.raw == "-0" { "0" } else { value.raw }),
        Kind::Float => out.push_str(&of_float(value.raw)),
        Kind::Text => write_text(value, out),
        Kind::List => {
            out.push('[');
            for (at, element) in value.elements().into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_value(element, out);
            }
            out.push(']');
        }
        Kind::Object => {
            out.push('{');
            for (at, (name, member)) in value.members().into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                let kind = Kind::Text;
                write_text(Value { kind, raw: name }, out);
                out.push_str(": ");
                write_value(member, out);
            }
            out.push('}');
        }
    }
}

fn write_text(value: Value<'_>, out: &mut String) {
    let has = |wanted| value.units().any(|unit| unit == Unit::Char(wanted));
    let quote = quote_for(has('\''), has('"'));
    out.push(quote);
    for unit in value.units() {
        match unit {
            Unit::Char('\\') => out.push_str("\\\\"),
            Unit::Char('\n') => out.push_str("\\n"),
            Unit::Char('\r') => out.push_str("\\r"),
            Unit::Char('\t') => out.push_str("\\t"),
            Unit::Char(char) if char == quote => {
                out.push('\\');
                out.push(quote);
            }
            Unit::Char(char) if is_printable(char) => out.push(char),
            Unit::Char(char) => out.push_str(&escaped(u32::from(char))),
            Unit::Half(half) => out.push_str(&escaped(u32::from(half))),
        }
    }
    out.push(quote);
}

/// Rust's debug print escapes what cannot be printed; after a letter, marks that join it can.
fn is_printable(char: char) -> bool {
    let shown = || !format!("{:?}", format!("a{char}")).contains("\\u{");
    char.is_ascii_graphic() || char == ' ' || (!char.is_control() && shown())
}

fn escaped(code: u32) -> String {
    match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

const fn quote_for(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

/// `repr(float)`: the shortest digits that read back, with an exponent where that is far from 1.
fn of_float(raw: &str) -> String {
    let number: f64 = match raw {
        "NaN" => return "nan".to_owned(),
        "Infinity" => return "inf".to_owned(),
        "-Infinity" => return "-inf".to_owned(),
        raw => raw.parse().unwrap_or(f64::NAN),
    };
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::json;

    #[test]
    fn bytes_are_quoted_and_escaped_as_python_does() {
        for (bytes, repr) in [
            (&b""[..], "b''"),
            (b"plain", "b'plain'"),
            (b"it's", "b\"it's\""),
            (b"say \"hi\"", "b'say \"hi\"'"),
            (b"'a' \"b\"", "b'\\'a\\' \"b\"'"),
            (b"\\ \n\r\t\0\x7f\x1b", "b'\\\\ \\n\\r\\t\\x00\\x7f\\x1b'"),
            ("é😀".as_bytes(), "b'\\xc3\\xa9\\xf0\\x9f\\x98\\x80'"),
            (b"\xff ~", "b'\\xff ~'"),
            (b"it's \"it\"", "b'it\\'s \"it\"'"),
        ] {
            assert_eq!(of_bytes(bytes), repr);
        }
    }

    #[test]
    fn values_are_written_as_python_shows_them() {
        // Each seen in CPython 3.11.
        for (text, repr) in [
            ("[]", "[]"),
            ("null", "None"),
            ("true", "True"),
            ("NaN", "nan"),
            ("-Infinity", "-inf"),
            ("1E400", "inf"),
            ("1.5e30", "1.5e+30"),
            ("1e16", "1e+16"),
            ("123456789012345678.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("5e-324", "5e-324"),
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("-0", "0"),
            ("12345678901234567890123", "12345678901234567890123"),
            (
                r#"["it's", "q\"", "\u00e9\n\u0000\ud83d\ude00\ud800\u200b\u00ad"]"#,
                r#"["it's", 'q"', 'é\n\x00😀\ud800\u200b\xad']"#,
            ),
            (
                r#"{"b": [true, null], "a": {}}"#,
                "{'b': [True, None], 'a': {}}",
            ),
        ] {
            assert_eq!(of_value(json::read(text).expect(text)), repr);
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = format!("[{}1]", "1, ".repeat(100_000));
        let repr = of_value(json::read(&long).expect("a list"));
        assert!(repr.len() < 2100 && repr.ends_with("..."), "{}", repr.len());
    }

    #[test]
    fn what_is_far_too_long_is_shown_as_it_came_and_not_walked_down() {
        // Each level would walk along the whole text anew.
        let deep = format!(
            "{}\"{}\"{}",
            "[".repeat(900),
            "é".repeat(10_000),
            "]".repeat(900)
        );
        let repr = of_value(json::read(&deep).expect("a list"));
        let start: String = deep.chars().take(MOST).collect();
        assert_eq!(repr, format!("{start}..."));
    }
}
