//! What the comparison found, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Difference, Verdict};

/// One job that was compared, or could not be.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    pub(super) line: u64,
    pub(super) job_id: String,
    pub(super) verdict: Verdict,
    /// How long each side took; absent where it never answered.
    pub(super) codejail: Option<Duration>,
    pub(super) jailfleet: Option<Duration>,
}

impl Compared {
    /// One object, for pipes.
    pub(super) fn to_json(&self) -> Value {
        let ms = |span: Option<Duration>| span.map(millis);
        let mut object = json!({
            "line": self.line,
            "job_id": self.job_id,
            "verdict": self.verdict.as_str(),
            "codejail_ms": ms(self.codejail),
            "jailfleet_ms": ms(self.jailfleet),
        });
        let more = match &self.verdict {
            Verdict::Equal => None,
            Verdict::Different(found) => {
                let found: Vec<Value> = found.iter().map(difference).collect();
                Some(("differences", Value::from(found)))
            }
            Verdict::NotCompared(why) => Some(("why", json!(why))),
        };
        if let (Some((name, value)), Some(members)) = (more, object.as_object_mut()) {
            members.insert(name.to_owned(), value);
        }
        object
    }

    /// Some lines, for people. Nothing of what a program wrote reaches the terminal unescaped.
    fn to_text(&self) -> String {
        let mut text = format!("line {}, job {}: ", self.line, self.job_id);
        match &self.verdict {
            Verdict::Equal => text.push_str("equal\n"),
            Verdict::NotCompared(why) => {
                text.push_str(&format!("not compared: {}\n", escaped(why)));
            }
            Verdict::Different(found) => {
                text.push_str("different\n");
                for one in found {
                    text.push_str(&format!(
                        "  {}\n    codejail   {}\n    jailfleet  {}\n",
                        one.what,
                        escaped(&one.codejail),
                        escaped(&one.jailfleet)
                    ));
                }
            }
        }
        text
    }
}

impl Verdict {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different(_) => "different",
            Self::NotCompared(_) => "not_compared",
        }
    }
}

fn difference(one: &Difference) -> Value {
    json!({ "what": one.what, "codejail": one.codejail, "jailfleet": one.jailfleet })
}

/// Control characters and what turns text around, as escapes; quotes and backslashes as they are.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) equal: u64,
    pub(super) different: u64,
    pub(super) not_compared: u64,
    skipped_lines: usize,
    /// The first that were not equal, to be shown.
    shown: Vec<Compared>,
    codejail: Vec<Duration>,
    jailfleet: Vec<Duration>,
}

impl Report {
    /// Nothing yet, of an input with so many bad lines.
    pub(super) fn beside(skipped_lines: usize) -> Self {
        Self {
            skipped_lines,
            ..Self::default()
        }
    }

    /// Counts one more, and keeps it if fewer than `most` were kept that are not equal.
    pub(super) fn add(&mut self, one: Compared, most: usize) {
        match one.verdict {
            Verdict::Equal => self.equal += 1,
            Verdict::Different(_) => self.different += 1,
            Verdict::NotCompared(_) => self.not_compared += 1,
        }
        self.codejail.extend(one.codejail);
        self.jailfleet.extend(one.jailfleet);
        if one.verdict != Verdict::Equal && self.shown.len() < most {
            self.shown.push(one);
        }
    }

    /// How many there are.
    pub(super) const fn jobs(&self) -> u64 {
        self.equal + self.different + self.not_compared
    }

    /// The last line for pipes.
    pub(super) fn summary(&mut self, missing: u64) -> Value {
        json!({ "summary": {
            "jobs": self.jobs() + missing,
            "equal": self.equal,
            "different": self.different,
            "not_compared": self.not_compared,
            "missing": missing,
            "skipped_lines": self.skipped_lines,
            "codejail_ms": spans(&mut self.codejail),
            "jailfleet_ms": spans(&mut self.jailfleet),
        }})
    }

    /// The report for people.
    pub(super) fn table(&mut self, missing: u64) -> String {
        let mut text: String = self.shown.iter().map(Compared::to_text).collect();
        let silent = (self.different + self.not_compared)
            .saturating_sub(u64::try_from(self.shown.len()).unwrap_or(u64::MAX));
        if silent > 0 {
            text.push_str(&format!(
                "and {silent} more that are not equal: --show tells them, --json all\n"
            ));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        self.write_counts(missing, &mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write_counts(&mut self, missing: u64, out: &mut String) -> std::fmt::Result {
        let rows = [
            ("equal", self.equal),
            ("different", self.different),
            ("not compared", self.not_compared),
            ("not yet", missing),
        ];
        writeln!(out, "{:<16}{:>9}", "verdict", "jobs")?;
        for (name, count) in rows {
            if name != "not yet" || count > 0 {
                writeln!(out, "{name:<16}{count:>9}")?;
            }
        }
        writeln!(out, "\n{:<16}{:>9}{:>9}{:>9}", "ms", "p50", "p95", "max")?;
        for (name, spans) in [
            ("codejail", &mut self.codejail),
            ("jailfleet", &mut self.jailfleet),
        ] {
            if let Some([half, most, all]) = quantiles(spans) {
                writeln!(out, "{name:<16}{half:>9.1}{most:>9.1}{all:>9.1}")?;
            }
        }
        if self.skipped_lines > 0 {
            writeln!(
                out,
                "\n{} bad lines of the input were passed over",
                self.skipped_lines
            )?;
        }
        Ok(())
    }
}

fn spans(spans: &mut [Duration]) -> Value {
    let count = spans.len();
    match quantiles(spans) {
        Some([half, most, all]) => json!({ "count": count, "p50": half, "p95": most, "max": all }),
        None => json!({ "count": 0 }),
    }
}

/// The middle one, the one that 95 of 100 are not above, and the longest, in milliseconds.
fn quantiles(spans: &mut [Duration]) -> Option<[f64; 3]> {
    spans.sort_unstable();
    let last = spans.len().checked_sub(1)?;
    let at = |percent: usize| spans.get(last * percent / 100).copied().map(millis);
    Some([at(50)?, at(95)?, at(100)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(line: u64, verdict: Verdict) -> Compared {
        Compared {
            line,
            job_id: format!("j{line}"),
            verdict,
            codejail: Some(Duration::from_millis(40)),
            jailfleet: Some(Duration::from_millis(line)),
        }
    }

    #[test]
    fn the_table_counts_all_and_shows_the_first_that_are_not_equal() {
        let different = Verdict::Different(vec![Difference {
            what: "globals.x".to_owned(),
            codejail: "1".to_owned(),
            jailfleet: "\"\u{1b}[31m\"".to_owned(),
        }]);
        let mut report = Report::default();
        report.add(compared(1, Verdict::Equal), 2);
        report.add(compared(2, different), 2);
        for line in 3..6 {
            report.add(
                compared(line, Verdict::NotCompared("codejail: no answer".to_owned())),
                2,
            );
        }
        assert_eq!(
            report.table(4),
            "line 2, job j2: different\n  globals.x\n    codejail   1\n    jailfleet  \"\\u{1b}[31m\"\n\
             line 3, job j3: not compared: codejail: no answer\n\
             and 2 more that are not equal: --show tells them, --json all\n\n\
             verdict              jobs\nequal                   1\ndifferent               1\n\
             not compared            3\nnot yet                 4\n\n\
             ms                    p50      p95      max\ncodejail             40.0     40.0     40.0\n\
             jailfleet             3.0      4.0      5.0\n"
        );
        let summary = report.summary(0);
        assert_eq!(summary["summary"]["jobs"], 5);
        assert_eq!(summary["summary"]["codejail_ms"]["p50"], 40.0);
    }
}
