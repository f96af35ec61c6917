//! A list of steps, of which each is performed, and a closing account.

use crate::clock::Stopwatch;
use crate::table::Table;
use anyhow::{Result, bail};

/// Steps performed so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, f64, Option<String>)>,
    /// Lines that must be seen at the end, however much was printed meanwhile.
    closing: Vec<String>,
}

impl Steps {
    /// Performs a step. A failure is noted, and the steps after it are performed as well: people
    /// want to see all that is wrong in one run.
    pub(crate) fn perform(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n=== {name}");
        let watch = Stopwatch::start();
        let failure = step().err().map(|error| format!("failed to {error:#}"));
        if let Some(words) = &failure {
            println!("{name} {words}");
        }
        self.done
            .push((name.to_owned(), watch.elapsed().as_secs_f64(), failure));
    }

    /// Remembers a line for the end.
    pub(crate) fn remember(&mut self, line: String) {
        self.closing.push(line);
    }

    /// Prints the account.
    pub(crate) fn conclude(self) -> Result<()> {
        let mut table = Table::new(&["step", "seconds", ""]);
        for (name, seconds, failure) in &self.done {
            let word = if failure.is_none() { "ok" } else { "FAILED" };
            table.row([name.clone(), format!("{seconds:.1}"), word.to_owned()]);
        }
        println!("\n=== account\n{}", table.render());
        for (name, _, failure) in &self.done {
            if let Some(words) = failure {
                println!("{name} {words}");
            }
        }
        for line in &self.closing {
            println!("{line}");
        }
        let failed = self
            .done
            .iter()
            .filter(|(_, _, failure)| failure.is_some())
            .count();
        if failed > 0 {
            bail!("get through {failed} of {} steps", self.done.len());
        }
        Ok(())
    }
}
