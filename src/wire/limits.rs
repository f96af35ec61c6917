//! Limits on the wire: as a job asks for them, and as a result tells them.

use super::given::Given;
use crate::job::ProfileName;
use crate::limits::LimitsRequest;
use crate::result::LimitsInForce;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

macro_rules! limits_message {
    ($($(#[$doc:meta])* $name:ident >= $least:literal,)*) => {
        /// Limits: whole numbers, each optional.
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(rename = "Limits"))]
        pub(super) struct LimitsMessage {
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Given::is_absent")]
                #[cfg_attr(feature = "schema", schemars(with = "u64", range(min = $least)))]
                pub(super) $name: Given<Whole>,
            )*
        }

        impl LimitsMessage {
            /// The numbers, where they are whole and have a meaning; else the first one that is
            /// not, as `(field, value, least)`.
            pub(super) fn request(
                self,
            ) -> Result<LimitsRequest, (&'static str, String, u64)> {
                Ok(LimitsRequest {
                    $($name: match self.$name.0 {
                        None => None,
                        Some(Whole::Number(number)) if reaches(number, $least) => Some(number),
                        Some(whole) => return Err((stringify!($name), whole.text(), $least)),
                    },)*
                })
            }
        }

        /// The limits that were in force, and where they came from.
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(rename = "LimitsInForce"))]
        pub(super) struct LimitsInForceMessage {
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Given::is_absent")]
                $name: Given<u64>,
            )*
            /// The profile that they came from, where the job named one that exists.
            #[serde(default, skip_serializing_if = "Given::is_absent")]
            profile: Given<String>,
            /// Hex SHA-256 of the worker's effective config.
            config_digest: String,
        }

        impl LimitsInForceMessage {
            /// The limits; the error names the field that is missing or has no meaning.
            pub(super) fn in_force(self) -> Result<LimitsInForce, &'static str> {
                let limits = LimitsRequest { $($name: self.$name.0,)* }.complete()?;
                let profile = match self.profile.0 {
                    None => None,
                    Some(name) => Some(ProfileName::parse(&name).or(Err("profile"))?),
                };
                Ok(LimitsInForce { limits, profile, config_digest: self.config_digest })
            }
        }

        impl From<&LimitsInForce> for LimitsInForceMessage {
            fn from(in_force: &LimitsInForce) -> Self {
                let limits = LimitsRequest::from(in_force.limits);
                Self {
                    $($name: Given(limits.$name),)*
                    profile: Given(in_force.profile.as_ref().map(ToString::to_string)),
                    config_digest: in_force.config_digest.clone(),
                }
            }
        }

        impl From<LimitsRequest> for LimitsMessage {
            fn from(limits: LimitsRequest) -> Self {
                Self { $($name: Given(limits.$name.map(Whole::Number)),)* }
            }
        }
    };
}

limits_message! {
    /// CPU time of all processes together, in milliseconds.
    cpu_ms >= 1_u64,
    /// Wall time, in milliseconds.
    wall_ms >= 1_u64,
    /// Memory of all processes and of the scratch files together, in bytes.
    memory_bytes >= 1_u64,
    /// Address space of each process, in bytes.
    address_space_bytes >= 1_u64,
    /// Size of one file, in bytes; 0: no file may grow.
    file_bytes >= 0_u64,
    /// Size of all scratch files together, in bytes.
    disk_bytes >= 1_u64,
    /// Files and folders in the scratch.
    disk_files >= 1_u64,
    /// Tasks (processes and threads) of the program at one time.
    processes >= 1_u64,
    /// Open descriptors of each process.
    open_files >= 1_u64,
    /// stdout and stderr together, in bytes.
    output_bytes >= 1_u64,
    /// Stack of the main thread, in bytes.
    stack_bytes >= 1_u64,
}

/// A function, because a comparison with a least value of zero would be called useless.
const fn reaches(number: u64, least: u64) -> bool {
    number >= least
}

/// What stands where a whole number should. Anything can be read, so that a refusal can name field,
/// value and range instead of a position in the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Whole {
    /// A whole number.
    Number(u64),
    /// Anything else, as it would be written.
    Other(String),
}

impl Whole {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Other(text) => text,
        }
    }
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Other(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(number) => Self::Number(number),
                None => Self::Other(number.to_string()),
            },
            serde_json::Value::String(text) => Self::Other(text),
            serde_json::Value::Null => Self::Other("null".to_owned()),
            serde_json::Value::Bool(truth) => Self::Other(truth.to_string()),
            serde_json::Value::Array(_) => Self::Other("an array".to_owned()),
            serde_json::Value::Object(_) => Self::Other("an object".to_owned()),
        })
    }
}
