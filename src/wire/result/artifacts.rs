//! Artifacts as they travel in a result, and their conversions.

use super::super::blob::BlobMessage;
use super::super::given::Given;
use crate::artifact::{Artifact, ArtifactPath, LeftOut, LeftOutReason};
use crate::job::RelativePath;
use serde::{Deserialize, Serialize};

/// A file that the run left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Artifact"))]
pub(super) struct ArtifactMessage {
    /// Where it lay, relative to the working directory.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    path: String,
    /// Its bytes.
    content: BlobMessage,
    /// Whether it may be executed; false where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    executable: Given<bool>,
}

/// Something that was wanted and is not delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "LeftOut"))]
pub(super) struct LeftOutMessage {
    /// What; a folder's path ends in a slash.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1025)))]
    path: String,
    /// Why.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = reasons())))]
    reason: String,
}

#[cfg(feature = "schema")]
fn reasons() -> Vec<&'static str> {
    LeftOutReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect()
}

/// A list as it travels: an empty one is left out.
pub(super) fn list<'a, T, M: From<&'a T>>(entries: &'a [T]) -> Given<Vec<M>> {
    Given((!entries.is_empty()).then(|| entries.iter().map(M::from).collect()))
}

impl From<&Artifact> for ArtifactMessage {
    fn from(artifact: &Artifact) -> Self {
        Self {
            path: artifact.path.as_str().to_owned(),
            content: (&artifact.content).into(),
            executable: Given(artifact.executable.then_some(true)),
        }
    }
}

impl From<&LeftOut> for LeftOutMessage {
    fn from(left_out: &LeftOut) -> Self {
        Self {
            path: left_out.path.to_string(),
            reason: left_out.reason.as_str().to_owned(),
        }
    }
}

/// The artifacts; `None` where a path could lead elsewhere, or content is none.
pub(super) fn artifacts(messages: Given<Vec<ArtifactMessage>>) -> Option<Vec<Artifact>> {
    let typed = messages.0.unwrap_or_default().into_iter().map(|message| {
        Some(Artifact {
            path: RelativePath::parse(&message.path).ok()?,
            content: message.content.into_blob()?,
            executable: message.executable.0.unwrap_or(false),
        })
    });
    typed.collect()
}

/// What was left out; `None` where a path is none.
pub(super) fn left_out(messages: Given<Vec<LeftOutMessage>>) -> Option<Vec<LeftOut>> {
    let typed = messages.0.unwrap_or_default().into_iter().map(|message| {
        Some(LeftOut {
            path: ArtifactPath::parse(&message.path).ok()?,
            // This list is closed for whoever writes, and a newer worker may know more.
            reason: LeftOutReason::parse(&message.reason).unwrap_or(LeftOutReason::Other),
        })
    });
    typed.collect()
}
