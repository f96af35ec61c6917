//! `import-codejail`: turns the settings of a codejail into a worker's configuration.
//!
//! Read, `read::settings` says all that is wrong with them at once; `limits` decides what each
//! limit becomes; `page` writes that down with its reasons. What comes out is read by the
//! configuration's own reader before anybody sees it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use jailfleet::settings::{self, Mistakes, SourceText};
use jailfleet_program::output;

use crate::cli::{Exit, ImportArgs};
use crate::progress::say;

mod read;
mod limits;
mod page;

pub use read::{CodeJail, Stranger};

/// No settings file of a course platform comes near this.
const MOST_BYTES: usize = 16 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// It is too large to be what it should be.
    #[error("read {path}: has more than {MOST_BYTES} bytes; give the dictionary CODE_JAIL alone")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// Settings are wrong.
    #[error("read the settings:\n{0}")]
    Wrong(Mistakes),
    /// What came of them is no configuration.
    #[error("make a configuration that a worker takes of these settings:\n{0}")]
    Unfit(Mistakes),
    /// There is such a file.
    #[error("write {path}: it is there already; name another file, or move it away")]
    Exists {
        /// The file.
        path: String,
    },
    /// The file cannot be written.
    #[error("write {path}")]
    Write {
        /// The file.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
}

impl ImportError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::TooLarge { .. } | Self::Wrong(_) | Self::Exists { .. } => {
                Exit::BadInput
            }
            Self::Unfit(_) | Self::Write { .. } => Exit::Failed,
        }
    }
}

/// Reads the settings that the arguments name, and prints or writes the configuration.
///
/// # Errors
/// When the settings cannot be read or are wrong, or the configuration cannot be written.
pub fn run(args: &ImportArgs) -> Result<Exit, ImportError> {
    let name = args.settings.display().to_string();
    let text = text_of(&args.settings)?;
    let (configuration, strangers) = convert(&name, &text)?;
    for stranger in strangers {
        say(&format!("jailfleet-producer: {name}: {stranger}"));
    }
    match &args.output {
        None => {
            let printed = output::print(configuration.as_bytes());
            printed.map_err(|source| ImportError::Write {
                path: "to stdout".to_owned(),
                source,
            })?;
        }
        Some(path) => {
            keep(path, &configuration)?;
            let path = path.display();
            say(&format!(
                "jailfleet-producer: wrote {path}; read it, then: jailfleet-worker --config {path}"
            ));
        }
    }
    Ok(Exit::Done)
}

/// The configuration for the settings in `text`, and the settings that codejail does not know either.
///
/// # Errors
/// Everything that is wrong with the settings.
pub fn convert(name: &str, text: &str) -> Result<(String, Vec<Stranger>), ImportError> {
    let jail = read::settings(name, text).map_err(ImportError::Wrong)?;
    let defaults = settings::worker_settings(None, &[], &[]).map_err(ImportError::Unfit)?;
    let configuration = page::of(name, &jail, &defaults);
    let source = SourceText {
        name: "the new configuration",
        text: &configuration,
    };
    settings::worker_settings(Some(source), &[], &[]).map_err(ImportError::Unfit)?;
    Ok((configuration, jail.strangers))
}

fn text_of(path: &Path) -> Result<String, ImportError> {
    let shown = || path.display().to_string();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(most + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(most + 1).read_to_string(&mut text))
    };
    // Cut off in the middle of a letter it is no text, and too large all the same.
    match read {
        Ok(bytes) if bytes <= MOST_BYTES => Ok(text),
        Ok(_) => Err(ImportError::TooLarge { path: shown() }),
        Err(source) => Err(ImportError::Read {
            path: shown(),
            source,
        }),
    }
}

fn keep(path: &Path, configuration: &str) -> Result<(), ImportError> {
    let shown = || path.display().to_string();
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = made.map_err(|source| {
        let path = shown();
        if source.kind() == io::ErrorKind::AlreadyExists {
            ImportError::Exists { path }
        } else {
            ImportError::Write { path, source }
        }
    })?;
    let written = file.write_all(configuration.as_bytes());
    written.and_then(|()| file.sync_data()).map_err(|source| {
        // Half a configuration helps nobody, and would be in the way of the next attempt.
        if let Err(error) = std::fs::remove_file(path) {
            say(&format!(
                "jailfleet-producer: half of {} stays: {error}; remove it",
                path.display()
            ));
        }
        let path = shown();
        ImportError::Write { path, source }
    })
}

#[cfg(test)]
mod tests;
