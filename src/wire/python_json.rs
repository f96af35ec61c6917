//! Whether a text is a JSON object as Python reads it.
//!
//! Globals travel as text because Python's JSON knows more than JSON does: `NaN`, the infinities,
//! numbers of any size, halves of surrogate pairs. Nobody on the way needs their values, so that
//! this only walks along the text. Nothing is built, nothing recurses, and what passes here is what
//! `json.loads` of CPython takes in a process of its own.
//!
//! # Source
//! The `json` module of Python 3.9 to 3.13, which this is held against in
//! `worker/tests/real_globals/round_trip.rs`.

/// How deep lists and objects may be nested. CPython up to 3.11 gives up near a thousand levels, less
/// what its caller's own calls take of them.
const LEVELS: usize = 900;
/// CPython's bound on the digits of a whole number in text (`sys.set_int_max_str_digits`).
const DIGITS: usize = 4300;

/// Why a text is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct NotAnObject {
    /// Where.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Walks along `text`, which must be one object with nothing but white space around it.
///
/// # Errors
/// [`NotAnObject`] with the first place that Python would not have taken.
pub fn python_object(text: &str) -> Result<(), NotAnObject> {
    let mut walk = Walk {
        bytes: text.as_bytes(),
        at: 0,
    };
    walk.space();
    if walk.peek() != Some(b'{') {
        return walk.wrong("not the beginning of an object");
    }
    walk.values()?;
    walk.space();
    match walk.peek() {
        None => Ok(()),
        Some(_) => walk.wrong("something after the end of the object"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    List,
    Object,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Step = Result<(), NotAnObject>;

impl Walk<'_> {
    /// One value with all that is in it.
    fn values(&mut self) -> Step {
        let mut levels = Vec::new();
        loop {
            // A value is due.
            match self.peek() {
                Some(b'{') => {
                    self.enter(&mut levels, Level::Object)?;
                    if !self.eat(b'}') {
                        self.name()?;
                        continue;
                    }
                    levels.pop();
                }
                Some(b'[') => {
                    self.enter(&mut levels, Level::List)?;
                    if !self.eat(b']') {
                        continue;
                    }
                    levels.pop();
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => self.word(&["true", "false", "null", "NaN", "Infinity"])?,
            }
            // A value is over: on to the next one, or out of as many levels as end here.
            loop {
                let Some(level) = levels.last().copied() else {
                    return Ok(());
                };
                self.space();
                if self.eat(b',') {
                    self.space();
                    if level == Level::Object {
                        self.name()?;
                    }
                    break;
                }
                let end = match level {
                    Level::List => b']',
                    Level::Object => b'}',
                };
                if !self.eat(end) {
                    return self.wrong("neither a comma nor the end of a list or object");
                }
                levels.pop();
            }
        }
    }

    fn enter(&mut self, levels: &mut Vec<Level>, level: Level) -> Step {
        if levels.len() == LEVELS {
            return self.wrong("nested deeper than 900 levels");
        }
        levels.push(level);
        self.at += 1;
        self.space();
        Ok(())
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Step {
        if self.peek() != Some(b'"') {
            return self.wrong("not the name of a member");
        }
        self.string()?;
        self.space();
        if !self.eat(b':') {
            return self.wrong("no colon after a member's name");
        }
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Step {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return self.wrong("a bare control character in a string"),
                Some(_) => self.at += 1,
                None => return self.wrong("a string without an end"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Step {
        let digits = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            Some(b'u') => 4,
            Some(_) | None => return self.wrong("an escape that JSON does not have"),
        };
        let hex = self.bytes.get(self.at + 2..self.at + 2 + digits);
        if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return self.wrong("an escape without its four digits");
        }
        self.at += 2 + digits;
        Ok(())
    }

    fn number(&mut self) -> Step {
        let start = self.at;
        if self.eat(b'-') && self.peek() == Some(b'I') {
            return self.word(&["Infinity"]);
        }
        let whole = if self.eat(b'0') { 1 } else { self.digits() };
        if whole == 0 {
            self.at = start;
            return self.wrong("not a value");
        }
        let fraction = self.after(|walk| walk.eat(b'.'));
        let exponent = self.after(|walk| {
            let exponent = walk.eat(b'e') || walk.eat(b'E');
            if exponent && !walk.eat(b'+') {
                walk.eat(b'-');
            }
            exponent
        });
        if !fraction && !exponent && whole > DIGITS {
            self.at = start;
            return self.wrong("a whole number of more than 4300 digits");
        }
        Ok(())
    }

    /// Digits after what `begins` ate, or else nothing: then what follows is not of this number.
    fn after(&mut self, begins: impl FnOnce(&mut Self) -> bool) -> bool {
        let start = self.at;
        let there = begins(self) && self.digits() > 0;
        if !there {
            self.at = start;
        }
        there
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, words: &[&str]) -> Step {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = words.iter().find(|word| rest.starts_with(word.as_bytes()));
        match found {
            Some(word) => self.at += word.len(),
            None => return self.wrong("not a value"),
        }
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong(&self, what: &'static str) -> Step {
        Err(NotAnObject { at: self.at, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_python_writes_and_json_does_not_know_is_taken() {
        for text in [
            "{}",
            " \t\r\n{ } ",
            r#"{"a": NaN, "b": [Infinity, -Infinity, -0, 1e999, 1E+5, 0.25]}"#,
            r#"{"\ud800": "\udfff\ud83d", "": {"x": [[], {}, [{}]]}, "é": null}"#,
            r#"{"a": 1, "a": 2, "b": true, "c": false, "d": "\"\\\/\b\f\n\r\t"}"#,
        ] {
            assert_eq!(python_object(text), Ok(()), "{text}");
        }
        let digits = "9".repeat(DIGITS);
        assert_eq!(python_object(&format!("{{\"a\": {digits}}}")), Ok(()));
        assert_eq!(python_object(&format!("{{\"a\": {digits}9.0}}")), Ok(()));
    }

    #[test]
    fn anything_else_is_refused_where_it_stands() {
        for (text, at) in [
            ("", 0),
            ("[1]", 0),
            ("\"{}\"", 0),
            ("{} {}", 3),
            ("{", 1),
            ("{\"a\"}", 4),
            ("{\"a\": }", 6),
            ("{\"a\": 1,}", 8),
            ("{\"a\": [1,]}", 9),
            ("{\"a\": [1 2]}", 9),
            ("{\"a\": 01}", 7),
            ("{\"a\": 1.}", 7),
            ("{\"a\": 1e}", 7),
            ("{\"a\": -}", 6),
            ("{\"a\": +1}", 6),
            ("{\"a\": nan}", 6),
            ("{\"a\": -NaN}", 6),
            ("{\"a\": tru}", 6),
            ("{'a': 1}", 1),
            ("{1: 1}", 1),
            ("{\"a\": \"\n\"}", 7),
            ("{\"a\": \"\\x\"}", 7),
            ("{\"a\": \"\\u12g4\"}", 7),
            ("{\"a\": \"\\u12", 7),
            ("{\"a\": \"", 7),
            ("{\"a\": 1\u{a0}}", 7),
            ("{} \0", 3),
        ] {
            let refused = python_object(text).expect_err(text);
            assert_eq!(refused.at, at, "{text:?}: {refused}");
        }
        let digits = "9".repeat(DIGITS + 1);
        assert!(python_object(&format!("{{\"a\": -{digits}}}")).is_err());
    }

    #[test]
    fn no_depth_and_no_length_costs_more_than_a_look() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!("{{\"a\": {open}{close}}}")
        };
        assert_eq!(python_object(&nested(LEVELS - 1)), Ok(()));
        assert!(python_object(&nested(LEVELS)).is_err());
        assert!(python_object(&nested(4_000_000)).is_err());
        assert!(python_object(&"{\"a\":".repeat(1_000_000)).is_err());
    }

    proptest! {
        #[test]
        fn every_object_of_plain_json_is_taken(
            pairs in proptest::collection::vec((".*", any::<i64>(), any::<f64>(), ".*"), 0..5)
        ) {
            let object: serde_json::Map<_, _> = pairs
                .into_iter()
                .map(|(name, whole, float, text)| {
                    (name, serde_json::json!([whole, float, text, {"x": null}]))
                })
                .collect();
            let text = serde_json::Value::Object(object).to_string();
            prop_assert_eq!(python_object(&text), Ok(()));
        }
    }
}
