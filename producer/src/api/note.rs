//! What gateways tell each other through the logbook. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::correlation::CorrelationId;
use crate::input::hex;

/// The version of the notes. One of another version is passed over.
const VERSION: u32 = 1;

/// A note, in the order in which they follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub(super) enum Note {
    /// These jobs will be published, unless another note came first for one of them.
    Accepted {
        /// Tells who accepted them.
        nonce: String,
        /// When, by the gateway's clock.
        at_ms: u64,
        /// The jobs.
        jobs: Vec<Accepted>,
    },
    /// The broker has them.
    Sent {
        /// Who accepted them.
        nonce: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// They were not published: nobody accepted them.
    Withdrawn {
        /// Who accepted them.
        nonce: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// A lost worker's word about this job stands: no better one came. One job a note: the note's
    /// number is the place of this in the order of events.
    GivenUp {
        /// Its id.
        id: String,
    },
}

/// One job of a note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    /// `<tenant>:<id>`.
    pub(super) id: String,
    /// `<tenant>:<batch>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) batch: Option<String>,
    /// SHA-256 of the job, which tells a repetition from another job.
    pub(super) content: String,
    /// SHA-256 of its correlation id.
    pub(super) secret: String,
    /// The nonce of an earlier note whose gateway is believed dead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) instead_of: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    #[serde(flatten)]
    note: &'a Note,
}

#[derive(Deserialize)]
struct Read {
    v: u32,
    #[serde(flatten)]
    note: Note,
}

impl Note {
    /// The note as a message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let written = Written {
            v: VERSION,
            note: self,
        };
        serde_json::to_vec(&written).expect("texts and numbers can be written")
    }

    /// Reads one; `None` for what this version does not know.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let read: Read = serde_json::from_slice(body).ok()?;
        (read.v == VERSION).then_some(read.note)
    }
}

/// What is kept of a secret.
pub(super) fn secret(correlation: CorrelationId) -> String {
    hex(&Sha256::digest(correlation.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_read_back_and_other_texts_are_passed_over() {
        let job = |batch: Option<&str>| Accepted {
            id: "exams:a".to_owned(),
            batch: batch.map(str::to_owned),
            content: "c".to_owned(),
            secret: "s".to_owned(),
            instead_of: None,
        };
        let (nonce, ids) = ("n".to_owned(), vec!["exams:a".to_owned()]);
        for note in [
            Note::Accepted {
                nonce: nonce.clone(),
                at_ms: 7,
                jobs: vec![job(None), job(Some("exams:b"))],
            },
            Note::Sent {
                nonce: nonce.clone(),
                ids: ids.clone(),
            },
            Note::Withdrawn { nonce, ids },
            Note::GivenUp {
                id: "exams:a".to_owned(),
            },
        ] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        for text in [
            "",
            "{}",
            r#"{"v":2,"note":"given_up","id":"a"}"#,
            r#"{"v":1,"note":"novel","id":"a"}"#,
        ] {
            assert_eq!(Note::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_note_tells_nobody_the_secret() {
        let correlation = CorrelationId::random();
        assert!(!secret(correlation).contains(&correlation.to_string()));
        assert_eq!(secret(correlation).len(), 64);
    }
}
