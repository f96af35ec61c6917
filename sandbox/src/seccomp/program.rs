//! An assembler for exactly the filters that a policy needs.

use super::Test;
use libc::sock_filter;

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
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_AT_LEAST: u16 = 0x35;
pub(super) const IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// The answer that makes a call fail with `errno`.
pub(super) const fn failure(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

/// A filter in the making; between two steps the call's number is loaded.
pub(super) struct Program {
    steps: Vec<sock_filter>,
}

impl Program {
    /// A call of another architecture ends the process: the numbers below would mean other calls.
    pub(super) fn begin(newest: u32) -> Self {
        let mut program = Self { steps: Vec::new() };
        program.step(LOAD, 0, 0, ARCHITECTURE_AT);
        program.step(IF_EQUAL, 1, 0, NATIVE);
        program.step(RETURN, 0, 0, KILL);
        program.step(LOAD, 0, 0, NUMBER_AT);
        program.step(IF_AT_LEAST, 1, 0, X32);
        program.step(IF_GREATER, 0, 1, newest);
        program.step(RETURN, 0, 0, failure(libc::ENOSYS));
        program
    }

    /// Denies one call, or those of it whose argument passes the test.
    pub(super) fn deny(&mut self, number: u32, errno: i32, condition: Option<&(u8, Test)>) {
        let answer = failure(errno);
        let Some((argument, test)) = condition else {
            self.step(IF_EQUAL, 0, 1, number);
            return self.step(RETURN, 0, 0, answer);
        };
        // Only the argument's low half is looked at, as the kernel does for these calls; the machine
        // is little-endian.
        let at = ARGUMENTS_AT.saturating_add(u32::from(*argument).saturating_mul(8));
        let (values, jump, hit, miss) = match test {
            Test::AnyBit(bits) => (std::slice::from_ref(bits), IF_ANY_BIT, answer, ALLOW),
            Test::OneOf(values) => (values.as_slice(), IF_EQUAL, answer, ALLOW),
            Test::NoneOf(values) => (values.as_slice(), IF_EQUAL, ALLOW, answer),
        };
        let count = u8::try_from(values.len())
            .unwrap_or(MOST_VALUES)
            .min(MOST_VALUES);
        self.step(IF_EQUAL, 0, count.saturating_add(3), number);
        self.step(LOAD, 0, 0, at);
        for (value, left) in values.iter().zip((1..=count).rev()) {
            self.step(jump, left, 0, *value);
        }
        self.step(RETURN, 0, 0, miss);
        self.step(RETURN, 0, 0, hit);
    }

    /// What was not denied is allowed.
    pub(super) fn end(mut self) -> Vec<sock_filter> {
        self.step(RETURN, 0, 0, ALLOW);
        self.steps
    }

    fn step(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.steps.push(sock_filter { code, jt, jf, k });
    }
}

/// A jump leads over 255 steps at most.
const MOST_VALUES: u8 = 250;
