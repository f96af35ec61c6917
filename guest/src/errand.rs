//! One errand, from its group to its end.

use crate::children::Children;
use crate::groups::ErrandGroup;
use anyhow::{Context, Result};
use jailfleet_guest::{DESK, End, Errand, Left, PLAIN_ID, User, output_names};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What every errand's environment holds.
const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
];

/// Runs the errand's program and waits until nothing of it is left.
pub(crate) fn perform(
    number: usize,
    errand: &Errand,
    children: &mut Children,
) -> Result<(End, Left)> {
    let mut command = match command(number, errand)? {
        Some(command) => command,
        None => {
            return Ok((
                End::NotStarted("there is no program".to_owned()),
                Left::Nothing,
            ));
        }
    };
    let group = ErrandGroup::make(number, errand.user)?;
    let result = match group.inside(|| command.spawn())? {
        // Reaped with all the others, by pid.
        Ok(child) => {
            let pid = i32::try_from(child.id()).context("read a pid")?;
            children.finish(Pid::from_raw(pid), Duration::from_millis(errand.limit_ms))?
        }
        Err(error) => (End::NotStarted(error.to_string()), Left::Nothing),
    };
    group.remove()?;
    Ok(result)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the guest that starts programs"
)]
fn command(number: usize, errand: &Errand) -> Result<Option<Command>> {
    let Some((program, arguments)) = errand.argv.split_first() else {
        return Ok(None);
    };
    let [out, err] = output_names(number).map(|name| {
        let path = Path::new(DESK).join(name);
        File::create(&path).with_context(|| format!("open {}", path.display()))
    });
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&errand.cwd)
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .stdout(out?)
        .stderr(err?);
    match errand.user {
        User::Root => command.env("HOME", "/root"),
        // This drops every other group, too.
        User::Plain => command
            .env("HOME", "/home/plain")
            .uid(PLAIN_ID)
            .gid(PLAIN_ID),
    };
    command.envs(errand.env.iter().map(|(name, value)| (name, value)));
    Ok(Some(command))
}
