//! An assembler for exactly the filters that a policy needs.
//!
//! # Shape
//! The architecture first; then a search tree over the call's number, so that ten steps decide any
//! call: the kernel walks the whole filter once for each number when it is put in force, which is
//! once a run. The leaves answer, some after a look at arguments.

use super::Test;
use libc::sock_filter;
use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// Numbers from here on are the x32 interface's on x86_64; no architecture has calls of its own
/// there.
const X32: u32 = 0x4000_0000;

// Offsets in the structure that the filter reads.
pub(super) const NUMBER_AT: u32 = 0;
pub(super) const ARCHITECTURE_AT: u32 = 4;
pub(super) const ARGUMENTS_AT: u32 = 16;

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_AT_LEAST: u16 = 0x35;
pub(super) const IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
/// ENOSYS, as nothing traces us; but a filter that wants to hear of the call comes first.
pub(super) const UNKNOWN: u32 = libc::SECCOMP_RET_TRACE;
/// Whoever holds the listener of the filter answers.
pub(super) const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// The answer that makes a call fail with `errno`, or seem to be done where that is 0.
pub(super) const fn failure(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

/// A refusal of some uses of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// All of them hold: the argument's number, and what it is like.
    pub(super) conditions: Vec<(u8, Test)>,
    pub(super) answer: u32,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) refusals: Vec<Refusal>,
    pub(super) otherwise: u32,
}

impl Verdict {
    pub(super) const fn always(answer: u32) -> Self {
        Self {
            refusals: Vec::new(),
            otherwise: answer,
        }
    }
}

/// The filter that gives each call its verdict, `unlisted` to calls without one, `x32` to those of that
/// interface, and kills what comes by another architecture, where the numbers mean other calls.
/// `None`: it has a jump too far.
pub(super) fn assemble(
    verdicts: &BTreeMap<u32, Verdict>,
    unlisted: u32,
    x32: u32,
) -> Option<Vec<sock_filter>> {
    let mut filter = vec![
        step(LOAD, 0, 0, ARCHITECTURE_AT),
        step(IF_EQUAL, 1, 0, NATIVE),
        step(RETURN, 0, 0, KILL),
        step(LOAD, 0, 0, NUMBER_AT),
    ];
    let mut ranges = ranges(verdicts, &Verdict::always(unlisted));
    ranges.push((X32, Verdict::always(x32)));
    filter.extend(tree(&ranges)?);
    Some(filter)
}

/// From which number on which verdict holds; neighbours with the same one are one range.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, unlisted: &Verdict) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut begin = |from: u32, verdict: &Verdict| match ranges.last_mut() {
        Some((_, last)) if last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict.clone(),
        _ => ranges.push((from, verdict.clone())),
    };
    begin(0, unlisted);
    for (number, verdict) in verdicts {
        begin(*number, verdict);
        if !verdicts.contains_key(&number.saturating_add(1)) {
            begin(number.saturating_add(1), unlisted);
        }
    }
    ranges
}

fn tree(ranges: &[(u32, Verdict)]) -> Option<Vec<sock_filter>> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (below, above) = ranges.split_at_checked(ranges.len() / 2)?;
    let (from, _) = above.first()?;
    let (below, above) = (tree(below)?, tree(above)?);
    let mut steps = vec![step(IF_AT_LEAST, u8::try_from(below.len()).ok()?, 0, *from)];
    steps.extend(below);
    steps.extend(above);
    Some(steps)
}

fn leaf(verdict: &Verdict) -> Option<Vec<sock_filter>> {
    let mut steps = Vec::new();
    for refusal in &verdict.refusals {
        let conditions: Vec<_> = refusal.conditions.iter().map(condition).collect();
        let mut left: usize = conditions.iter().map(Vec::len).sum();
        for condition in conditions {
            let own = condition.len();
            for (at, to) in condition.into_iter().enumerate() {
                // Where it is met the next condition begins; else the refusal and its answer are
                // passed over.
                let met = own.checked_sub(at)?.checked_sub(1)?;
                let missed = left.checked_sub(at)?;
                steps.push(to.placed(u8::try_from(met).ok()?, u8::try_from(missed).ok()?));
            }
            left = left.checked_sub(own)?;
        }
        steps.push(step(RETURN, 0, 0, refusal.answer));
    }
    steps.push(step(RETURN, 0, 0, verdict.otherwise));
    Some(steps)
}

/// Where a jump of a condition leads.
#[derive(Debug, Clone, Copy)]
enum To {
    Next,
    Met,
    Missed,
}

/// A step of a condition, whose place is not known yet.
struct Loose {
    code: u16,
    k: u32,
    then: To,
    otherwise: To,
}

impl Loose {
    const fn plain(code: u16, k: u32) -> Self {
        Self::jump(code, k, To::Next, To::Next)
    }

    const fn jump(code: u16, k: u32, then: To, otherwise: To) -> Self {
        Self {
            code,
            k,
            then,
            otherwise,
        }
    }

    const fn placed(self, met: u8, missed: u8) -> sock_filter {
        const fn distance(to: To, met: u8, missed: u8) -> u8 {
            match to {
                To::Next => 0,
                To::Met => met,
                To::Missed => missed,
            }
        }
        step(
            self.code,
            distance(self.then, met, missed),
            distance(self.otherwise, met, missed),
            self.k,
        )
    }
}

/// Only the low half of an argument is looked at where the kernel takes no more of it; the machine is
/// little-endian.
fn condition((argument, test): &(u8, Test)) -> Vec<Loose> {
    let low = ARGUMENTS_AT.saturating_add(u32::from(*argument).saturating_mul(8));
    let mut steps = vec![Loose::plain(LOAD, low)];
    match test {
        Test::AnyBit(bits) => {
            steps.push(Loose::jump(IF_ANY_BIT, *bits, To::Met, To::Missed));
        }
        Test::NoBit(bits) => {
            steps.push(Loose::jump(IF_ANY_BIT, *bits, To::Missed, To::Met));
        }
        Test::AllBits(bits) => {
            steps.push(Loose::plain(AND, *bits));
            steps.push(Loose::jump(IF_EQUAL, *bits, To::Met, To::Missed));
        }
        Test::OneOf(values) => {
            let last = values.len().saturating_sub(1);
            steps.extend(values.iter().enumerate().map(|(at, value)| {
                let otherwise = if at == last { To::Missed } else { To::Next };
                Loose::jump(IF_EQUAL, *value, To::Met, otherwise)
            }));
        }
        Test::NoneOf(values) => {
            let values = values.iter();
            steps.extend(values.map(|value| Loose::jump(IF_EQUAL, *value, To::Missed, To::Next)));
        }
        Test::Given => {
            steps.push(Loose::jump(IF_EQUAL, 0, To::Next, To::Met));
            steps.push(Loose::plain(LOAD, low.saturating_add(4)));
            steps.push(Loose::jump(IF_EQUAL, 0, To::Missed, To::Met));
        }
    }
    steps
}

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
