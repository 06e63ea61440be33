//! The file as it is written, one field a key. Every value is optional here and
//! keeps its place, so that `validate` can say what is missing and where.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Config {
    pub(super) agent: Option<Spanned<Agent>>,
    #[serde(default)]
    pub(super) service: Vec<Spanned<Service>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Agent {
    pub(super) interfaces: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) xdp_mode: Option<Spanned<String>>,
    pub(super) pin_path: Option<Spanned<String>>,
    pub(super) api: Option<Spanned<String>>,
    pub(super) api_group: Option<Spanned<String>>,
    pub(super) state: Option<Spanned<String>>,
    pub(super) flows: Option<Spanned<i64>>,
    pub(super) damping: Option<Spanned<Table<Damping>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Damping {
    pub(super) half_life: Option<Spanned<DurationText>>,
    pub(super) suppress: Option<Spanned<i64>>,
    pub(super) reuse: Option<Spanned<i64>>,
    pub(super) max_suppress: Option<Spanned<DurationText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Service {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) protocol: Option<Spanned<String>>,
    pub(super) forward: Option<Spanned<String>>,
    pub(super) failback: Option<Spanned<String>>,
    pub(super) hold_down: Option<Spanned<DurationText>>,
    pub(super) on_failure: Option<Spanned<String>>,
    pub(super) passive: Option<Spanned<bool>>,
    pub(super) silence: Option<Spanned<DurationText>>,
    pub(super) takeovers_per_hour: Option<Spanned<i64>>,
    pub(super) patience: Option<Spanned<DurationText>>,
    pub(super) ready_timeout: Option<Spanned<DurationText>>,
    pub(super) during_switch: Option<Spanned<String>>,
    pub(super) start: Option<Spanned<Table<Hook>>>,
    pub(super) promote: Option<Spanned<Table<Hook>>>,
    pub(super) fence: Option<Spanned<Table<Hook>>>,
    pub(super) demote: Option<Spanned<Table<Hook>>>,
    pub(super) stop: Option<Spanned<Table<Hook>>>,
    pub(super) notify: Option<Spanned<Table<Hook>>>,
    pub(super) heartbeat: Option<Spanned<Table<Heartbeat>>>,
    #[serde(default)]
    pub(super) check: Vec<Spanned<Check>>,
    #[serde(default)]
    pub(super) ready: Vec<Spanned<Check>>,
    #[serde(default)]
    pub(super) backend: Vec<Spanned<Backend>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Heartbeat {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) interval: Option<Spanned<DurationText>>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) fall: Option<Spanned<i64>>,
    pub(super) rise: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Check {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) interval: Option<Spanned<DurationText>>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) fall: Option<Spanned<i64>>,
    pub(super) rise: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Backend {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) priority: Option<Spanned<i64>>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) standby: Option<Spanned<String>>,
    pub(super) stands_in_for: Option<Spanned<String>>,
    pub(super) start: Option<Spanned<Table<Hook>>>,
    pub(super) promote: Option<Spanned<Table<Hook>>>,
    pub(super) fence: Option<Spanned<Table<Hook>>>,
    pub(super) demote: Option<Spanned<Table<Hook>>>,
    pub(super) stop: Option<Spanned<Table<Hook>>>,
}

/// The hooks of a service or a backend; no table of its own in the file.
#[derive(Debug)]
pub(super) struct Hooks {
    pub(super) start: Option<Spanned<Table<Hook>>>,
    pub(super) promote: Option<Spanned<Table<Hook>>>,
    pub(super) fence: Option<Spanned<Table<Hook>>>,
    pub(super) demote: Option<Spanned<Table<Hook>>>,
    pub(super) stop: Option<Spanned<Table<Hook>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Hook {
    pub(super) command: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) http: Option<Spanned<String>>,
    pub(super) method: Option<Spanned<String>>,
    pub(super) systemd: Option<Spanned<String>>,
    pub(super) wake: Option<Spanned<String>>,
    pub(super) broadcast: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) retries: Option<Spanned<i64>>,
    pub(super) backoff: Option<Spanned<DurationText>>,
    pub(super) required: Option<Spanned<bool>>,
}

/// A table and nothing else: a derived struct would also be read from an array,
/// its keys by position.
#[derive(Debug)]
pub(super) struct Table<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
    type Value = Table<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Table)
    }
}

/// A duration as it is written. A bare number is kept: the mistake is its
/// missing unit, and "expected a string" would not say so.
#[derive(Debug)]
pub(super) struct DurationText(pub(super) String);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = DurationText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, as in \"500ms\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<DurationText, E> {
        Ok(DurationText(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<DurationText, E> {
        Ok(DurationText(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<DurationText, E> {
        Ok(DurationText(number.to_string()))
    }
}
