//! Blobs on the wire: a JSON string, or base64 in an object.

use crate::blob::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A blob as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlobMessage {
    /// Bytes that are UTF-8, where that is the shorter encoding.
    Text(String),
    /// Any other bytes.
    Base64 {
        /// Standard base64 (RFC 4648, section 4) with padding.
        base64: String,
    },
}

impl BlobMessage {
    /// The bytes; `None` for base64 that is not valid.
    pub(super) fn into_blob(self) -> Option<Blob> {
        match self {
            Self::Text(text) => Some(Blob::new(text)),
            Self::Base64 { base64 } => STANDARD.decode(base64).ok().map(Blob::new),
        }
    }
}

impl From<&Blob> for BlobMessage {
    fn from(blob: &Blob) -> Self {
        let bytes = blob.as_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) if string_bytes(text) <= base64_bytes(bytes.len()) => {
                Self::Text(text.to_owned())
            }
            Ok(_) | Err(_) => Self::Base64 {
                base64: STANDARD.encode(bytes),
            },
        }
    }
}

/// How long `text` is as a JSON string.
fn string_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => "\\u0000".len(),
        _ => 1,
    };
    text.bytes().map(escaped).sum::<usize>() + "\"\"".len()
}

/// How long that many bytes are as base64 in an object.
const fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + r#"{"base64":""}"#.len()
}

impl Serialize for BlobMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Base64 { base64 } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", base64)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for BlobMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrBase64)
    }
}

struct TextOrBase64;

impl<'de> Visitor<'de> for TextOrBase64 {
    type Value = BlobMessage;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or {\"base64\": \"…\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<BlobMessage, E> {
        Ok(BlobMessage::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<BlobMessage, E> {
        Ok(BlobMessage::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BlobMessage, A::Error> {
        use serde::de::Error as _;
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "base64" {
                return Err(A::Error::unknown_field(&key, &["base64"]));
            }
            if found.is_some() {
                return Err(A::Error::duplicate_field("base64"));
            }
            found = Some(map.next_value::<String>()?);
        }
        let base64 = found.ok_or_else(|| A::Error::missing_field("base64"))?;
        Ok(BlobMessage::Base64 { base64 })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for BlobMessage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Blob".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Text or bytes: a string where the bytes are UTF-8, else base64.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "base64": {
                            "description": "Standard base64 (RFC 4648, section 4) with padding.",
                            "type": "string",
                        },
                    },
                    "required": ["base64"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shorter_encoding_is_chosen_and_reads_back(bytes: Vec<u8>) {
            let blob = Blob::new(bytes.clone());
            let message = BlobMessage::from(&blob);
            let chosen = serde_json::to_string(&message).expect("strings always encode");
            let base64 = serde_json::to_string(&BlobMessage::Base64 {
                base64: STANDARD.encode(&bytes),
            }).expect("strings always encode");
            let text = String::from_utf8(bytes).ok();
            let text = text.map(|text| serde_json::to_string(&text).expect("strings encode"));
            let shortest = text.map_or(base64.len(), |text| text.len().min(base64.len()));
            prop_assert_eq!(chosen.len(), shortest);
            let read: BlobMessage = serde_json::from_str(&chosen).expect("just written");
            prop_assert_eq!(read.into_blob(), Some(blob));
        }
    }
}
