//! The job message as it travels, field by field. What its values mean is vetted elsewhere.

use super::blob::BlobMessage;
use super::given::{Given, Object};
use super::limits::LimitsMessage;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One execution job: a program, what it gets, and what it may use.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(title = "jailfleet job, version 1", rename = "Job")
)]
pub(super) struct JobMessage {
    /// The version of the format: 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    pub(super) v: u64,
    /// The minor version that the producer speaks; 0 where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) minor: Given<u64>,
    /// The job's id. Where it is left out, the message's `message_id` is taken.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,128}$"))
    )]
    pub(super) id: Given<String>,
    /// The runtime that runs the program.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,63}$"))
    )]
    pub(super) runtime: String,
    /// The content of the runtime's main file.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) code: Given<BlobMessage>,
    /// Files and folders that the job brings.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) files: Given<Vec<Object<FileMessage>>>,
    /// Arguments after the main file.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) argv: Given<Vec<String>>,
    /// Variables on top of the clean environment.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, String>")
    )]
    pub(super) env: Given<EnvMessage>,
    /// Standard input.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) stdin: Given<BlobMessage>,
    /// A JSON object as text: the code runs with it as its globals.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) globals: Given<String>,
    /// Folders or zip files among `files` that Python imports from. Only with `globals`.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) python_path: Given<Vec<String>>,
    /// Paths of files that the run leaves behind and that the result is to bring; one that ends in a
    /// slash is a folder with all its files. Since minor version 1.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) artifacts: Given<Vec<String>>,
    /// The limits that the job asks for.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) limits: Given<Object<LimitsMessage>>,
    /// A named set of limits in the worker's config.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 255)))]
    pub(super) limit_profile: Given<String>,
    /// A name for people: it appears in logs and in the result.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub(super) slug: Given<String>,
    /// The pool of machines; `default` where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,63}$"))
    )]
    pub(super) pool: Given<String>,
    /// `interactive` or `bulk`; `bulk` where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["interactive", "bulk"])))]
    pub(super) lane: Given<String>,
    /// Groups jobs for progress and cancelling.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub(super) batch: Given<String>,
    /// The moment, RFC 3339, after which the job is not started any more.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub(super) deadline: Given<String>,
    /// Grading instructions. Refused until grading is built.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) grade: Given<serde_json::Map<String, serde_json::Value>>,
}

/// A file or a folder that a job brings.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "File"))]
pub(super) struct FileMessage {
    /// A relative path without `.`, `..` and empty parts; a folder's may end in a slash.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub(super) path: String,
    /// The file's bytes; a folder has none.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) content: Given<BlobMessage>,
    /// Whether the file may be executed; false where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) executable: Given<bool>,
    /// Whether it is a folder; false where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    pub(super) directory: Given<bool>,
}

/// An object of strings, in its own order, no name twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct EnvMessage(pub(super) Vec<(String, String)>);

impl Serialize for EnvMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for EnvMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesAndValues)
    }
}

struct NamesAndValues;

impl<'de> Visitor<'de> for NamesAndValues {
    type Value = EnvMessage;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnvMessage, A::Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut variables = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if !seen.insert(name.clone()) {
                // The name is a stranger's, and serde's own error takes only fixed ones.
                return Err(serde::de::Error::custom(super::refuse::TWICE));
            }
            variables.push((name, value));
        }
        Ok(EnvMessage(variables))
    }
}
