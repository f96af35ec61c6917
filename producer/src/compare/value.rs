//! JSON as Python reads it, compared as Python compares: `1`, `1.0` and `True` are equal, a dict has no
//! order, and the last of two members with one name counts. Only `NaN` is different: it equals itself
//! here, or every one would be told as a difference.

use std::collections::BTreeMap;
use std::fmt;

use jailfleet::wire::{NotAnObject, python_object};

/// A string in the units that JSON escapes are of, so that halves of surrogate pairs have a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(Vec<u16>);

/// Members by name.
pub(super) type Object = BTreeMap<Text, Value>;

/// One value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Text),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Object),
}

/// A number by what it is worth. It takes no more room than its text did.
#[derive(Debug, Clone)]
pub(super) enum Number {
    /// A whole one in decimal digits.
    Whole(String),
    /// A float by its bits, or an infinity.
    Float(u64),
    /// Not a number.
    NaN,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::List(left), Self::List(right)) => left == right,
            (Self::Object(left), Self::Object(right)) => left == right,
            (left, right) => match (left.number(), right.number()) {
                (Some(left), Some(right)) => left == right,
                (None, _) | (_, None) => false,
            },
        }
    }
}

impl Value {
    fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(value) => Some(Number::Whole(u8::from(*value).to_string())),
            Self::Number(number) => Some(number.clone()),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NaN, Self::NaN) => true,
            (Self::Whole(left), Self::Whole(right)) => left == right,
            // By value: both zeros are equal.
            (Self::Float(left), Self::Float(right)) => {
                f64::from_bits(*left) == f64::from_bits(*right)
            }
            (Self::Whole(digits), Self::Float(bits)) | (Self::Float(bits), Self::Whole(digits)) => {
                is_whole(f64::from_bits(*bits), digits)
            }
            (Self::NaN, Self::Whole(_) | Self::Float(_))
            | (Self::Whole(_) | Self::Float(_), Self::NaN) => false,
        }
    }
}

/// The most letters of a finite float that is written out in full, its sign included.
const MOST_DIGITS: usize = 310;

/// Whether a float is that whole number. Written out in full it is exact, as Python's comparison of
/// both kinds is.
fn is_whole(float: f64, digits: &str) -> bool {
    if !float.is_finite() || float.fract() != 0.0 || digits.len() > MOST_DIGITS {
        return false;
    }
    // Adding makes one zero of both.
    format!("{:.0}", float + 0.0) == digits
}

impl Number {
    /// Reads what [`python_object`] has let pass.
    fn read(text: &str) -> Self {
        if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return Self::Whole(if text == "-0" {
                "0".to_owned()
            } else {
                text.to_owned()
            });
        }
        let value = match text {
            "NaN" => return Self::NaN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            // Digits of any number are a float; too large ones are an infinity, as in Python.
            digits => digits.parse().unwrap_or(f64::NAN),
        };
        Self::Float(value.to_bits())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf16_lossy(&self.0))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(Number::Whole(digits)) => f.write_str(digits),
            Self::Number(Number::Float(bits)) => write!(f, "{:?}", f64::from_bits(*bits)),
            Self::Number(Number::NaN) => f.write_str("NaN"),
            Self::Text(text) => write!(f, "{:?}", text.to_string()),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{:?}: {value}", name.to_string())?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Reads the text of one object.
///
/// # Errors
/// Where it is none by Python's rules.
pub(super) fn read(text: &str) -> Result<Object, NotAnObject> {
    python_object(text)?;
    let mut reader = Reader { rest: text };
    match reader.value() {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            Err(NotAnObject {
                at: 0,
                what: "not the beginning of an object",
            })
        }
    }
}

/// Reads on in a text that is known to be right: what is wrong in it ends it early. Its nesting is
/// bounded, so that each level may be a call.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Value {
        self.space();
        let first = self.rest.chars().next().unwrap_or_default();
        match first {
            '{' => Value::Object(self.object()),
            '[' => Value::List(self.list()),
            '"' => Value::Text(self.text()),
            _ => self.word(),
        }
    }

    fn object(&mut self) -> Object {
        let mut members = Object::new();
        self.take(1);
        while self.more('}') {
            let name = self.text();
            self.space();
            self.take(1);
            let value = self.value();
            members.insert(name, value);
        }
        members
    }

    fn list(&mut self) -> Vec<Value> {
        let mut items = Vec::new();
        self.take(1);
        while self.more(']') {
            items.push(self.value());
        }
        items
    }

    /// Passes over white space and a comma; whether something other than the end is next.
    fn more(&mut self, end: char) -> bool {
        self.space();
        if self.rest.starts_with(',') {
            self.take(1);
            self.space();
        }
        let over = self.rest.starts_with(end);
        if over {
            self.take(1);
        }
        !over && !self.rest.is_empty()
    }

    fn text(&mut self) -> Text {
        let mut units = Vec::new();
        let mut letters = self.rest.char_indices().skip(1);
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => {
                    let Some((at, escape)) = letters.next() else {
                        break;
                    };
                    let digits = self.rest.get(at + 1..at + 5).unwrap_or_default();
                    match escape {
                        'u' => {
                            units.extend(u16::from_str_radix(digits, 16));
                            letters.nth(3);
                        }
                        'b' => units.push(8),
                        'f' => units.push(12),
                        'n' => units.push(10),
                        'r' => units.push(13),
                        't' => units.push(9),
                        plain => units.extend(plain.encode_utf16(&mut [0; 2]).iter()),
                    }
                }
                plain => units.extend(plain.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        self.take(end);
        Text(units)
    }

    fn word(&mut self) -> Value {
        let ends = |letter: char| matches!(letter, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default();
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number => Value::Number(Number::read(number)),
        };
        // Never nothing, so that no text can hold this up.
        self.take(end.max(1));
        value
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Number, Value, read};
    use proptest::prelude::*;

    fn value(text: &str) -> Value {
        Value::Object(read(&format!("{{\"a\": {text}}}")).expect("an object"))
    }

    #[test]
    fn values_are_equal_as_python_has_them_equal() {
        let tower = "1".to_owned() + &"0".repeat(30);
        for (left, right) in [
            ("1", "1.0"),
            ("true", "1"),
            ("0", "false"),
            ("-0", "0.0"),
            ("-0.0", "0"),
            ("1e3", "1000"),
            ("NaN", "NaN"),
            ("Infinity", "1e999"),
            ("\"\\u00e9\"", "\"é\""),
            ("\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
            ("{\"x\": 1, \"x\": 2}", "{\"x\": 2}"),
            ("{\"x\": 1, \"y\": [ ]}", "{\"y\":[],\"x\":1}"),
            (
                "\"\\/\\b\\f\\n\\r\\t\\\"\\\\\"",
                "\"/\\u0008\\u000c\\u000a\\u000d\\u0009\\u0022\\u005c\"",
            ),
            (tower.as_str(), tower.as_str()),
            ("1e22", "10000000000000000000000"),
        ] {
            assert_eq!(value(left), value(right), "{left} {right}");
        }
        for (left, right) in [
            ("1", "2"),
            ("1", "\"1\""),
            ("null", "false"),
            ("0.1", "0.10000000000000002"),
            ("Infinity", "-Infinity"),
            ("[1]", "[1, 1]"),
            ("\"\\ud83d\"", "\"\\ude00\""),
            ("9007199254740993", "9007199254740992.0"),
            ("{}", "[]"),
            ("\"\"", "null"),
            ("1e23", "100000000000000000000000"),
            ("NaN", "null"),
        ] {
            assert_ne!(value(left), value(right), "{left} {right}");
        }
    }

    #[test]
    fn a_float_takes_no_more_room_than_it_has_bits_and_still_meets_a_whole_number() {
        assert_eq!(Number::read("1e308"), Number::Float(1e308_f64.to_bits()));
        let most = format!("{:.0}", f64::MAX);
        for (float, whole, equal) in [
            ("1.7976931348623157e308", most.clone(), true),
            ("-1.7976931348623157e308", format!("-{most}"), true),
            ("1.7976931348623157e308", format!("-{most}"), false),
            ("1.7976931348623157e308", format!("{most}0"), false),
            ("1e999", most, false),
            ("-0.0", "-0".to_owned(), true),
            ("0.5", "0".to_owned(), false),
        ] {
            assert_eq!(value(float) == value(&whole), equal, "{float} {whole}");
            assert_eq!(value(&whole) == value(float), equal, "{whole} {float}");
        }
        assert_eq!(value("-0.0"), value("0.0"));
    }

    #[test]
    fn what_is_no_object_is_refused_and_what_is_deep_is_read() {
        for text in ["", "[]", "{", "{\"a\": nan}", "{} x"] {
            read(text).expect_err(text);
        }
        let deep = format!("{}{}", "[".repeat(850), "]".repeat(850));
        assert_eq!(value(&deep), value(&deep));
    }

    proptest! {
        #[test]
        fn an_object_of_plain_json_is_equal_however_it_is_laid_out(
            members in proptest::collection::vec((".*", any::<i64>(), any::<f64>(), ".*"), 0..5)
        ) {
            let object: serde_json::Map<_, _> = members
                .into_iter()
                .map(|(name, whole, float, text)| {
                    (name, serde_json::json!([whole, float, {text: [null, true]}]))
                })
                .collect();
            let pretty = serde_json::to_string_pretty(&object).expect("plain values");
            let text = serde_json::Value::Object(object).to_string();
            let once = read(&text).expect("JSON");
            prop_assert_eq!(&once, &read(&pretty).expect("JSON"));
            prop_assert!(Value::Object(once) != Value::Null);
        }
    }
}
