//! Which of the configured runtimes this host can run: those whose program is there.

use std::path::{Path, PathBuf};

use jailfleet::runtime::{Bind, Presence, Program, Runtime};
use jailfleet::settings::WorkerSettings;
use thiserror::Error;

/// The runtimes that this worker offers.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    offered: Vec<bool>,
}

/// A required program is not there.
#[derive(Debug, Error)]
#[error(
    "find {program}, the program of runtime {runtime}: install it, correct runtimes.{runtime}.program, or say presence = \"if-present\" there"
)]
pub struct MissingProgram {
    /// The runtime's name.
    pub runtime: String,
    /// Its program, as seen inside the jail.
    pub program: String,
}

impl Offer {
    /// Looks for every runtime's program.
    ///
    /// # Errors
    /// [`MissingProgram`] for the first required one that is not there.
    pub fn survey(settings: &WorkerSettings) -> Result<Self, MissingProgram> {
        let mut offered = Vec::with_capacity(settings.runtimes.len());
        for runtime in &settings.runtimes {
            let there = match &runtime.program {
                Program::MainFile => true,
                Program::Path(program) => on_host(program, runtime, &settings.warden.system_binds)
                    .is_some_and(|path| path.exists()),
            };
            match (there, runtime.presence, &runtime.program) {
                (false, Presence::Required, Program::Path(program)) => {
                    let runtime = runtime.name.as_str().to_owned();
                    return Err(MissingProgram {
                        runtime,
                        program: program.clone(),
                    });
                }
                (false, Presence::IfPresent, _) => {
                    tracing::warn!(
                        runtime = runtime.name.as_str(),
                        "a runtime is not offered: its program is not there"
                    );
                }
                (true, _, _) | (false, Presence::Required, Program::MainFile) => {}
            }
            offered.push(there);
        }
        Ok(Self { offered })
    }

    /// All of them, whatever there is.
    #[cfg(test)]
    pub(crate) fn of_all(settings: &WorkerSettings) -> Self {
        let offered = vec![true; settings.runtimes.len()];
        Self { offered }
    }

    /// Whether the runtime of that index is offered.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.offered.get(index).copied().unwrap_or(false)
    }

    /// The names of the offered runtimes.
    pub fn names<'a>(&'a self, settings: &'a WorkerSettings) -> impl Iterator<Item = &'a str> {
        let all = settings.runtimes.iter().enumerate();
        all.filter(|(index, _)| self.has(*index))
            .map(|(_, runtime)| runtime.name.as_str())
    }
}

/// Where the host keeps what the jail sees as `program`: the bind with the longest target above it.
fn on_host(program: &str, runtime: &Runtime, system: &[Bind]) -> Option<PathBuf> {
    let program = Path::new(program);
    runtime
        .binds
        .iter()
        .chain(system)
        .filter_map(|bind| Some((bind, program.strip_prefix(&bind.target).ok()?)))
        .max_by_key(|(bind, _)| bind.target.len())
        .map(|(bind, rest)| {
            let source = PathBuf::from(&bind.source);
            if rest.as_os_str().is_empty() {
                source
            } else {
                source.join(rest)
            }
        })
}
