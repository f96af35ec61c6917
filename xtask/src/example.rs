//! The examples: read their cards, compile what must be compiled, make jobs of them.

use crate::programs::{command, run};
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Borrow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// An example as it lies in `examples/<group>/<name>.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    kind: String,
    about: String,
    expect: Expectation,
    /// Walls without which the expectation cannot hold.
    #[serde(default)]
    needs: Vec<String>,
    /// Parts of the result that may differ from run to run.
    #[serde(default)]
    may_differ: Vec<String>,
    code_file: Option<PathBuf>,
    compile: Option<Compile>,
    stdin_times: Option<Times>,
    job: Map<String, Value>,
}

/// How a C file becomes a program.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Compile {
    /// With the system's libraries, which the jail shows.
    Cc,
    /// With everything in it.
    CcStatic,
}

/// A long standard input that need not be written down: `text`, that many times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    text: String,
    times: usize,
}

/// What the result must say. Fields left out are not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expectation {
    /// The outcome, or those of which one must be it.
    pub(crate) outcome: OneOrMore,
    /// The exit code.
    pub(crate) exit_code: Option<i64>,
    /// The signal's number.
    pub(crate) signal: Option<i64>,
    /// All of standard output, as a blob.
    pub(crate) stdout: Option<Value>,
    /// All of standard error, as a blob.
    pub(crate) stderr: Option<Value>,
    /// The length of standard output.
    pub(crate) stdout_bytes: Option<usize>,
    /// Texts that must occur in standard output.
    pub(crate) stdout_contains: OneOrMore,
    /// Texts that must occur in standard error.
    pub(crate) stderr_contains: OneOrMore,
    /// The streams that were cut.
    pub(crate) truncated: Option<Vec<String>>,
    /// The code of the error that the result carries.
    pub(crate) error_code: Option<String>,
    /// The text of the globals that the code left.
    pub(crate) globals: Option<String>,
    /// The artifacts, as they travel.
    pub(crate) artifacts: Option<Value>,
    /// What of them was left out.
    pub(crate) artifacts_left_out: Option<Value>,
}

/// A text or a list of texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

/// An example that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Example {
    /// `<group>.<name>`: the job's id.
    pub(crate) id: String,
    /// The kind of program that it is, as `tests/examples.rs` lists them.
    pub(crate) kind: String,
    /// What it shows, in one sentence.
    pub(crate) about: String,
    /// What its result must say.
    pub(crate) expect: Expectation,
    /// Walls without which the expectation cannot hold.
    pub(crate) needs: Vec<String>,
    /// Parts of the result that may differ from run to run.
    pub(crate) may_differ: Vec<String>,
    /// The job.
    pub(crate) job: Value,
}

/// Reads all examples under `folder`, in the order of their ids. C files are compiled into `build`.
pub(crate) fn read_all(folder: &Path, build: &Path) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    for group in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let cards = entries(&group)?;
        for path in cards
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
        {
            let example = read(path, build).with_context(|| format!("read {}", path.display()))?;
            examples.push(example);
        }
    }
    ensure!(
        !examples.is_empty(),
        "find examples in {}",
        folder.display()
    );
    Ok(examples)
}

/// Writes one job a line. No more than one of them need be in memory.
pub(crate) fn write_jobs(
    path: &Path,
    jobs: impl IntoIterator<Item = impl Borrow<Value>>,
) -> Result<()> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        for job in jobs {
            writeln!(file, "{}", job.borrow())?;
        }
        file.flush()
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder)
        .with_context(|| format!("read the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.context("read a folder's entry")?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, build: &Path) -> Result<Example> {
    let card: Card = serde_json::from_slice(&std::fs::read(path)?)?;
    let folder = path.parent().context("find the folder of a card")?;
    let name = stem(path)?;
    let id = format!("{}.{name}", stem(folder)?);

    let mut job = Map::new();
    job.insert("v".to_owned(), json!(1));
    job.insert("id".to_owned(), json!(id));
    job.insert("slug".to_owned(), json!(name));
    job.extend(card.job);
    if let Some(file) = &card.code_file {
        let source = folder.join(file);
        let code = match card.compile {
            None => Value::String(std::fs::read_to_string(&source)?),
            Some(how) => {
                let program = build.join(&id);
                compile(how, &source, &program)?;
                blob(&std::fs::read(&program)?)
            }
        };
        job.insert("code".to_owned(), code);
    }
    if let Some(stdin) = &card.stdin_times {
        job.insert(
            "stdin".to_owned(),
            Value::String(stdin.text.repeat(stdin.times)),
        );
    }
    Ok(Example {
        id,
        kind: card.kind,
        about: card.about,
        expect: card.expect,
        needs: card.needs,
        may_differ: card.may_differ,
        job: Value::Object(job),
    })
}

fn stem(path: &Path) -> Result<&str> {
    path.file_stem()
        .and_then(|name| name.to_str())
        .context("use a name that is not text")
}

fn compile(how: Compile, source: &Path, program: &Path) -> Result<()> {
    let mut cc = command("cc");
    cc.args(["-O1", "-s", "-Wall", "-Wextra", "-o"])
        .arg(program)
        .arg(source);
    match how {
        Compile::Cc => {}
        Compile::CcStatic => {
            cc.arg("-static");
        }
    }
    run(&format!("the compiler on {}", source.display()), &mut cc)
}

/// Bytes as they stand in a message when they are not text.
pub(crate) fn blob(bytes: &[u8]) -> Value {
    json!({ "base64": STANDARD.encode(bytes) })
}

/// The bytes of a blob; an absent one is empty.
pub(crate) fn bytes_of(blob: Option<&Value>) -> Result<Vec<u8>> {
    match blob {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(Value::Object(object)) => match object.get("base64") {
            Some(Value::String(text)) => STANDARD.decode(text).context("decode a base64 blob"),
            _ => bail!("find base64 in a blob: {object:?}"),
        },
        Some(other) => bail!("read a blob: {other}"),
    }
}
