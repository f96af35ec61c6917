//! A list of steps, of which each is performed, and a closing account.

use crate::clock::Stopwatch;
use crate::table::Table;
use anyhow::{Error, Result, anyhow, bail};

/// Both of two things that were done one after the other, also after a failure of the first: what the
/// second one says is told with it, and not lost.
pub(crate) fn both(first: Result<()>, second: Result<()>) -> Result<()> {
    match first {
        Err(error) => Err(told_with(error, second)),
        Ok(()) => second,
    }
}

/// A failure, with the words of what was done after it where that failed as well.
pub(crate) fn told_with(error: Error, second: Result<()>) -> Error {
    match second {
        Err(second) => anyhow!("{error:#}; and after that it failed to {second:#}"),
        Ok(()) => error,
    }
}

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
        let total: f64 = self.done.iter().map(|(_, seconds, _)| seconds).sum();
        table.row([
            "all of them".to_owned(),
            format!("{total:.1}"),
            String::new(),
        ]);
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

#[cfg(test)]
mod tests {
    use super::both;
    use anyhow::anyhow;

    #[test]
    fn a_second_failure_is_told_with_the_first() {
        let words = |first, second| both(first, second).err().map(|error| format!("{error:#}"));
        let fail = |what: &'static str, why: &'static str| Err(anyhow!(why).context(what));
        assert_eq!(words(Ok(()), Ok(())), None);
        let first = || fail("get results", "none came");
        let second = || fail("remove a group", "busy");
        assert_eq!(
            words(first(), Ok(())),
            Some("get results: none came".into())
        );
        assert_eq!(words(Ok(()), second()), Some("remove a group: busy".into()));
        assert_eq!(
            words(first(), second()),
            Some("get results: none came; and after that it failed to remove a group: busy".into())
        );
    }
}
