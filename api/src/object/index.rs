//! The few facts selectors ask of an object, read from its bytes without building a tree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::kinds::Text;

/// What a field selector sees where the field is absent and its zero is not the empty string.
const ZEROS: [(&str, &str); 4] = [
    ("spec.unschedulable", "false"),
    ("spec.hostNetwork", "false"),
    ("status.replicas", "0"),
    ("status.succeeded", "0"),
];

/// What selectors and the garbage collector ask of an object, parsed once from its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Whether `metadata.deletionTimestamp` is there: a deletion has begun.
    pub deleting: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields by path, such as `spec.nodeName`; absent fields are absent here, except
    /// numbers and booleans, which read as their zero.
    pub fields: BTreeMap<String, String>,
}

impl Index {
    /// Reads `bytes`, the JSON of an object, once, and remembers the `selectable` paths. What is not a
    /// JSON object gives an empty index: the store only holds objects it encoded itself.
    pub fn parse(bytes: &[u8], selectable: &[Text]) -> Self {
        let mut index = Self::default();
        let wanted: Vec<Wanted<'_>> = selectable.iter().map(|path| Wanted { path, rest: path }).collect();
        for (path, zero) in ZEROS {
            if selectable.iter().any(|s| s == path) {
                index.fields.insert(path.to_owned(), zero.to_owned());
            }
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let walk = Walk { index: &mut index, wanted, place: Place::Root };
        // A parse error leaves what was read before it.
        let _ = json.deserialize_any(walk);
        index
    }

    /// The value of an indexed path; empty if absent.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            _ => self.fields.get(path).map(String::as_str).unwrap_or_default(),
        }
    }
}

/// A selectable path and what of it is still below the current place.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    path: &'a str,
    rest: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Metadata,
    Labels,
    Elsewhere,
}

/// Visits one value; `wanted` lists the paths that go through it.
struct Walk<'a, 'i> {
    index: &'i mut Index,
    wanted: Vec<Wanted<'a>>,
    place: Place,
}

impl<'a> Walk<'a, '_> {
    /// Keeps a scalar if a path ends here.
    fn keep(self, text: impl fmt::Display) {
        for wanted in self.wanted.iter().filter(|w| w.rest.is_empty()) {
            self.index.fields.insert(wanted.path.to_owned(), text.to_string());
        }
    }

    fn below(&self, key: &str) -> Vec<Wanted<'a>> {
        self.wanted
            .iter()
            .filter_map(|w| {
                let rest = w.rest.strip_prefix(key)?;
                let rest = if rest.is_empty() { rest } else { rest.strip_prefix('.')? };
                Some(Wanted { path: w.path, rest })
            })
            .collect()
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep(text);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let place = match (self.place, key.as_ref()) {
                (Place::Root, "metadata") => Place::Metadata,
                (Place::Metadata, "labels") => Place::Labels,
                (Place::Metadata, "name") => {
                    self.index.name = map.next_value()?;
                    continue;
                }
                (Place::Metadata, "namespace") => {
                    self.index.namespace = map.next_value()?;
                    continue;
                }
                (Place::Metadata, "deletionTimestamp") => {
                    let time = map.next_value::<Option<Key<'de>>>()?;
                    self.index.deleting = time.is_some_and(|Key(time)| !time.is_empty());
                    continue;
                }
                (Place::Labels, _) => {
                    let value = map.next_value()?;
                    self.index.labels.insert(key.into_owned(), value);
                    continue;
                }
                _ => Place::Elsewhere,
            };
            let wanted = self.below(&key);
            if wanted.is_empty() && place == Place::Elsewhere {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Walk { index: &mut *self.index, wanted, place })?;
            }
        }
        Ok(())
    }
}

/// A map key, borrowed unless it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_and_fields_and_skips_the_rest() {
        let bytes = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"b",
            "labels":{"x":"1","y\u002fz":"2"},"annotations":{"name":"no"}},
            "spec":{"nodeName":"n","containers":[{"name":"c"}],"hostNetwork":true,"deep":{"nodeName":"no"}},
            "status":{"phase":"Running","podIP":null}}"#;
        let paths: Vec<Text> =
            ["spec.nodeName", "spec.hostNetwork", "status.phase", "status.podIP", "spec.no"]
                .map(Text::from)
                .to_vec();
        let index = Index::parse(bytes, &paths);
        assert_eq!((index.name.as_str(), index.namespace.as_str()), ("a", "b"));
        assert_eq!(index.labels, BTreeMap::from([("x".into(), "1".into()), ("y/z".into(), "2".into())]));
        let fields = [("spec.hostNetwork", "true"), ("spec.nodeName", "n"), ("status.phase", "Running")];
        assert_eq!(index.fields, fields.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(!index.deleting);
        assert_eq!(index.field("metadata.name"), "a");
        assert_eq!(index.field("status.podIP"), "");
    }

    #[test]
    fn knows_that_a_deletion_has_begun() {
        for (time, deleting) in [("\"2026-01-01T00:00:00Z\"", true), ("null", false), ("\"\"", false)] {
            let bytes = format!(r#"{{"metadata":{{"deletionTimestamp":{time},"name":"a"}}}}"#);
            let index = Index::parse(bytes.as_bytes(), &[]);
            assert_eq!((index.deleting, index.name.as_str()), (deleting, "a"), "{time}");
        }
    }

    #[test]
    fn absent_booleans_and_numbers_read_as_zero() {
        let index = Index::parse(b"{}", &["spec.unschedulable".into(), "type".into()]);
        assert_eq!(index.fields, [("spec.unschedulable".to_owned(), "false".to_owned())].into());
        assert_eq!(Index::parse(b"[1]", &["type".into()]), Index::default());
    }
}
