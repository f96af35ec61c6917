//! Somebody who stays behind when a test is killed, and clears up what the test could not.
//!
//! A process that a signal ends runs no destructors. So a small shell holds the other end of a pipe: it
//! hears the end of whoever started it, however that came, ends every process that bears the mark of a
//! folder, and removes the folder.

use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::process::command;

/// Bears a folder's path in the environment of every process that belongs to it.
const MARK: &str = "JAILFLEET_WATCHED";

/// TERM first, for programs that close their files, and KILL for what is there after ten seconds. A mark
/// is looked for anew each time, since a number may belong to somebody else by then.
const SCRIPT: &str = r#"
cat > /dev/null
marked() { grep -lszxF "JAILFLEET_WATCHED=$1" /proc/[0-9]*/environ | cut -d/ -f3; }
for signal in TERM KILL; do
    pids=$(marked "$1")
    [ -n "$pids" ] && kill -s "$signal" $pids
    looks=0
    while [ -n "$(marked "$1")" ] && [ "$looks" -lt 100 ]; do
        sleep 0.1
        looks=$((looks + 1))
    done
done
rm -rf -- "$1"
"#;

/// The shell that waits for our end. It is to be dropped after what it watches over.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
}

impl Watcher {
    /// Starts to watch over `folder` and everything that bears its [`mark`].
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn over(folder: &Path) -> Result<Self> {
        let mut shell = command("sh");
        shell
            .args(["-c", SCRIPT, "jailfleet-watcher"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends a test ends its process group.
            .process_group(0);
        let child = shell.spawn().context("start a watcher")?;
        Ok(Self { child })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // This is what it waits for. By now there is nothing left for it to do.
        drop(self.child.stdin.take());
        match self.child.wait() {
            Ok(status) if status.success() => {}
            ended => eprintln!("a watcher perhaps left something behind: {ended:?}"),
        }
    }
}

/// Gives a command the mark of `folder`: it, and whatever it starts, ends with the folder.
pub fn mark<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.env(MARK, folder)
}

#[cfg(test)]
mod tests {
    use super::{SCRIPT, Watcher, mark};
    use crate::process::{Owned, command};
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn whoever_bears_the_mark_of_a_folder_ends_with_the_watch_and_nobody_else() {
        let own = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        let start = |folder: &tempfile::TempDir| {
            let mut sleep = command("sleep");
            Owned::start("sleep", mark(sleep.arg("600"), folder.path())).expect("it starts")
        };
        let (mut ours, mut theirs) = (start(&own), start(&other));
        drop(Watcher::over(own.path()).expect("a shell"));
        assert!(!own.path().exists(), "its folder is there");
        let ended = ours.ended().expect("a look").expect("its end");
        assert_eq!(ended.signal(), Some(15), "it was asked to end first");
        assert!(other.path().exists(), "the folder of somebody else is gone");
        assert!(theirs.ended().expect("a look").is_none());
    }

    #[test]
    fn the_script_looks_for_the_mark_that_is_given() {
        assert!(SCRIPT.contains(&format!("{}=", super::MARK)));
    }
}
