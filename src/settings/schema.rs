//! What a value of the configuration may be, and what stands where in the tree of keys.

mod keys;

use super::key;
pub(super) use keys::{LIMIT_KEYS, PRODUCER, WORKER};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Whole(Range),
    /// A whole number, or this word.
    WholeOr(&'static str, Range),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A text.
    Text(Shape),
    /// A text that may be absent, which is written `""`.
    Optional(Shape),
    /// A list of texts.
    Texts,
    /// A table of variables.
    Variables,
    /// A list of tables `{ source, target, optional }`.
    Binds,
}

/// The numbers that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) unit: &'static str,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// What a text must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A path that starts with `/` and has no `..`.
    Path,
    /// Such a path, or `main_file`.
    Program,
    /// A relative path that cannot leave its folder.
    FileName,
    /// A name as jobs use it.
    Name,
    /// 1 to 64 of `[A-Za-z0-9._-]`.
    Label,
    /// An IP address and a port.
    Address,
    /// `amqp://` or `amqps://`.
    Uri,
    /// Something printable.
    Line,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// To anybody.
    Open,
    /// Redacted.
    Secret,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeySpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) secrecy: Secrecy,
    pub(super) meaning: &'static str,
}

/// A table of keys; `*` in the path stands for a name that the operator chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) path: &'static [&'static str],
    pub(super) keys: &'static [KeySpec],
}

/// All that one binary reads, and what it leaves to the other one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    pub(super) groups: &'static [Group],
    pub(super) foreign: &'static [&'static str],
}

/// What `worker.slots` may say instead of a number.
pub(super) const AUTO: &str = "auto";
/// What a runtime's `program` may say instead of a path.
pub(super) const MAIN_FILE: &str = "main_file";

impl Kind {
    /// What is right, for people: fits after "expected".
    pub(super) fn expected(self) -> String {
        match self {
            Self::Whole(range) => range.expected(),
            Self::WholeOr(word, range) => format!("\"{word}\" or {}", range.expected()),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".to_owned(),
            Self::Text(shape) => shape.expected().to_owned(),
            Self::Optional(shape) => format!("{}, or \"\"", shape.expected()),
            Self::Texts => "a list of texts without NUL".to_owned(),
            Self::Variables => "a table of texts, each named by A-Z a-z 0-9 _".to_owned(),
            Self::Binds => {
                "a list of { source = \"/path\", target = \"/path\", optional = false } with the \
                 last two optional"
                    .to_owned()
            }
        }
    }

    /// Whether one variable or flag can hold the value.
    pub(super) const fn is_scalar(self) -> bool {
        match self {
            Self::Whole(_)
            | Self::WholeOr(..)
            | Self::Word(_)
            | Self::Switch
            | Self::Text(_)
            | Self::Optional(_) => true,
            Self::Texts | Self::Variables | Self::Binds => false,
        }
    }
}

impl Range {
    /// Whether `number` lies within.
    pub(super) fn holds(self, number: u64) -> bool {
        (self.min..=self.max).contains(&number)
    }

    fn expected(self) -> String {
        format!(
            "a whole number of {} from {} to {}",
            self.unit, self.min, self.max
        )
    }
}

impl Shape {
    const fn expected(self) -> &'static str {
        match self {
            Self::Path => "an absolute path without ..",
            Self::Program => "an absolute path without .., or main_file",
            Self::FileName => "a relative path without ..",
            Self::Name => "1 to 64 characters of a-z 0-9 _ -, a letter first",
            Self::Label => "1 to 64 characters of A-Z a-z 0-9 . _ -",
            Self::Address => "an IP address and a port, such as 127.0.0.1:9464",
            Self::Uri => "amqp://user:password@host:port/vhost, or amqps://",
            Self::Line => "1 to 1000 printable characters",
        }
    }

    /// Whether `text` looks right.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Path => is_path(text),
            Self::Program => text == MAIN_FILE || is_path(text),
            Self::FileName => crate::job::RelativePath::parse(text).is_ok(),
            Self::Name => crate::job::Name::parse(text).is_ok(),
            Self::Label => is_label(text, 64),
            Self::Address => text.parse::<std::net::SocketAddr>().is_ok(),
            Self::Uri => is_uri(text),
            Self::Line => (1..=1000).contains(&text.len()) && !text.chars().any(char::is_control),
        }
    }
}

fn is_path(text: &str) -> bool {
    let without_dots = || text.split('/').all(|part| part != ".." && part != ".");
    text.len() <= 4000
        && text.starts_with('/')
        && !text.chars().any(char::is_control)
        && without_dots()
}

/// Whether `text` is 1 to `longest` characters of `[A-Za-z0-9._-]`, as the name of a logbook is (64).
#[must_use]
pub fn is_label(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_uri(text: &str) -> bool {
    let rest = text
        .strip_prefix("amqp://")
        .or_else(|| text.strip_prefix("amqps://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.len() <= 2000)
        && !text
            .chars()
            .any(|char| char.is_whitespace() || char.is_control())
}

/// What stands at a place of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot {
    /// A table.
    Section,
    /// A value.
    Key(&'static KeySpec),
    /// A section that the other binary reads.
    Foreign,
    /// A name of the operator's that cannot be one; what would be right.
    BadName(&'static str),
    /// Nothing.
    Unknown,
}

/// The names that an operator chooses in a section.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// Those of runtimes.
    Plain,
    /// Those of limit profiles: codejail's users name their limits by course runs.
    Wide,
}

impl Names {
    fn of(path: &[String]) -> Self {
        match path.first().map(String::as_str) {
            Some("profiles") => Self::Wide,
            Some(_) | None => Self::Plain,
        }
    }

    fn fit(self, name: &str) -> bool {
        match self {
            Self::Plain => Shape::Name.fits(name),
            Self::Wide => crate::job::ProfileName::parse(name).is_ok(),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Plain => "a name of 1 to 64 characters of a-z 0-9 _ -, a letter first",
            Self::Wide => "a name of 1 to 255 bytes without control characters",
        }
    }
}

impl Schema {
    /// What stands at `path`.
    pub(super) fn look(&self, path: &[String]) -> Spot {
        let Some((last, parent)) = path.split_last() else {
            return Spot::Section;
        };
        if path
            .first()
            .is_some_and(|section| self.foreign.contains(&section.as_str()))
        {
            return Spot::Foreign;
        }
        let of_parent = self.groups.iter().filter(|group| group.names(parent));
        if let Some(spec) = of_parent
            .flat_map(|group| group.keys)
            .find(|spec| spec.name == last.as_str())
        {
            return Spot::Key(spec);
        }
        let mut beneath = self
            .groups
            .iter()
            .filter_map(|group| group.path.get(..path.len()));
        match beneath.find(|start| matches_path(start, path)) {
            None => Spot::Unknown,
            Some(start) => {
                let chosen = start.iter().zip(path).filter(|(word, _)| **word == "*");
                let names = Names::of(path);
                let mut chosen = chosen.into_iter();
                if chosen.all(|(_, name)| names.fit(name)) {
                    Spot::Section
                } else {
                    Spot::BadName(names.expected())
                }
            }
        }
    }

    /// What is known at the dotted `key`.
    pub(super) fn spec(&self, key: &str) -> Option<&'static KeySpec> {
        match self.look(&key::split(key)) {
            Spot::Key(spec) => Some(spec),
            Spot::Section | Spot::Foreign | Spot::BadName(_) | Spot::Unknown => None,
        }
    }

    /// What to say of an unknown key: the nearest known one, if one is near.
    pub(super) fn unknown(&self, path: &[String]) -> String {
        let given = key::join(path);
        let nearest = self
            .known_like(path)
            .map(|known| (distance(&known, &given), known))
            .min_by(|left, right| left.cmp(right));
        match nearest {
            Some((far, known)) if far <= 3.max(given.len() / 4) => {
                format!("unknown key: did you mean {known}?")
            }
            _ => "unknown key: docs/configuration.md lists all".to_owned(),
        }
    }

    /// All keys and sections, with the operator's own names put in for `*`.
    fn known_like(&self, path: &[String]) -> impl Iterator<Item = String> {
        self.groups.iter().flat_map(move |group| {
            let words: Vec<&str> = group
                .path
                .iter()
                .enumerate()
                .map(|(at, word)| match path.get(at) {
                    Some(name) if *word == "*" => name.as_str(),
                    _ => word,
                })
                .collect();
            let section = key::join(&words);
            let keys = group
                .keys
                .iter()
                .map(|spec| format!("{section}.{}", spec.name));
            let keys: Vec<String> = keys.chain([section.clone()]).collect();
            keys
        })
    }
}

impl Group {
    fn names(&self, path: &[String]) -> bool {
        self.path.len() == path.len() && matches_path(self.path, path)
    }
}

fn matches_path(words: &[&str], path: &[String]) -> bool {
    words
        .iter()
        .zip(path)
        .all(|(word, name)| *word == "*" || *word == name.as_str())
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        let mut next = vec![before];
        for (cell, to) in row.iter().skip(1).zip(right.chars()) {
            let change = diagonal + usize::from(from != to);
            before = change.min(before + 1).min(*cell + 1);
            diagonal = *cell;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
