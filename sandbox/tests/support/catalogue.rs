//! The catalogue of attacks as text: the header that each of its files opens with, read into values.

use jailfleet::limits::LimitsRequest;
use jailfleet::wall::Wall;
use std::path::{Path, PathBuf};

/// How many attacks the checklist has, numbered from 1.
pub(crate) const ITEMS: u16 = 130;

/// One program of the catalogue and what must become of it.
#[derive(Debug)]
pub(crate) struct AttackFile {
    /// Its place in the checklist and the end of its name: `029_fork_bomb.sh`.
    pub(crate) name: String,
    /// The items that it stands for; the first one is in its name.
    pub(crate) items: Vec<u16>,
    /// The runtime that its ending asks for.
    pub(crate) language: Language,
    /// What the run must be judged to be.
    pub(crate) expect: Expect,
    /// What it must have printed, where that matters.
    pub(crate) stdout: Option<Vec<u8>>,
    /// The walls without which it proves nothing.
    pub(crate) walls: Vec<Wall>,
    /// The limits that differ from its runtime's own.
    pub(crate) limits: LimitsRequest,
    /// Why it is known to succeed.
    pub(crate) hole: Option<KnownHole>,
    /// The only architecture that it is written for.
    pub(crate) architecture: Option<String>,
}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Shell,
    C,
}

/// An outcome, with the number that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Exited(i32),
    Signaled(i32),
    CpuLimit,
    WallLimit,
    MemoryLimit,
    OutputLimit,
}

/// A hole that somebody knows of and that is not closed yet.
#[derive(Debug)]
pub(crate) struct KnownHole {
    /// Where it is open.
    pub(crate) only: Only,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Hosts on which a hole is open; on all others its attack must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    Everywhere,
    /// Where a plain user's programs share their uid with the slot's init.
    InUserNamespaces,
    /// There, and only before Linux 6.2, whose Landlock is the first to know of truncation.
    InUserNamespacesBeforeLandlock3,
    /// Where the kernel cannot be told to execute no files in memory, before Linux 6.3, and no
    /// AppArmor profile keeps programs from it.
    BeforeMemfdNoexec,
}

/// Reads one file; the mistake in its header otherwise.
pub(crate) fn parse(name: &str, text: &str) -> Result<AttackFile, String> {
    let (stem, ending) = name.split_once('.').ok_or("its name has no ending")?;
    let (language, comment) = match ending {
        "py" => (Language::Python, "#"),
        "sh" => (Language::Shell, "#"),
        "c" => (Language::C, "//"),
        _ => return Err(format!("there is no runtime for .{ending}")),
    };
    let header = Header::of(text, comment)?;
    let numbers = header.required("items")?.split(' ');
    let items: Vec<u16> = numbers.map(item).collect::<Result<_, _>>()?;
    let first = items.first().ok_or("it names no item")?;
    if !stem.starts_with(&format!("{first:03}_")) {
        return Err(format!("its name must begin with {first:03}_"));
    }
    let about = header.required("about")?;
    if !about.ends_with('.') {
        return Err("what it is about must be a sentence".to_owned());
    }
    let walls = header.get("walls").unwrap_or_default().split_whitespace();
    let walls = walls.map(|name| Wall::parse(name).ok_or(format!("there is no wall {name}")));
    Ok(AttackFile {
        name: name.to_owned(),
        items,
        language,
        expect: expect(header.required("expect")?)?,
        stdout: header.get("stdout").map(unescape).transpose()?,
        walls: walls.collect::<Result<_, _>>()?,
        limits: limits(header.get("limits").unwrap_or_default())?,
        hole: header.get("known_hole").map(hole).transpose()?,
        architecture: header.get("architecture").map(str::to_owned),
    })
}

/// The lines `key: value` at the top of a file, up to the first line that is no comment.
struct Header<'a>(Vec<(&'a str, &'a str)>);

const KEYS: &[&str] = &[
    "items",
    "about",
    "expect",
    "stdout",
    "walls",
    "limits",
    "known_hole",
    "architecture",
];

impl<'a> Header<'a> {
    fn of(text: &'a str, comment: &str) -> Result<Self, String> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix(comment) else {
                return Ok(Self(found));
            };
            let (key, value) = line
                .split_once(':')
                .ok_or(format!("no `key:` in {line:?}"))?;
            let (key, value) = (key.trim(), value.trim());
            if !KEYS.contains(&key) {
                return Err(format!("there is no key {key:?}"));
            }
            if found.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key} is said twice"));
            }
            found.push((key, value));
        }
        Ok(Self(found))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    fn required(&self, key: &str) -> Result<&'a str, String> {
        self.get(key).ok_or(format!("it does not say {key}"))
    }
}

/// The number of an item of the checklist.
pub(crate) fn item(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|item| (1..=ITEMS).contains(item));
    number.ok_or(format!("there is no item {text:?}"))
}

fn expect(text: &str) -> Result<Expect, String> {
    let number = |text: &str| {
        text.parse::<i32>()
            .map_err(|wrong| format!("{text:?}: {wrong}"))
    };
    match text.split_once(' ') {
        Some(("exited", code)) => number(code).map(Expect::Exited),
        Some(("signaled", signal)) => number(signal).map(Expect::Signaled),
        None if text == "cpu_limit" => Ok(Expect::CpuLimit),
        None if text == "wall_limit" => Ok(Expect::WallLimit),
        None if text == "memory_limit" => Ok(Expect::MemoryLimit),
        None if text == "output_limit" => Ok(Expect::OutputLimit),
        Some(_) | None => Err(format!("nothing ends as {text:?}")),
    }
}

/// Bytes as a line can say them: `\n`, `\\` and `\xHH`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let wrong = || format!("{after:?} follows no backslash");
        let length = match after.as_bytes() {
            [b'n', ..] => {
                bytes.push(b'\n');
                1
            }
            [b'\\', ..] => {
                bytes.push(b'\\');
                1
            }
            [b'x', ..] => {
                let digits = after.get(1..3).ok_or_else(wrong)?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_not_hex| wrong())?);
                3
            }
            _ => return Err(wrong()),
        };
        rest = after.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

fn limits(text: &str) -> Result<LimitsRequest, String> {
    let mut limits = LimitsRequest::default();
    for pair in text.split_whitespace() {
        let (name, value) = pair.split_once('=').ok_or(format!("{pair} sets nothing"))?;
        let value = value
            .parse::<u64>()
            .map_err(|wrong| format!("{pair}: {wrong}"))?;
        let field = match name {
            "cpu_ms" => &mut limits.cpu_ms,
            "wall_ms" => &mut limits.wall_ms,
            "memory_bytes" => &mut limits.memory_bytes,
            "address_space_bytes" => &mut limits.address_space_bytes,
            "file_bytes" => &mut limits.file_bytes,
            "disk_bytes" => &mut limits.disk_bytes,
            "disk_files" => &mut limits.disk_files,
            "processes" => &mut limits.processes,
            "open_files" => &mut limits.open_files,
            "stack_bytes" => &mut limits.stack_bytes,
            _ => return Err(format!("there is no limit {name}")),
        };
        *field = Some(value);
    }
    Ok(limits)
}

fn hole(text: &str) -> Result<KnownHole, String> {
    let (only, reason) = match text
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "))
    {
        None => (Only::Everywhere, text),
        Some(("userns", reason)) => (Only::InUserNamespaces, reason),
        Some(("userns, landlock < 3", reason)) => (Only::InUserNamespacesBeforeLandlock3, reason),
        Some(("linux < 6.3", reason)) => (Only::BeforeMemfdNoexec, reason),
        Some((other, _)) => return Err(format!("no hole is open only where {other}")),
    };
    if reason.is_empty() {
        return Err("a known hole says what is wrong".to_owned());
    }
    Ok(KnownHole {
        only,
        reason: reason.to_owned(),
    })
}

/// Every program of a folder in the order of its name, read; the first mistake panics with its file.
pub(crate) fn read_all(folder: &Path) -> Vec<AttackFile> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end != "md"))
        .collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("the catalogue's names are ASCII");
        let text = std::fs::read_to_string(path).expect("the file can be read");
        parse(name, &text).unwrap_or_else(|mistake| panic!("{name}: {mistake}"))
    };
    paths.iter().map(read).collect()
}
