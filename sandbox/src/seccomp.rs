//! The system call filter: a policy kept as data (`config/seccomp/jail.toml`), compiled once when the
//! warden starts.
//!
//! A slot has two filters. Its init puts [`listener`] in force for itself and so for all that it ever
//! forks: calls that the policy does not name wait for the init's answer, which counts them. The child
//! of each run puts [`filter`] on top, which refuses what the policy refuses. Where somebody outside
//! listens already, a slot has one filter alone, [`filter_alone`], which refuses those unnamed calls itself.

mod calls;
mod program;

use crate::init::HeldBy;
use jailfleet::wall::Wall;
use program::{Refusal, Verdict, assemble, failure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

const POLICY: &str = include_str!("../../config/seccomp/jail.toml");
const COLLECTOR: &str = include_str!("../../config/seccomp/collector.toml");
const WORKER: &str = include_str!("../../config/seccomp/worker.toml");

/// The filter of every program, on a host where `memory` limits a run's memory.
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn filter(memory: HeldBy) -> io::Result<Vec<libc::sock_filter>> {
    let policy = Policy::embedded().map_err(io::Error::other)?;
    let filter = policy.filter(memory, program::UNKNOWN);
    filter.map_err(io::Error::other)
}

/// The same filter for a slot without a listener of ours: a call that the policy does not name fails
/// before an outer listener could let it pass.
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn filter_alone(memory: HeldBy) -> io::Result<Vec<libc::sock_filter>> {
    let policy = Policy::embedded().map_err(io::Error::other)?;
    let filter = policy.filter(memory, failure(libc::ENOSYS));
    filter.map_err(io::Error::other)
}

/// The filter that has somebody asked about each call that the policy does not name. All others pass.
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn listener() -> io::Result<Vec<libc::sock_filter>> {
    let policy = Policy::embedded().map_err(io::Error::other)?;
    policy.listener().map_err(io::Error::other)
}

/// The filter of the process that brings out what a run left (`config/seccomp/collector.toml`).
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn collector_filter() -> io::Result<Vec<libc::sock_filter>> {
    let policy = Policy::read(COLLECTOR).map_err(io::Error::other)?;
    let filter = policy.filter(HeldBy::Cgroup, failure(libc::ENOSYS));
    filter.map_err(io::Error::other)
}

/// The filter that a worker puts in force for itself (`config/seccomp/worker.toml`). It has no listener of
/// ours, and must not leave a call that it does not name to one from outside.
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn worker_filter() -> io::Result<Vec<libc::sock_filter>> {
    let policy = Policy::read(WORKER).map_err(io::Error::other)?;
    let filter = policy.filter(HeldBy::Cgroup, failure(libc::ENOSYS));
    filter.map_err(io::Error::other)
}

/// Why a policy is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no policy.
    #[error("read the system call policy")]
    Toml(#[from] toml::de::Error),
    /// A call that no architecture of ours has.
    #[error("compile the system call policy: there is no call named {0}")]
    UnknownCall(String),
    /// A call in two groups, of which one would be lost.
    #[error("compile the system call policy: {0} stands in two groups")]
    Twice(String),
    /// A group that does not say why.
    #[error("compile the system call policy: the group of {0} gives no reason, in a sentence")]
    NoReason(String),
    /// A condition that says nothing, or too much.
    #[error(
        "compile the system call policy: a condition on {0} needs exactly one of any_bit, no_bit, all_bits, one_of, none_of, given, and an argument below 6"
    )]
    Condition(String),
    /// A call that is refused under a condition, and not allowed otherwise.
    #[error("compile the system call policy: {0} is refused under a condition and allowed nowhere")]
    NotAllowed(String),
    /// A wall that does not exist, or that says nothing of calls.
    #[error("compile the system call policy: {0} is not a wall that a group can be without")]
    Wall(String),
    /// A filter that cannot be laid out.
    #[error("compile the system call policy: it is too long")]
    TooLong,
}

/// A policy: what is allowed, and what is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    allow: Vec<Allowed>,
    deny: Vec<Denied>,
}

/// Calls that pass, for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    reason: String,
    calls: Vec<String>,
}

/// Calls that are refused, for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Denied {
    reason: String,
    answer: Answer,
    calls: Vec<String>,
    #[serde(default)]
    when: Vec<When>,
    without: Option<String>,
}

/// What a refused call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Answer {
    #[serde(rename = "EPERM")]
    NotPermitted,
    #[serde(rename = "EACCES")]
    PermissionDenied,
    #[serde(rename = "ENOSYS")]
    NoSuchCall,
    #[serde(rename = "EOPNOTSUPP")]
    NotSupported,
    #[serde(rename = "nothing")]
    Nothing,
}

impl Answer {
    const fn errno(self) -> i32 {
        match self {
            Self::NotPermitted => libc::EPERM,
            Self::PermissionDenied => libc::EACCES,
            Self::NoSuchCall => libc::ENOSYS,
            Self::NotSupported => libc::EOPNOTSUPP,
            Self::Nothing => 0,
        }
    }
}

/// A condition as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: u8,
    any_bit: Option<Vec<u32>>,
    no_bit: Option<Vec<u32>>,
    all_bits: Option<Vec<u32>>,
    one_of: Option<Vec<u32>>,
    none_of: Option<Vec<u32>>,
    given: Option<bool>,
}

/// What the argument of a refused call is like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    AnyBit(u32),
    NoBit(u32),
    AllBits(u32),
    OneOf(Vec<u32>),
    NoneOf(Vec<u32>),
    Given,
}

impl Policy {
    fn embedded() -> Result<Self, PolicyError> {
        Self::read(POLICY)
    }

    fn read(text: &str) -> Result<Self, PolicyError> {
        Ok(toml::from_str(text)?)
    }

    /// `unknown` is the answer to calls that the policy does not name.
    fn filter(&self, memory: HeldBy, unknown: u32) -> Result<Vec<libc::sock_filter>, PolicyError> {
        let mut verdicts = self.allowed()?;
        for group in &self.deny {
            if group.applies(memory)? {
                group.refuse(&mut verdicts)?;
            }
        }
        assemble(&verdicts, unknown, failure(libc::ENOSYS)).ok_or(PolicyError::TooLong)
    }

    fn listener(&self) -> Result<Vec<libc::sock_filter>, PolicyError> {
        let groups = self.allow.iter().map(|group| &group.calls);
        let names = groups.chain(self.deny.iter().map(|group| &group.calls));
        let mut verdicts = BTreeMap::new();
        for name in names.flatten() {
            if let Some(number) = here(name)? {
                verdicts.insert(number, Verdict::always(program::ALLOW));
            }
        }
        assemble(&verdicts, program::ASK, program::ALLOW).ok_or(PolicyError::TooLong)
    }

    fn allowed(&self) -> Result<BTreeMap<u32, Verdict>, PolicyError> {
        let mut verdicts = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for group in &self.allow {
            has_reason(&group.reason, &group.calls)?;
            for name in &group.calls {
                if !seen.insert(name) {
                    return Err(PolicyError::Twice(name.clone()));
                }
                if let Some(number) = here(name)? {
                    verdicts.insert(number, Verdict::always(program::ALLOW));
                }
            }
        }
        Ok(verdicts)
    }
}

impl Denied {
    fn applies(&self, memory: HeldBy) -> Result<bool, PolicyError> {
        match (self.without.as_deref(), memory) {
            (None, _) => Ok(true),
            (Some(wall), memory) if wall == Wall::CgroupMemory.as_str() => Ok(match memory {
                HeldBy::Cgroup => false,
                HeldBy::Rlimit => true,
            }),
            (Some(other), _) => Err(PolicyError::Wall(other.to_owned())),
        }
    }

    fn refuse(&self, verdicts: &mut BTreeMap<u32, Verdict>) -> Result<(), PolicyError> {
        has_reason(&self.reason, &self.calls)?;
        let conditions = self.when.iter().map(|when| when.test(&self.calls));
        let conditions: Vec<_> = conditions.collect::<Result<_, _>>()?;
        let answer = failure(self.answer.errno());
        for name in &self.calls {
            let Some(number) = here(name)? else { continue };
            match (verdicts.get_mut(&number), conditions.is_empty()) {
                (Some(verdict), false) => verdict.refusals.push(Refusal {
                    conditions: conditions.clone(),
                    answer,
                }),
                (None, false) => return Err(PolicyError::NotAllowed(name.clone())),
                // Refused on this host only, and allowed on others.
                (Some(verdict), true) if self.without.is_some() => {
                    *verdict = Verdict::always(answer);
                }
                (Some(_), true) => return Err(PolicyError::Twice(name.clone())),
                (None, true) => {
                    verdicts.insert(number, Verdict::always(answer));
                }
            }
        }
        Ok(())
    }
}

impl When {
    fn test(&self, calls: &[String]) -> Result<(u8, Test), PolicyError> {
        let all = |bits: &Vec<u32>| bits.iter().fold(0, |all, bit| all | bit);
        let tests = [
            self.any_bit.as_ref().map(|bits| Test::AnyBit(all(bits))),
            self.no_bit.as_ref().map(|bits| Test::NoBit(all(bits))),
            self.all_bits.as_ref().map(|bits| Test::AllBits(all(bits))),
            self.one_of.clone().map(Test::OneOf),
            self.none_of.clone().map(Test::NoneOf),
            self.given.and_then(|given| given.then_some(Test::Given)),
        ];
        let mut tests = tests.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) if self.argument < 6 => Ok((self.argument, test)),
            _ => Err(PolicyError::Condition(calls.join(", "))),
        }
    }
}

/// The call's number, where this architecture has it.
fn here(name: &str) -> Result<Option<u32>, PolicyError> {
    match calls::number(name) {
        calls::Number::Here(number) => Ok(Some(number)),
        calls::Number::Elsewhere => Ok(None),
        calls::Number::Nowhere => Err(PolicyError::UnknownCall(name.to_owned())),
    }
}

fn has_reason(reason: &str, calls: &[String]) -> Result<(), PolicyError> {
    if reason.ends_with('.') {
        Ok(())
    } else {
        Err(PolicyError::NoReason(calls.join(", ")))
    }
}

#[cfg(test)]
mod tests;
