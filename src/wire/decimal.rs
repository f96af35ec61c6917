//! Milliseconds with up to three decimals.

use crate::units::Elapsed;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use std::time::Duration;

/// A span of time in milliseconds, with up to three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecimalMs(pub(super) Elapsed);

impl Serialize for DecimalMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (ms, micros) = (self.0.micros() / 1000, self.0.micros() % 1000);
        if micros == 0 {
            return serializer.serialize_u64(ms);
        }
        // By way of the decimal text: a division would add digits that were never measured.
        let decimal: f64 = format!("{ms}.{micros:03}")
            .parse()
            .map_err(S::Error::custom)?;
        serializer.serialize_f64(decimal)
    }
}

impl<'de> Deserialize<'de> for DecimalMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = f64::deserialize(deserializer)?;
        let span = Duration::try_from_secs_f64(ms / 1000.0).map_err(D::Error::custom)?;
        // The nearest microsecond: the division has left the decimal grid.
        Ok(Self(Elapsed::from(
            span.saturating_add(Duration::from_nanos(500)),
        )))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for DecimalMs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Milliseconds".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0 })
    }
}
