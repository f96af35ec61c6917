//! Takes typed values out of the pile. A value that is not right is noted and `None` comes back,
//! so that a section can look at all its keys before it gives up.

use super::key;
use super::layers::{Origin, Pile, Spelling};
use super::mistake::{Mistake, Mistakes};
use super::schema::{KeySpec, Kind, Schema, Secrecy, Shape};
use super::secret::Secret;
use crate::job::Name;
use crate::runtime::Bind;
use crate::units::Millis;
use config::{Value, ValueKind};

/// The pile, and what was found wrong so far.
pub(super) struct Reader {
    schema: &'static Schema,
    pile: Pile,
}

/// A number or the word that stands for it.
pub(super) enum WholeOrWord {
    /// The number.
    Whole(u64),
    /// The word.
    Word,
}

impl Reader {
    pub(super) fn new(schema: &'static Schema, pile: Pile) -> Self {
        Self { schema, pile }
    }

    /// Ends the reading: the value, or everything that is wrong.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Mistakes> {
        let mistakes = &mut self.pile.mistakes;
        mistakes.sort_by(|left, right| (&left.key, &left.source).cmp(&(&right.key, &right.source)));
        mistakes.dedup();
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => Err(Mistakes(self.pile.mistakes)),
        }
    }

    /// The value at a dotted key.
    fn at(&self, key: &str) -> Option<&Value> {
        let path = key::split(key);
        path.iter().try_fold(&self.pile.root, |value, name| {
            let ValueKind::Table(table) = &value.kind else {
                return None;
            };
            table.get(name)
        })
    }

    /// Whether the key is set anywhere.
    pub(super) fn has(&self, key: &str) -> bool {
        self.at(key).is_some()
    }

    /// The names in a section, sorted.
    pub(super) fn names(&self, section: &str) -> Vec<String> {
        let mut names: Vec<String> = match self.at(section).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.keys().cloned().collect(),
            _ => Vec::new(),
        };
        names.sort();
        names
    }

    /// The value at `key` for people.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        self.at(key).map(|value| show(&value.kind))
    }

    /// Notes that the value at `key` is not what it should be.
    pub(super) fn complain(&mut self, key: &str, expected: impl Into<String>) {
        let shown = self.shown(key);
        let secret = self
            .schema
            .spec(key)
            .is_some_and(|spec| spec.secrecy == Secrecy::Secret);
        let value = match shown {
            Some(text) if secret => Some(Secret::new(text.trim_matches('"')).redacted()),
            shown => shown,
        };
        let source = match self.pile.origins.get(key) {
            Some(origin) => origin.name.clone(),
            None => "the configuration".to_owned(),
        };
        let mistake = Mistake {
            key: key.to_owned(),
            value,
            expected: expected.into(),
            source,
        };
        self.pile.mistakes.push(mistake);
    }

    /// The value at `key` as `read` understands it, or a mistake.
    fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&KeySpec, &ValueKind, Spelling) -> Option<T>,
    ) -> Option<T> {
        let spec = self.schema.spec(key);
        debug_assert!(spec.is_some(), "{key} is not in the schema");
        let spec = spec?;
        let Some(value) = self.at(key) else {
            self.complain(key, format!("missing: expected {}", spec.kind.expected()));
            return None;
        };
        let spelling = match self.pile.origins.get(key) {
            Some(Origin { spelling, .. }) => *spelling,
            None => Spelling::Typed,
        };
        let taken = read(spec, &value.kind, spelling);
        if taken.is_none() {
            self.complain(key, format!("expected {}", spec.kind.expected()));
        }
        taken
    }

    /// A whole number within its range.
    pub(super) fn whole(&mut self, key: &str) -> Option<u64> {
        self.take(key, |spec, value, spelling| {
            let Kind::Whole(range) = spec.kind else {
                return None;
            };
            number(value, spelling).filter(|number| range.holds(*number))
        })
    }

    /// A whole number within its range, where it is set.
    pub(super) fn whole_if_set(&mut self, key: &str) -> Option<Option<u64>> {
        if self.has(key) {
            self.whole(key).map(Some)
        } else {
            Some(None)
        }
    }

    /// A whole number that fits the type; the schema's range sees to that.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self, key: &str) -> Option<T> {
        let number = self.whole(key)?;
        let narrowed = T::try_from(number).ok();
        if narrowed.is_none() {
            self.complain(key, "too large for this machine");
        }
        narrowed
    }

    /// A span of time.
    pub(super) fn millis(&mut self, key: &str) -> Option<Millis> {
        let number = self.whole(key)?;
        let span = Millis::new(number);
        if span.is_none() {
            self.complain(key, "expected at least 1");
        }
        span
    }

    /// A whole number, or the word that may stand instead.
    pub(super) fn whole_or_word(&mut self, key: &str) -> Option<WholeOrWord> {
        self.take(key, |spec, value, spelling| match (spec.kind, value) {
            (Kind::WholeOr(word, _), ValueKind::String(text)) if text == word => {
                Some(WholeOrWord::Word)
            }
            (Kind::WholeOr(_, range), value) => number(value, spelling)
                .filter(|number| range.holds(*number))
                .map(WholeOrWord::Whole),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, key: &str) -> Option<bool> {
        self.take(key, |_, value, spelling| match (value, spelling) {
            (ValueKind::Boolean(value), _) => Some(*value),
            (ValueKind::String(text), Spelling::Text) => text.parse().ok(),
            _ => None,
        })
    }

    /// One of a closed list of words, turned into what it stands for.
    pub(super) fn word<T>(&mut self, key: &str, mean: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.take(key, |spec, value, _| match (spec.kind, value) {
            (Kind::Word(words), ValueKind::String(text)) if words.contains(&text.as_str()) => {
                mean(text)
            }
            _ => None,
        })
    }

    /// A text of its shape.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, |spec, value, _| match (spec.kind, value) {
            (Kind::Text(shape), ValueKind::String(text)) if shape.fits(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A text of its shape, or nothing where it is `""`.
    pub(super) fn optional(&mut self, key: &str) -> Option<Option<String>> {
        self.take(key, |spec, value, _| match (spec.kind, value) {
            (Kind::Optional(_), ValueKind::String(text)) if text.is_empty() => Some(None),
            (Kind::Optional(shape), ValueKind::String(text)) => {
                shape.fits(text).then(|| Some(text.clone()))
            }
            _ => None,
        })
    }

    /// A name as jobs use it.
    pub(super) fn name(&mut self, key: &str) -> Option<Name> {
        let text = self.text(key)?;
        let name = Name::parse(&text);
        if let Err(rejection) = &name {
            self.complain(key, rejection.message.clone());
        }
        name.ok()
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        self.take(key, |_, value, _| {
            let ValueKind::Array(items) = value else {
                return None;
            };
            items.iter().map(plain_text).collect()
        })
    }

    /// A table of variables, sorted by name.
    pub(super) fn variables(&mut self, key: &str) -> Option<Vec<(String, String)>> {
        self.take(key, |_, value, _| {
            let ValueKind::Table(table) = value else {
                return None;
            };
            let mut pairs = table
                .iter()
                .map(|(name, value)| Some((variable_name(name)?, plain_text(value)?)))
                .collect::<Option<Vec<_>>>()?;
            pairs.sort();
            Some(pairs)
        })
    }

    /// A list of read-only binds.
    pub(super) fn binds(&mut self, key: &str) -> Option<Vec<Bind>> {
        let binds = self.take(key, |_, value, _| {
            let ValueKind::Array(items) = value else {
                return None;
            };
            items.iter().map(bind).collect::<Option<Vec<Bind>>>()
        })?;
        let covers = |bind: &Bind| {
            KEPT.iter()
                .find(|kept| is_within(&bind.target, kept))
                .copied()
        };
        let mut right = true;
        for bind in &binds {
            if bind.source == "/" {
                self.complain(key, "source \"/\" would show the whole host");
                right = false;
            } else if let Some(kept) = covers(bind) {
                let expected = format!("target \"{}\" lies in the jail's own {kept}", bind.target);
                self.complain(key, expected);
                right = false;
            } else if bind.target == "/" {
                self.complain(key, "target \"/\" would hide the jail's own tree");
                right = false;
            }
        }
        right.then_some(binds)
    }
}

/// What the jail makes itself, for every run anew.
const KEPT: &[&str] = &["/tmp", "/proc", "/dev", "/sys"];

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn number(value: &ValueKind, spelling: Spelling) -> Option<u64> {
    match (value, spelling) {
        (ValueKind::I64(number), _) => u64::try_from(*number).ok(),
        (ValueKind::U64(number), _) => Some(*number),
        (ValueKind::String(text), Spelling::Text) => {
            // `parse` alone would take a plus sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().ok() } else { None }
        }
        _ => None,
    }
}

fn plain_text(value: &Value) -> Option<String> {
    let ValueKind::String(text) = &value.kind else {
        return None;
    };
    (!text.contains('\0')).then(|| text.clone())
}

fn variable_name(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    (starts_well && name.bytes().all(allowed)).then(|| name.to_owned())
}

fn bind(value: &Value) -> Option<Bind> {
    let ValueKind::Table(table) = &value.kind else {
        return None;
    };
    if table
        .keys()
        .any(|name| !["source", "target", "optional"].contains(&name.as_str()))
    {
        return None;
    }
    let path = |name: &str| match table.get(name).map(|value| &value.kind) {
        Some(ValueKind::String(text)) => Some(text.clone()).filter(|text| Shape::Path.fits(text)),
        _ => None,
    };
    let source = path("source")?;
    let target = if table.contains_key("target") {
        path("target")?
    } else {
        source.clone()
    };
    let optional = match table.get("optional").map(|value| &value.kind) {
        None => false,
        Some(ValueKind::Boolean(optional)) => *optional,
        Some(_) => return None,
    };
    Some(Bind {
        source,
        target,
        optional,
    })
}

/// A value in a line for people, cut where it is long.
fn show(value: &ValueKind) -> String {
    let text = match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "{ … }".to_owned(),
        ValueKind::Array(items) if items.is_empty() => "[]".to_owned(),
        ValueKind::Array(_) => "[ … ]".to_owned(),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_) => value.to_string(),
    };
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
