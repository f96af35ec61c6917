//! What the commands share that look at kept messages: their errors, their ids, their tables.

use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use jailfleet::units::clipped;
use jailfleet_program::output;
use jailfleet_queue::amqp::shelf::ShelfError;
use sha2::{Digest, Sha256};

use crate::cli::Exit;
use crate::input::hex;
use crate::results::ResultsError;

/// Why a look at what is kept came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The broker says no.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The results file does not do.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The file system, or stdout, says no.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl KeptError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Results(ResultsError::Damaged { .. })
            | Self::Shelf(ShelfError::BadUri { .. }) => Exit::BadInput,
            Self::Shelf(
                ShelfError::Broker { .. }
                | ShelfError::NotSent { .. }
                | ShelfError::Blocked { .. }
                | ShelfError::BadReplyTo(_),
            )
            | Self::Results(ResultsError::Io { .. })
            | Self::Io { .. } => Exit::Failed,
        }
    }
}

/// The name of a message on the command line: its own id, or one made of its body.
pub(crate) fn id_of(message_id: Option<&str>, body: &Bytes) -> String {
    match message_id {
        Some(id) if !id.is_empty() => id.to_owned(),
        Some(_) | None => {
            let digest = hex(&Sha256::digest(body));
            format!("sha256:{}", digest.get(..12).unwrap_or(&digest))
        }
    }
}

/// A table for people. Its cells come from strangers: they are cut, and whatever would steer a
/// terminal is escaped.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![
        head.iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<_>>(),
    ];
    lines.extend(
        rows.iter()
            .map(|row| row.iter().map(|cell| clipped(cell)).collect()),
    );
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            write!(shown, "{cell:<width$}  ").expect("writing to a String cannot fail");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// A stranger's text of many lines, safe to show.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if character == '\n' || !character.is_control() {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// Prints data.
pub(crate) fn print(text: &str) -> Result<(), KeptError> {
    output::print(text.as_bytes()).map_err(|source| KeptError::Io {
        action: "write to stdout",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_its_columns_up_and_escapes_what_steers_a_terminal() {
        let rows = vec![vec!["a\u{1b}[2J".to_owned(), "b".to_owned()]];
        let text = table(&["id", "reason"], &rows);
        assert_eq!(text, "id          reason\na\\u{1b}[2J  b\n");
        assert_eq!(shown("a\n\u{9b}b\r"), "a\n\\u{9b}b\\r");
    }

    #[test]
    fn a_message_without_an_id_is_named_by_its_body() {
        let body = Bytes::from_static(b"x");
        assert_eq!(id_of(Some("a"), &body), "a");
        assert_eq!(id_of(None, &body), "sha256:2d711642b726");
        assert_eq!(id_of(Some(""), &body), id_of(None, &body));
    }
}
