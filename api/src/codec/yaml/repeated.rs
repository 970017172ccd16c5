//! Where a document repeats keys, as Go's strict reader says it.

use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::Options;

use crate::pruning::MOST_REPORTED;

/// `line 7: key "replicas" already set in map`, …
pub(super) fn lines(text: &str, options: Options) -> Vec<String> {
    let keys = serde_saphyr::from_str_with_options::<Keys>(text, options);
    let mut lines = Vec::new();
    // Whoever asks has read the same text; what cannot be read has no lines.
    if let Ok(keys) = keys {
        collect(&keys, &mut lines);
    }
    lines
}

fn collect(keys: &Keys, lines: &mut Vec<String>) {
    match keys {
        Keys::List(items) => items.iter().for_each(|item| collect(item, lines)),
        Keys::Map(entries) => {
            let mut seen = BTreeSet::new();
            for (key, value) in entries {
                collect(&value.value, lines);
                if !seen.insert(key) && lines.len() < MOST_REPORTED {
                    lines.push(format!("line {}: key {key:?} already set in map", value.referenced.line()));
                }
            }
        }
        Keys::None => {}
    }
}

/// Keys of a document and where their values begin.
enum Keys {
    Map(Vec<(String, Spanned<Keys>)>),
    List(Vec<Keys>),
    None,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Keys;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_none<E>(self) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_unit<E>(self) -> Result<Keys, E> {
        Ok(Keys::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Keys, D::Error> {
        Keys::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Keys::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Keys::Map(map))
    }
}
