//! JSON as Python's `json.loads` reads it, with its words for what is wrong.
//!
//! The callers' JSON is Python's: `NaN` and the infinities are numbers, halves of surrogate pairs are
//! text, whole numbers have any size. So nothing here is turned into a number; a value is a piece of
//! the text that was walked along once.
//!
//! # Source
//! `Modules/_json.c` of CPython 3.11, whose words the tests hold.

mod text;

pub(super) use text::{Unit, quoted, write};

/// How deep lists and objects may be nested: one level more than globals may, which lie in the payload.
const LEVELS: usize = 901;
/// CPython's bound on the digits of a whole number in text.
const DIGITS: usize = 4300;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int,
    Float,
    Text,
    List,
    Object,
}

/// A value that reads: a piece of the text without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) kind: Kind,
    pub(super) raw: &'a str,
}

/// Reads one value with nothing but white space around it.
///
/// # Errors
/// What Python says of the text.
pub(super) fn read(text: &str) -> Result<Value<'_>, String> {
    let mut reader = Reader::of(text);
    let whole = if text.starts_with('\u{feff}') {
        reader.wrong("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0)
    } else {
        reader.document()
    };
    whole.map_err(|wrong| wrong.in_words(text))
}

impl<'a> Value<'a> {
    /// The members of an object, in their order, each with its name as it stands there.
    pub(super) fn members(self) -> Vec<(&'a str, Value<'a>)> {
        let mut members = Vec::new();
        let mut note =
            |name: Option<&'a str>, value| members.extend(name.map(|name| (name, value)));
        let walked = Reader::of(self.raw).composite(1, &mut note);
        debug_assert!(walked.is_ok(), "it was read before");
        members
    }

    /// The elements of a list.
    pub(super) fn elements(self) -> Vec<Value<'a>> {
        let mut elements = Vec::new();
        let walked = Reader::of(self.raw).composite(1, &mut |_name, value| elements.push(value));
        debug_assert!(walked.is_ok(), "it was read before");
        elements
    }

    /// The characters of a string.
    pub(super) fn units(self) -> impl Iterator<Item = Unit> + 'a {
        text::units(self.raw)
    }

    /// The bytes of a string in UTF-8; halves of pairs in the same manner, which is no UTF-8 then.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.raw.len());
        for unit in self.units() {
            match unit {
                Unit::Char(char) => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
                Unit::Half(half) => {
                    let [high, low] = half.to_be_bytes();
                    let middle = ((high & 0x0f) << 2) | (low >> 6);
                    bytes.extend([0xe0 | (high >> 4), 0x80 | middle, 0x80 | (low & 0x3f)]);
                }
            }
        }
        bytes
    }

    /// The text of a string, where it is text.
    pub(super) fn text(self) -> Option<String> {
        String::from_utf8(self.bytes()).ok()
    }
}

/// What is wrong, and at which byte.
#[derive(Debug)]
enum Wrong {
    Here { what: &'static str, at: usize },
    Digits(usize),
    Deep,
}

impl Wrong {
    fn in_words(&self, text: &str) -> String {
        match self {
            Self::Here { what, at } => {
                let before = text.get(..*at).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                let last = before.rsplit('\n').next().unwrap_or_default();
                let (column, char) = (last.chars().count() + 1, before.chars().count());
                format!("{what}: line {line} column {column} (char {char})")
            }
            Self::Digits(digits) => format!(
                "Exceeds the limit ({DIGITS} digits) for integer string conversion: value has \
                 {digits} digits; use sys.set_int_max_str_digits() to increase the limit"
            ),
            Self::Deep => "Lists and objects are nested too deep".to_owned(),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

type Step<T = ()> = Result<T, Wrong>;
/// Told of each member or element: its name as it stands there, and what it is.
type Each<'e, 'a> = &'e mut dyn FnMut(Option<&'a str>, Value<'a>);

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        Self { text, bytes, at: 0 }
    }

    fn document(&mut self) -> Step<Value<'a>> {
        self.space();
        let value = self.value(1)?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(_) => self.wrong("Extra data", self.at),
        }
    }

    fn value(&mut self, level: usize) -> Step<Value<'a>> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => self.string().map(|_name| Kind::Text),
            Some(b'{') => self.composite(level, &mut |_, _| ()).map(|()| Kind::Object),
            Some(b'[') => self.composite(level, &mut |_, _| ()).map(|()| Kind::List),
            _ => self.plain(),
        }?;
        Ok(self.since(start, kind))
    }

    /// A list or an object.
    fn composite(&mut self, level: usize, each: Each<'_, 'a>) -> Step {
        if level > LEVELS {
            return Err(Wrong::Deep);
        }
        let is_object = self.eat(b"{");
        let end: &[u8] = if is_object { b"}" } else { b"]" };
        if !is_object {
            self.eat(b"[");
        }
        self.space();
        if self.eat(end) {
            return Ok(());
        }
        loop {
            let name = if is_object { Some(self.name()?) } else { None };
            let value = self.value(level + 1)?;
            each(name, value);
            self.space();
            if self.eat(end) {
                return Ok(());
            }
            if !self.eat(b",") {
                return self.wrong("Expecting ',' delimiter", self.at);
            }
            self.space();
        }
    }

    /// A member's name with its colon and the white space after it.
    fn name(&mut self) -> Step<&'a str> {
        if self.peek() != Some(b'"') {
            let what = "Expecting property name enclosed in double quotes";
            return self.wrong(what, self.at);
        }
        let name = self.string()?;
        self.space();
        if !self.eat(b":") {
            return self.wrong("Expecting ':' delimiter", self.at);
        }
        self.space();
        Ok(name)
    }

    fn string(&mut self) -> Step<&'a str> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape(start)?,
                Some(0..=0x1f) => return self.wrong("Invalid control character at", self.at),
                Some(_) => self.at += 1,
                None => return self.wrong("Unterminated string starting at", start),
            }
        }
        self.at += 1;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn escape(&mut self, string: usize) -> Step {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                let hex = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
                // Python wants to see one byte more before it looks at the digits.
                if !hex || self.at + 6 >= self.bytes.len() {
                    return self.wrong("Invalid \\uXXXX escape", self.at + 1);
                }
                self.at += 6;
            }
            Some(_) => return self.wrong("Invalid \\escape", self.at),
            None => return self.wrong("Unterminated string starting at", string),
        }
        Ok(())
    }

    /// A word or a number.
    fn plain(&mut self) -> Step<Kind> {
        for (word, kind) in WORDS {
            if self.eat(word) {
                return Ok(kind);
            }
        }
        let start = self.at;
        self.eat(b"-");
        let whole = if self.eat(b"0") { 1 } else { self.digits() };
        if whole == 0 {
            return self.wrong("Expecting value", start);
        }
        let fraction = self.after(|reader| reader.eat(b"."));
        let exponent = self.after(|reader| {
            let there = reader.eat(b"e") || reader.eat(b"E");
            if there && !reader.eat(b"+") {
                reader.eat(b"-");
            }
            there
        });
        match fraction || exponent {
            true => Ok(Kind::Float),
            false if whole > DIGITS => Err(Wrong::Digits(whole)),
            false => Ok(Kind::Int),
        }
    }

    /// Digits after what `begins` ate, or else nothing.
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

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, word: &[u8]) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let there = rest.starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn since(&self, start: usize, kind: Kind) -> Value<'a> {
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Value { kind, raw }
    }

    fn wrong<T>(&self, what: &'static str, at: usize) -> Step<T> {
        Err(Wrong::Here { what, at })
    }
}

const WORDS: [(&[u8], Kind); 6] = [
    (b"null", Kind::Null),
    (b"true", Kind::Bool(true)),
    (b"false", Kind::Bool(false)),
    (b"NaN", Kind::Float),
    (b"Infinity", Kind::Float),
    (b"-Infinity", Kind::Float),
];

#[cfg(test)]
mod tests;
