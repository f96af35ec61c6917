//! The system call filter: a policy kept as data (`config/seccomp/deny.toml`), compiled once when
//! the warden starts.
//!
//! # Shape
//! One program of the classic packet filter. It looks at the architecture first, then at the call's
//! number; a call that the policy names answers an error, all others pass. The kernel remembers for
//! each number without a look at arguments that it always passes, so that a long list costs nothing.

mod calls;
mod program;

use program::Program;
use serde::Deserialize;
use std::io;

const POLICY: &str = include_str!("../config/seccomp/deny.toml");

/// The filter of every program.
///
/// # Errors
/// When the embedded policy does not compile, which the tests rule out.
pub fn filter() -> io::Result<Vec<libc::sock_filter>> {
    Policy::embedded()
        .map_err(io::Error::other)?
        .compile()
        .map_err(io::Error::other)
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
    /// A call in two rules, of which one would be lost.
    #[error("compile the system call policy: {0} stands in two rules")]
    Twice(String),
    /// A rule that does not say why.
    #[error("compile the system call policy: the rule on {0} gives no reason, in a sentence")]
    NoReason(String),
    /// A condition that says nothing, or too much.
    #[error(
        "compile the system call policy: the condition on {0} needs exactly one of any_bit, one_of, none_of, and an argument below 6"
    )]
    Condition(String),
}

/// A policy: what is denied.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    newest: u32,
    rule: Vec<Rule>,
}

/// Calls that are denied for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    reason: String,
    answer: Answer,
    calls: Vec<String>,
    when: Option<When>,
}

/// The error that a denied call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Answer {
    #[serde(rename = "EPERM")]
    NotPermitted,
    #[serde(rename = "EACCES")]
    PermissionDenied,
    #[serde(rename = "ENOSYS")]
    NoSuchCall,
}

impl Answer {
    const fn errno(self) -> i32 {
        match self {
            Self::NotPermitted => libc::EPERM,
            Self::PermissionDenied => libc::EACCES,
            Self::NoSuchCall => libc::ENOSYS,
        }
    }
}

/// A condition as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: u8,
    any_bit: Option<Vec<u32>>,
    one_of: Option<Vec<u32>>,
    none_of: Option<Vec<u32>>,
}

/// What a denied call's argument is like.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    AnyBit(u32),
    OneOf(Vec<u32>),
    NoneOf(Vec<u32>),
}

impl Policy {
    fn embedded() -> Result<Self, PolicyError> {
        Ok(toml::from_str(POLICY)?)
    }

    fn compile(&self) -> Result<Vec<libc::sock_filter>, PolicyError> {
        let mut seen = std::collections::BTreeSet::new();
        let mut program = Program::begin(self.newest);
        for rule in &self.rule {
            if !rule.reason.ends_with('.') {
                return Err(PolicyError::NoReason(rule.calls.join(", ")));
            }
            let condition = rule.when.as_ref().map(|when| when.test(rule)).transpose()?;
            for name in &rule.calls {
                if !seen.insert(name.as_str()) {
                    return Err(PolicyError::Twice(name.clone()));
                }
                match calls::number(name) {
                    calls::Number::Here(number) => {
                        program.deny(number, rule.answer.errno(), condition.as_ref());
                    }
                    calls::Number::Elsewhere => {}
                    calls::Number::Nowhere => return Err(PolicyError::UnknownCall(name.clone())),
                }
            }
        }
        Ok(program.end())
    }
}

impl When {
    fn test(&self, rule: &Rule) -> Result<(u8, Test), PolicyError> {
        let test = match (&self.any_bit, &self.one_of, &self.none_of) {
            (Some(bits), None, None) => Test::AnyBit(bits.iter().fold(0, |all, bit| all | bit)),
            (None, Some(values), None) => Test::OneOf(values.clone()),
            (None, None, Some(values)) => Test::NoneOf(values.clone()),
            _ => return Err(PolicyError::Condition(rule.calls.join(", "))),
        };
        if self.argument < 6 {
            Ok((self.argument, test))
        } else {
            Err(PolicyError::Condition(rule.calls.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
