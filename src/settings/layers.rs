//! Lays the sources over one another, and keeps what is not right out of the pile: a wrong entry
//! is reported and dropped, so that everything else is still looked at.

use super::mistake::Mistake;
use super::schema::{Schema, Secrecy, Spot};
use super::secret::Secret;
use super::{ENV_PREFIX, SourceText, key};
use config::{Config, ConfigError, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use std::collections::{BTreeMap, HashMap};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// For people.
    pub(super) name: String,
    /// Whether the source knows nothing but text, so that `"4"` may stand for `4`.
    pub(super) spelling: Spelling,
}

/// How a source writes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// With TOML's types.
    Typed,
    /// As text: variables and flags.
    Text,
}

/// All sources in one tree.
#[derive(Debug)]
pub(super) struct Pile {
    /// The values.
    pub(super) root: Value,
    /// Where each dotted key was set last.
    pub(super) origins: BTreeMap<String, Origin>,
    /// What was dropped.
    pub(super) mistakes: Vec<Mistake>,
}

/// Lays the embedded default, the operator's file, the environment and the flags over one another.
pub(super) fn pile(
    schema: &Schema,
    defaults: &str,
    file: Option<SourceText<'_>>,
    env: &[(String, String)],
    flags: &[(String, String)],
) -> Pile {
    let mut sorter = Sorter {
        schema,
        origins: BTreeMap::new(),
        mistakes: Vec::new(),
    };
    let defaults = sorter.file(SourceText {
        name: "the embedded default",
        text: defaults,
    });
    let file = file.map(|file| sorter.file(file)).unwrap_or_default();
    let env = sorter.environment(env);
    let flags = sorter.flags(flags);

    let mut builder = Config::builder()
        .add_source(Sorted(defaults))
        .add_source(Sorted(file));
    builder = builder.add_source(
        // The prefix without its separator; both are matched without regard to case.
        Environment::with_prefix("JAILFLEET")
            .prefix_separator("__")
            .separator("__")
            .source(Some(env)),
    );
    let built = flags
        .into_iter()
        .try_fold(builder, |builder, (key, value)| {
            builder.set_override(key, value)
        })
        .and_then(|builder| builder.build());
    let Sorter {
        origins,
        mut mistakes,
        ..
    } = sorter;
    let root = match built {
        Ok(config) => config.cache,
        Err(error) => {
            mistakes.push(unreadable("the configuration", &error));
            Value::new(None, ValueKind::Nil)
        }
    };
    Pile {
        root,
        origins,
        mistakes,
    }
}

/// A table that has been looked through.
#[derive(Debug, Clone)]
struct Sorted(Map<String, Value>);

impl Source for Sorted {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

struct Sorter<'a> {
    schema: &'a Schema,
    origins: BTreeMap<String, Origin>,
    mistakes: Vec<Mistake>,
}

impl Sorter<'_> {
    fn file(&mut self, file: SourceText<'_>) -> Map<String, Value> {
        match File::from_str(file.text, FileFormat::Toml).collect() {
            Ok(table) => self.table(&[], table, file.name),
            Err(error) => {
                self.mistakes.push(unreadable(file.name, &error));
                Map::new()
            }
        }
    }

    /// Keeps of a table what the schema knows.
    fn table(
        &mut self,
        path: &[String],
        table: Map<String, Value>,
        source: &str,
    ) -> Map<String, Value> {
        let mut kept = Map::new();
        for (name, value) in table {
            let mut path = path.to_vec();
            path.push(name.clone());
            if let Some(value) = self.entry(&path, value, source) {
                kept.insert(name, value);
            }
        }
        kept
    }

    fn entry(&mut self, path: &[String], value: Value, source: &str) -> Option<Value> {
        match (self.schema.look(path), value.kind) {
            (Spot::Section, ValueKind::Table(table)) => {
                Some(Value::from(self.table(path, table, source)))
            }
            (Spot::Section, _) => {
                let expected = format!("a table: [{}]", key::join(path));
                self.mistake(path, expected, source);
                None
            }
            (Spot::Key(_), kind) => {
                let origin = Origin {
                    name: source.to_owned(),
                    spelling: Spelling::Typed,
                };
                self.origins.insert(key::join(path), origin);
                Some(Value::new(None, kind))
            }
            (Spot::Foreign, _) => None,
            (Spot::BadName(expected), _) => {
                self.mistake(path, expected.to_owned(), source);
                None
            }
            (Spot::Unknown, _) => {
                let expected = self.schema.unknown(path);
                self.mistake(path, expected, source);
                None
            }
        }
    }

    /// The value is not shown: what stands under an unknown key may well be a misspelt secret.
    fn mistake(&mut self, path: &[String], expected: String, source: &str) {
        let (key, source) = (key::join(path), source.to_owned());
        self.mistakes.push(Mistake {
            key,
            value: None,
            expected,
            source,
        });
    }

    /// The variables that set a key, named in capitals and once each.
    fn environment(&mut self, env: &[(String, String)]) -> Map<String, String> {
        let mut kept: HashMap<String, String> = HashMap::new();
        for (variable, value) in env {
            let Some(dotted) = dotted(variable) else {
                continue;
            };
            let source = format!("variable {variable}");
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let expected = "expected UTF-8".to_owned();
                self.mistakes.push(Mistake {
                    key: dotted,
                    value: None,
                    expected,
                    source,
                });
                continue;
            }
            let in_file_only = ["runtimes.", "profiles.", "tenants."];
            if in_file_only.iter().any(|start| dotted.starts_with(start)) {
                let expected = "has no variable: set it in the file given with --config";
                let expected = expected.to_owned();
                self.mistakes.push(Mistake {
                    key: dotted,
                    value: None,
                    expected,
                    source,
                });
            } else if self.scalar(&dotted, &source)
                && kept
                    .insert(variable.to_uppercase(), value.clone())
                    .is_some()
            {
                let expected = "is set twice, in two spellings of its name".to_owned();
                self.mistakes.push(Mistake {
                    key: dotted,
                    value: None,
                    expected,
                    source,
                });
            }
        }
        kept
    }

    fn flags(&mut self, flags: &[(String, String)]) -> Vec<(String, String)> {
        let known = |flag: &&(String, String)| {
            let (key, value) = flag;
            let source = format!("flag {key}");
            self.scalar(key, &source) && self.may_be_seen(key, value, &source)
        };
        flags.iter().filter(known).cloned().collect()
    }

    /// Whether everybody on the host may read this value: a command line stands in `ps`.
    fn may_be_seen(&mut self, key: &str, value: &str, source: &str) -> bool {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let Spot::Key(spec) = self.schema.look(&path) else {
            return true;
        };
        if spec.secrecy == Secrecy::Open || !Secret::new(value).is_secret() {
            return true;
        }
        let variable = format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase());
        let expected = format!(
            "a password on a command line is read by everybody on this host: set the variable \
             {variable}, amqp.uri_file or amqp.password_file"
        );
        self.mistake(&path, expected, source);
        false
    }

    /// Whether one text can set `key` here; notes where it came from, or what is wrong.
    fn scalar(&mut self, key: &str, source: &str) -> bool {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let expected = match self.schema.look(&path) {
            // The library behind the flags has rules of its own for what stands between dots.
            Spot::Key(_) if !path.iter().all(|part| key::is_bare(part)) => {
                "has a name that no flag can say: set it in the file given with --config".to_owned()
            }
            Spot::Key(spec) if spec.kind.is_scalar() => {
                let origin = Origin {
                    name: source.to_owned(),
                    spelling: Spelling::Text,
                };
                self.origins.insert(key.to_owned(), origin);
                return true;
            }
            Spot::Foreign => return false,
            Spot::Key(_) => "is no single value: set it in the file given with --config".to_owned(),
            Spot::Section => "is a section, not a value".to_owned(),
            Spot::BadName(expected) => expected.to_owned(),
            Spot::Unknown => self.schema.unknown(&path),
        };
        self.mistake(&path, expected, source);
        false
    }
}

/// `worker.slots` for `JAILFLEET__WORKER__SLOTS`; nothing for a variable that is not ours.
fn dotted(variable: &str) -> Option<String> {
    let rest = variable.get(ENV_PREFIX.len()..)?;
    let ours = variable
        .get(..ENV_PREFIX.len())?
        .eq_ignore_ascii_case(ENV_PREFIX);
    ours.then(|| rest.to_lowercase().replace("__", "."))
}

/// A source that could not be read at all. The parser quotes the line, which may hold a password,
/// so its drawing is left out.
fn unreadable(source: &str, error: &ConfigError) -> Mistake {
    let text = if let ConfigError::FileParse { cause, .. } = error {
        cause.to_string()
    } else {
        error.to_string()
    };
    let drawn = |line: &str| {
        let after_number = line.trim_start_matches(|char: char| char == ' ' || char.is_numeric());
        after_number.starts_with('|')
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !drawn(line));
    let lines: Vec<&str> = lines.collect();
    Mistake {
        key: String::new(),
        value: None,
        expected: lines.join(": "),
        source: source.to_owned(),
    }
}
