//! A `CODE_JAIL` dictionary as codejail understands it, or everything that is wrong with it.

use std::fmt;

use jailfleet::settings::{Mistake, Mistakes};
use jailfleet::units::quoted;
use serde_json::{Map, Value};

/// The settings of a codejail.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CodeJail {
    /// The sandbox's interpreter.
    pub python_bin: Option<String>,
    /// The user that runs it.
    pub user: Option<String>,
    /// `limits`.
    pub limits: LimitSet,
    /// `limit_overrides`, in the file's order.
    pub overrides: Vec<(String, LimitSet)>,
    /// What codejail passes over.
    pub strangers: Vec<Stranger>,
}

/// A setting that codejail does not know, and passes over without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its dotted key.
    pub key: String,
    /// What is known there.
    pub known: &'static [&'static str],
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.join(", ");
        write!(
            f,
            "{}: dropped: codejail does not know it either; it knows {known}",
            self.key
        )
    }
}

/// What codejail calls limits; what is not there comes from the layer below.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LimitSet {
    /// CPU time of each process, in milliseconds.
    pub cpu: Option<Amount>,
    /// Wall time, in milliseconds.
    pub realtime: Option<Amount>,
    /// Address space of each process, in bytes.
    pub vmem: Option<Amount>,
    /// The largest file, in bytes.
    pub fsize: Option<Amount>,
    /// Processes of the user.
    pub nproc: Option<Amount>,
    /// Whether a second process does the forking.
    pub proxy: Option<u64>,
}

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// As much as there is.
    Off,
    /// So much.
    Of(u64),
}

const SETTINGS: &[&str] = &["python_bin", "user", "limits", "limit_overrides"];
const LIMITS: &[&str] = &["CPU", "REALTIME", "VMEM", "FSIZE", "NPROC", "PROXY"];
const WRAPPER: &str = "CODE_JAIL";

/// How a number of a limit is to be read.
#[derive(Debug, Clone, Copy)]
struct Kind {
    expected: &'static str,
    /// What one of the number's units is in ours.
    scale: u64,
    /// Whether a fraction has a meaning.
    fractions: bool,
    /// What 0 means there.
    zero: Amount,
    /// Whether the kernel understands -1, as "off".
    minus_one: bool,
    /// The least that a worker can grant, where it is more than nothing.
    least: u64,
    /// More than this no worker grants: it is as good as off.
    most: u64,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A quarter of what the configuration takes, since memory is made of an address space and a scratch.
const MOST_BYTES: u64 = 256 << 30;

const fn kind(name: Named) -> Kind {
    let plain = Kind {
        expected: "",
        scale: 1,
        fractions: false,
        zero: Amount::Off,
        minus_one: true,
        least: 1,
        most: MOST_BYTES,
    };
    match name {
        Named::Cpu => Kind {
            expected: "a whole number of seconds, 0 for no limit",
            scale: 1000,
            minus_one: false,
            most: DAY_MS,
            ..plain
        },
        Named::Realtime => Kind {
            expected: "a number of seconds, 0 for no limit",
            scale: 1000,
            fractions: true,
            minus_one: false,
            most: DAY_MS,
            ..plain
        },
        Named::Vmem => Kind {
            expected: "0 for no limit, or a whole number of bytes, at least 1048576 (no Python starts with less)",
            least: 1 << 20,
            ..plain
        },
        Named::Fsize => Kind {
            expected: "a whole number of bytes; 0: nothing may be written",
            zero: Amount::Of(0),
            ..plain
        },
        Named::Nproc => Kind {
            expected: "a whole number of processes, 0 for no limit",
            most: 32_768,
            ..plain
        },
    }
}

#[derive(Debug, Clone, Copy)]
enum Named {
    Cpu,
    Realtime,
    Vmem,
    Fsize,
    Nproc,
}

/// Reads the dictionary, or the settings file that holds it.
pub(super) fn settings(name: &str, text: &str) -> Result<CodeJail, Mistakes> {
    let mut reader = Reader {
        source: name,
        mistakes: Vec::new(),
        strangers: Vec::new(),
    };
    let jail = reader.file(text);
    if reader.mistakes.is_empty() {
        Ok(CodeJail {
            strangers: reader.strangers,
            ..jail
        })
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

struct Reader<'a> {
    source: &'a str,
    mistakes: Vec<Mistake>,
    strangers: Vec<Stranger>,
}

impl Reader<'_> {
    fn file(&mut self, text: &str) -> CodeJail {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                self.wrong("", None, &format!("expected JSON: {error}"));
                return CodeJail::default();
            }
        };
        let expected = "expected an object: the dictionary CODE_JAIL, or a settings file with it";
        let Value::Object(object) = value else {
            self.wrong("", None, expected);
            return CodeJail::default();
        };
        let known = |name: &String| SETTINGS.contains(&name.as_str());
        match object.get(WRAPPER) {
            Some(Value::Object(inner)) => self.dictionary("CODE_JAIL.", inner),
            Some(other) => {
                self.wrong(WRAPPER, Some(other), "expected an object");
                CodeJail::default()
            }
            None if object.is_empty() || object.keys().any(known) => self.dictionary("", &object),
            None => {
                self.wrong(
                    "",
                    None,
                    &format!("{expected}; none of {} is there", SETTINGS.join(", ")),
                );
                CodeJail::default()
            }
        }
    }

    fn dictionary(&mut self, prefix: &str, object: &Map<String, Value>) -> CodeJail {
        self.strange(prefix, object, SETTINGS);
        let python_bin = self.text(prefix, object, "python_bin");
        if let Some(path) = &python_bin {
            self.interpreter(&format!("{prefix}python_bin"), path);
        }
        let user = self.text(prefix, object, "user");
        let limits = object.get("limits");
        let limits = self.limits(&format!("{prefix}limits"), limits);
        let overrides = object.get("limit_overrides");
        CodeJail {
            python_bin,
            user,
            limits,
            overrides: self.overrides(&format!("{prefix}limit_overrides"), overrides),
            strangers: Vec::new(),
        }
    }

    /// An empty text and `null` count as none: codejail asks whether it is truthy.
    fn text(&mut self, prefix: &str, object: &Map<String, Value>, name: &str) -> Option<String> {
        match object.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(other) => {
                self.wrong(&format!("{prefix}{name}"), Some(other), "expected a text");
                None
            }
        }
    }

    fn interpreter(&mut self, key: &str, path: &str) {
        let parts_are_plain = path.split('/').all(|part| part != ".." && part != ".");
        let value = Value::from(path);
        if !path.starts_with('/') || !parts_are_plain || path.chars().any(char::is_control) {
            self.wrong(key, Some(&value), "expected an absolute path without ..");
        }
        let of_the_jail = ["/tmp/", "/proc/", "/dev/", "/sys/"];
        if let Some(kept) = of_the_jail.iter().find(|kept| path.starts_with(*kept)) {
            let expected = format!(
                "lies in {kept}, which each jail makes itself: move the environment, to /opt say, and \
                 give its new place"
            );
            self.wrong(key, Some(&value), &expected);
        }
    }

    fn overrides(&mut self, key: &str, value: Option<&Value>) -> Vec<(String, LimitSet)> {
        match value {
            None => Vec::new(),
            Some(Value::Object(contexts)) => contexts
                .iter()
                .map(|(context, value)| {
                    let key = format!("{key}.{}", quoted(context));
                    (context.clone(), self.limits(&key, Some(value)))
                })
                .collect(),
            Some(other) => {
                self.wrong(
                    key,
                    Some(other),
                    "expected an object of objects, by context",
                );
                Vec::new()
            }
        }
    }

    fn limits(&mut self, key: &str, value: Option<&Value>) -> LimitSet {
        let object = match value {
            None => return LimitSet::default(),
            Some(Value::Object(object)) => object,
            Some(other) => {
                self.wrong(key, Some(other), "expected an object of limits");
                return LimitSet::default();
            }
        };
        let prefix = format!("{key}.");
        self.strange(&prefix, object, LIMITS);
        let mut amount = |name: &str, named| self.amount(&prefix, object, name, kind(named));
        LimitSet {
            cpu: amount("CPU", Named::Cpu),
            realtime: amount("REALTIME", Named::Realtime),
            vmem: amount("VMEM", Named::Vmem),
            fsize: amount("FSIZE", Named::Fsize),
            nproc: amount("NPROC", Named::Nproc),
            proxy: self.proxy(&prefix, object),
        }
    }

    fn amount(
        &mut self,
        prefix: &str,
        object: &Map<String, Value>,
        name: &str,
        kind: Kind,
    ) -> Option<Amount> {
        let value = object.get(name)?;
        let read = amount(value, kind);
        if read.is_none() {
            let expected = format!("expected {}", kind.expected);
            self.wrong(&format!("{prefix}{name}"), Some(value), &expected);
        }
        read
    }

    fn proxy(&mut self, prefix: &str, object: &Map<String, Value>) -> Option<u64> {
        match object.get("PROXY") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_u64().or_else(|| value.as_bool().map(u64::from));
                if number.is_none() {
                    self.wrong(
                        &format!("{prefix}PROXY"),
                        Some(value),
                        "expected 0, 1 or null",
                    );
                }
                number
            }
        }
    }

    fn strange(
        &mut self,
        prefix: &str,
        object: &Map<String, Value>,
        known: &'static [&'static str],
    ) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let name = jailfleet::units::clipped(name);
            self.strangers.push(Stranger {
                key: format!("{prefix}{name}"),
                known,
            });
        }
    }

    fn wrong(&mut self, key: &str, value: Option<&Value>, expected: &str) {
        let shown = |value: &Value| match value {
            Value::Object(_) => "{ … }".to_owned(),
            Value::Array(_) => "[ … ]".to_owned(),
            Value::String(text) => quoted(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        self.mistakes.push(Mistake {
            key: key.to_owned(),
            value: value.map(shown),
            expected: expected.to_owned(),
            source: self.source.to_owned(),
        });
    }
}

/// The number in our units.
fn amount(value: &Value, kind: Kind) -> Option<Amount> {
    let number = value.as_number()?;
    if kind.minus_one && number.as_i64() == Some(-1) {
        return Some(Amount::Off);
    }
    let scaled = match (number.as_u64(), number.as_f64()) {
        (Some(0), _) => return Some(kind.zero),
        (Some(whole), _) => whole.saturating_mul(kind.scale),
        (None, Some(real)) if kind.fractions && real >= 0.0 => {
            if real == 0.0 {
                return Some(kind.zero);
            }
            thousandths(real)
        }
        (None, _) => return None,
    };
    match scaled {
        too_much if too_much > kind.most => Some(Amount::Off),
        too_little if too_little < kind.least => None,
        amount => Some(Amount::Of(amount)),
    }
}

/// Seconds as milliseconds, never as few as none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and a cast of a float stops at the largest number"
)]
fn thousandths(seconds: f64) -> u64 {
    ((seconds * 1000.0).ceil() as u64).max(1)
}
