//! A runtime: what a worker's configuration says about running one kind of program.

use crate::job::Name;
use crate::limits::{Ceiling, Limits, LimitsRequest};
use crate::rejection::Rejection;

/// One configured runtime. Nothing about python, node or any other is compiled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The name that jobs ask for.
    pub name: Name,
    /// What is executed.
    pub program: Program,
    /// Whether a host without the program may still start.
    pub presence: Presence,
    /// Arguments between the program and the main file.
    pub args: Vec<String>,
    /// The file that a job's `code` becomes, relative to the working directory.
    pub main_file: String,
    /// Environment of every run, sorted by name; a job's own comes on top.
    pub env: Vec<(String, String)>,
    /// Read-only binds on top of the system's own.
    pub binds: Vec<Bind>,
    /// Whether the program may write beside its files.
    pub cwd: Cwd,
    /// Whether `/etc/passwd` (one line: the slot's user) can be read.
    pub passwd: bool,
    /// Whether jobs may carry `globals`.
    pub globals: bool,
    /// What becomes of a job that names a profile which is not configured.
    pub unknown_profile: UnknownProfile,
    /// The AppArmor profile to enter, by name.
    pub apparmor: Option<String>,
    /// Whether files in the job's own folders may be executed.
    pub execute_scratch: bool,
    /// The limits of a job that asks for none.
    pub limits: Limits,
    /// The most that a job may ask for.
    pub ceiling: Ceiling,
}

/// What a runtime executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An absolute path as seen inside the jail.
    Path(String),
    /// The job's main file itself; it is made executable.
    MainFile,
}

/// Whether a worker offers a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A worker that does not find the program refuses to start.
    Required,
    /// A worker that does not find the program does not offer the runtime, and says so.
    IfPresent,
}

/// One folder or file of the host that the jail shows read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path inside the jail.
    pub target: String,
    /// Whether a missing source is passed over rather than an error.
    pub optional: bool,
}

/// Who owns the working directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    /// Root: the program reads its files and writes only below `tmp/`.
    ReadOnly,
    /// The slot: compilers need it.
    Writable,
}

/// What becomes of a job that names a profile which is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownProfile {
    /// It is refused.
    Reject,
    /// It runs with the runtime's own limits, as under codejail.
    Default,
}

impl Runtime {
    /// The limits of one run: the job's own over the profile's over the runtime's.
    ///
    /// # Errors
    /// A [`Rejection`] that names the field when a value is zero or above the ceiling.
    pub fn limits_for(
        &self,
        profile: Option<&LimitsRequest>,
        job: &LimitsRequest,
    ) -> Result<Limits, Rejection> {
        let below = match profile {
            Some(profile) => profile.over(&self.limits, &self.ceiling)?,
            None => self.limits,
        };
        job.over(&below, &self.ceiling)
    }

    /// Whether the main file is executed itself and so needs the execute bits.
    #[must_use]
    pub const fn main_executable(&self) -> bool {
        matches!(self.program, Program::MainFile)
    }
}
