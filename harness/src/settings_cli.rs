//! `check-config` and `print-config` of a built program, run as an operator runs them.
//!
//! What the worker and the producer have in common is asked of both in the same words. A step here
//! sees that all is as it must be, or panics with what the program said.

use tempfile::NamedTempFile;

use crate::process::command;

/// A file of settings that vanishes with the test.
#[derive(Debug)]
pub struct Site(NamedTempFile);

impl Site {
    /// One with this text.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn of(text: &str) -> Self {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writable");
        Self(file)
    }

    /// Its path, as an argument.
    ///
    /// # Panics
    /// When the folder for temporary files has a name that is no text.
    pub fn name(&self) -> &str {
        self.0.path().to_str().expect("a plain path")
    }
}

/// How a program ended, and what it wrote until then.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Said {
    /// The end with `code` of a program that wrote to its standard error alone.
    pub fn on_stderr(code: i32, stderr: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            stdout: String::new(),
            stderr: stderr.into(),
        }
    }

    /// Sees that the program ended with `code` after the line `first` and one line for each of
    /// `mistakes`, in any order; `{file}` in them stands for the name of `site`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn assert_all_told(&self, code: i32, first: &str, mistakes: &[&str], site: &Site) {
        let said = &self.stderr;
        assert_eq!(*self, Self::on_stderr(code, said), "nothing but refused");
        let (begun, lines) = said.split_once('\n').expect("several lines");
        assert_eq!(begun, first);
        let lines: Vec<&str> = lines.lines().collect();
        for mistake in mistakes {
            let mistake = mistake.replace("{file}", site.name());
            assert!(
                lines.contains(&mistake.as_str()),
                "{mistake}\nis not among\n{said}"
            );
        }
        assert_eq!(lines.len(), mistakes.len(), "{said}");
    }
}

/// A built program that reads the settings.
#[derive(Debug, Clone, Copy)]
pub struct SettingsCli {
    executable: &'static str,
}

impl SettingsCli {
    /// That of this path.
    pub const fn of(executable: &'static str) -> Self {
        Self { executable }
    }

    /// Runs it with these arguments and no variables but these.
    ///
    /// # Panics
    /// When it does not start, or writes what is no text.
    pub fn run(self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        // What ran last explains a step that failed.
        eprintln!("{arguments:?} {variables:?}");
        let output = command(self.executable)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
        Said {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs it with a standard output that nobody reads any more, as `head` leaves it.
    ///
    /// # Panics
    /// When it does not start, or writes what is no text.
    pub fn into_a_closed_pipe(self, arguments: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(self.executable)
            .args(arguments)
            .env_clear()
            .stdout(writer)
            .output()
            .expect("the program starts");
        Said {
            code: output.status.code(),
            stdout: String::new(),
            stderr: String::from_utf8(output.stderr).expect("it writes UTF-8"),
        }
    }

    /// Sees that each of these commands, which print and do nothing else, ends well and without a word though
    /// nobody reads what it prints.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn assert_quiet_in_a_closed_pipe(self, commands: &[&[&str]]) {
        for arguments in commands {
            let said = self.into_a_closed_pipe(arguments);
            assert_eq!(said, Said::on_stderr(0, ""), "{arguments:?}");
        }
    }

    /// What `print-config`, which is one of `arguments`, says is in force, as TOML.
    ///
    /// # Panics
    /// When it has anything to say against it.
    #[track_caller]
    pub fn printed(self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let Said {
            code,
            stdout,
            stderr,
        } = self.run(arguments, variables);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    }

    /// Sees that a file of this text is called good, wherever its name stands, and that the
    /// defaults are.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn assert_good(self, text: &str) {
        let site = Site::of(text);
        for arguments in [
            &["check-config"][..],
            &["check-config", "--config", site.name()],
            &["--config", site.name(), "check-config"],
        ] {
            let good = Said::on_stderr(0, "the configuration is good\n");
            assert_eq!(self.run(arguments, &[]), good, "{arguments:?}");
        }
    }

    /// Sees that both commands end with `code` over a file of this text and a broker's `uri` in the
    /// variables, if it is not empty, and that neither tells `secret`.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn assert_untold(self, secret: &str, (text, uri, code): (&str, &str, i32)) {
        let site = Site::of(text);
        let variables = [("JAILFLEET__AMQP__URI", uri)];
        let variables = if uri.is_empty() { &[] } else { &variables[..] };
        for command in ["check-config", "print-config"] {
            let said = self.run(&["--config", site.name(), command], variables);
            assert_eq!(said.code, Some(code), "{said:?}");
            let told = said.stdout.contains(secret) || said.stderr.contains(secret);
            assert!(!told, "{command}: {said:?}");
        }
    }

    /// Sees that it ends with 2 and `words` on its standard error alone.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn assert_refused(self, arguments: &[&str], words: &str) {
        let said = self.run(arguments, &[]);
        assert_eq!(said, Said::on_stderr(2, &said.stderr), "{arguments:?}");
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
    }
}

/// Sees that `line` is one of the lines of `page`.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_line(page: &str, line: &str) {
    assert!(page.lines().any(|found| found == line), "{line}\n{page}");
}
