//! A change that counts: so much of the monitor's own units, or a share of the value before.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The least change that counts; written as a number such as 0.01, or as a share such as `"1%"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// In the monitor's own units.
    By(f64),
    /// A share of the value that is to be beaten.
    Share(f64),
}

impl Default for Change {
    fn default() -> Self {
        Self::By(0.0)
    }
}

impl Change {
    /// What it comes to from `value` on.
    pub fn from(self, value: f64) -> f64 {
        match self {
            Self::By(change) => change,
            Self::Share(share) => share * value.abs(),
        }
    }

    /// Its number; a share as a fraction.
    pub fn number(self) -> f64 {
        match self {
            Self::By(number) | Self::Share(number) => number,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::By(change) => write!(formatter, "{change}"),
            // Of the digits that were written, not of those of the fraction.
            Self::Share(share) => write!(formatter, "{}%", (share * 1e14).round() / 1e12),
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::By(change) => serializer.serialize_f64(*change),
            Self::Share(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(change) => Ok(Self::By(change)),
            Written::Text(text) => {
                // As decimals are read: 0.7% is 0.007, not a hundredth of what 0.7 comes to.
                let share =
                    text.trim().strip_suffix('%').and_then(|number| format!("{}e-2", number.trim()).parse().ok());
                let refused =
                    || de::Error::custom(format!("expected a number or a share such as \"1%\", found {text:?}"));
                share.map(Self::Share).ok_or_else(refused)
            }
        }
    }
}

impl JsonSchema for Change {
    fn schema_name() -> Cow<'static, str> {
        "Change".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A change: a number in the monitor's own units, or a share of the value before, such as \"1%\".",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": "^\\s*[0-9.]+\\s*%\\s*$"}],
        })
    }
}
