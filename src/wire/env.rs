//! Arguments and environment: what may be set, and how much of it.

use super::WireCaps;
use super::message::EnvMessage;
use super::vet::within;
use crate::rejection::{Rejection, RejectionCode};

/// Names that a job may not set, because they steer the loader, the C library or an interpreter
/// before the program's first line runs, or because the jail itself sets them.
const STEERING: &[&str] = &[
    // Set by the jail.
    "PATH",
    "HOME",
    "TMPDIR",
    // The C library (those that it drops itself in programs of raised privilege, and their kin).
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
    // Shells.
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PS4",
    "SHELLOPTS",
    // Interpreters.
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "RUBYLIB",
    "RUBYOPT",
    "LUA_INIT",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    // Libraries that load further code.
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
];

/// The same, by how names begin.
const STEERING_PREFIXES: &[&str] = &["LD_", "DYLD_", "MALLOC_", "BASH_FUNC_", "LUA_INIT_"];

/// What the kernel adds for each argument and variable: a NUL byte and a pointer.
const ENTRY_BYTES: usize = 9;

/// Whether a job may not set the variable `name`.
#[must_use]
pub fn is_steering(name: &str) -> bool {
    STEERING.contains(&name)
        || STEERING_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The arguments of a job.
pub(super) fn argv(argv: Vec<String>, caps: &WireCaps) -> Result<Vec<String>, Rejection> {
    within("argv", argv.len(), caps.argv)?;
    if let Some(place) = argv.iter().position(|argument| argument.contains('\0')) {
        let text = format!("argv[{place}]: holds a NUL byte: leave it out");
        return Err(Rejection::new(RejectionCode::BadArgv, text));
    }
    let bytes = argv
        .iter()
        .map(|argument| argument.len() + ENTRY_BYTES)
        .sum::<usize>();
    if bytes > caps.argument_bytes {
        let text = format!("argv: {bytes} bytes; send at most {}", caps.argument_bytes);
        return Err(Rejection::new(RejectionCode::BadArgv, text));
    }
    Ok(argv)
}

/// The variables of a job, which share their room with its arguments.
pub(super) fn variables(
    EnvMessage(variables): EnvMessage,
    argv: &[String],
    caps: &WireCaps,
) -> Result<Vec<(String, String)>, Rejection> {
    within("env", variables.len(), caps.env)?;
    let mut bytes = argv
        .iter()
        .map(|argument| argument.len() + ENTRY_BYTES)
        .sum::<usize>();
    for (name, value) in &variables {
        let refuse = |complaint: &str| {
            Err(Rejection::about(RejectionCode::BadEnv, name, complaint).in_field("env"))
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            return refuse("is no variable's name: use one without = and NUL bytes");
        }
        if value.contains('\0') {
            return refuse("has a value with a NUL byte: leave it out");
        }
        if is_steering(name) {
            return refuse("may not be set by a job: leave it out");
        }
        bytes += name.len() + value.len() + 1 + ENTRY_BYTES;
    }
    if bytes > caps.argument_bytes {
        let text = format!(
            "env: {bytes} bytes with argv; send at most {}",
            caps.argument_bytes
        );
        return Err(Rejection::new(RejectionCode::BadEnv, text));
    }
    Ok(variables)
}
