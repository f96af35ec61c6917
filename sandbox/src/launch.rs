//! A runtime made ready for exec: every string as the kernel takes it, before any job arrives.

use crate::apparmor::Profile;
use crate::payload::{MAX_ARGUMENTS, MAX_VARIABLES};
use crate::sys::exec::Strings;
use jailfleet::limits::Ceiling;
use jailfleet::runtime::{Bind, Cwd, Program, Runtime};
use std::ffi::{CStr, CString};

/// Where every program is searched for.
const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";

/// One runtime of the config, as the jail's child needs it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What is executed: an absolute path, or the main file relative to the working directory.
    pub program: CString,
    /// Arguments between the program and the main file.
    pub args: Vec<CString>,
    /// The main file's name.
    pub main_file: CString,
    /// Whether the main file is what is executed: then it needs its execute bits and is no argument.
    pub main_is_program: bool,
    /// The runtime's own environment.
    pub env: Vec<CString>,
    /// Who owns the working directory.
    pub cwd: Cwd,
    /// What of the host's files it sees: the targets of the system's binds and of its own.
    pub readable: Vec<String>,
    /// Whether `/etc/passwd` can be read.
    pub passwd: bool,
    /// The AppArmor profile that the child enters; `None` where the host does not enforce AppArmor, or
    /// does not have the profile, which is then a missing wall.
    pub profile: Option<Profile>,
    /// Whether files of the scratch may be executed.
    pub execute_scratch: bool,
    /// Whether a run of it may bring a harness.
    pub harness: Harness,
    /// The most that a plan may ask for.
    pub ceiling: Ceiling,
}

/// Whether runs of a runtime may have a harness, which is given two descriptors more than others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harness {
    /// The runtime has globals: a job may ask for them.
    Allowed,
    /// It has none.
    Never,
}

/// Why a runtime cannot be launched: a NUL byte in the config.
#[derive(Debug, thiserror::Error)]
#[error("prepare the runtime {runtime}: its config holds a NUL byte")]
pub struct NulInRuntime {
    runtime: String,
    source: std::ffi::NulError,
}

impl Launch {
    /// Makes a runtime ready.
    ///
    /// # Errors
    /// [`NulInRuntime`] when a string of it cannot be handed to the kernel.
    pub fn prepare(runtime: &Runtime, system_binds: &[Bind]) -> Result<Self, NulInRuntime> {
        Self::strings(runtime, system_binds).map_err(|source| NulInRuntime {
            runtime: runtime.name.to_string(),
            source,
        })
    }

    fn strings(runtime: &Runtime, system_binds: &[Bind]) -> Result<Self, std::ffi::NulError> {
        let variables = runtime.env.iter();
        Ok(Self {
            program: match &runtime.program {
                Program::Path(path) => CString::new(path.as_str())?,
                Program::MainFile => CString::new(format!("./{}", runtime.main_file))?,
            },
            args: runtime
                .args
                .iter()
                .map(|arg| CString::new(arg.as_str()))
                .collect::<Result<_, _>>()?,
            main_file: CString::new(runtime.main_file.as_str())?,
            main_is_program: runtime.main_executable(),
            env: variables
                .map(|(name, value)| CString::new(format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            cwd: runtime.cwd,
            readable: system_binds
                .iter()
                .chain(&runtime.binds)
                .map(|bind| bind.target.clone())
                .collect(),
            passwd: runtime.passwd,
            profile: None,
            execute_scratch: runtime.execute_scratch,
            harness: if runtime.globals {
                Harness::Allowed
            } else {
                Harness::Never
            },
            ceiling: runtime.ceiling,
        })
    }
}

/// The variables that every program gets, for one scratch.
#[derive(Debug)]
pub struct CleanEnvironment {
    variables: [CString; 3],
}

impl CleanEnvironment {
    /// PATH, HOME and TMPDIR; the last two are `tmp` in the working directory.
    ///
    /// # Errors
    /// When the path holds a NUL byte.
    pub fn of(working_directory: &str) -> Result<Self, std::ffi::NulError> {
        Ok(Self {
            variables: [
                CString::new(PATH)?,
                CString::new(format!("HOME={working_directory}/tmp"))?,
                CString::new(format!("TMPDIR={working_directory}/tmp"))?,
            ],
        })
    }
}

/// Room for the arguments of any job of this runtime.
#[must_use]
pub fn room_for_arguments<'a>(launch: &Launch) -> Strings<'a> {
    Strings::with_room(
        launch
            .args
            .len()
            .saturating_add(MAX_ARGUMENTS)
            .saturating_add(2),
    )
}

/// Room for the environment of any job of this runtime.
#[must_use]
pub fn room_for_environment<'a>(launch: &Launch) -> Strings<'a> {
    Strings::with_room(
        launch
            .env
            .len()
            .saturating_add(MAX_VARIABLES)
            .saturating_add(3),
    )
}

/// Appends the clean variables and the runtime's to the job's, leaving out each name that is
/// already there. Never allocates; `false` when there is no room.
#[must_use]
pub fn complete_environment<'a>(
    env: &mut Strings<'a>,
    launch: &'a Launch,
    clean: &'a CleanEnvironment,
) -> bool {
    let below = launch.env.iter().chain(&clean.variables);
    below
        .map(CString::as_c_str)
        .all(|variable| has_name_of(env, variable) || env.push(variable))
}

fn has_name_of(env: &Strings<'_>, variable: &CStr) -> bool {
    let name = name_of(variable);
    env.iter().any(|other| name_of(other) == name)
}

fn name_of(variable: &CStr) -> &[u8] {
    variable
        .to_bytes()
        .split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default()
}
