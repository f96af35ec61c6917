//! What is wrong with a configuration, all of it at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The dotted key, or empty where a whole source is unreadable.
    pub key: String,
    /// The value as given, redacted where it is secret; `None` where there is none.
    pub value: Option<String>,
    /// What would be right: a range, a list of words, the nearest known key.
    pub expected: String,
    /// Where the value stands: a file's name, a variable, a flag.
    pub source: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.expected)
    }
}

/// Everything that is wrong; never empty. Its `Display` has one line for each mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(mistake, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistake {}

impl std::error::Error for Mistakes {}
