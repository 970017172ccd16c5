//! What a strict reader has against a body, in the order in which Go's meets it: that of the document, a key before
//! what is below it, and nothing below a field nobody knows.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::pruning::{MOST_REPORTED, duplicate_field, push_key, unknown_field};
use crate::schema::Schema;

/// `unknown field "spec.foo"`, `duplicate field "spec.replicas"`, …
pub(in crate::codec) fn problems(schema: Schema<'_>, bytes: &[u8]) -> Vec<String> {
    let trail = RefCell::new(Trail::default());
    // Whoever asks has read the same bytes; what cannot be read ends the list.
    let _ = Reader { schema: Some(schema), trail: &trail }
        .deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    trail.into_inner().problems
}

#[derive(Default)]
struct Trail {
    path: String,
    problems: Vec<String>,
}

impl Trail {
    fn note(&mut self, problem: fn(&str) -> String) {
        if self.problems.len() < MOST_REPORTED {
            self.problems.push(problem(&self.path));
        }
    }
}

/// Reads a value of a schema; without one everything is known.
#[derive(Clone, Copy)]
struct Reader<'a> {
    schema: Option<Schema<'a>>,
    trail: &'a RefCell<Trail>,
}

impl<'a> Reader<'a> {
    fn below(self, schema: Option<Schema<'a>>) -> Self {
        Self { schema, ..self }
    }

    /// Who reads the value of a key: nobody if the field is unknown.
    fn field(self, key: &str) -> Option<Self> {
        let Some(schema) = self.schema else { return Some(self) };
        if schema.def().is_none() {
            return Some(self.below(schema.values()));
        }
        let field = schema.field(key).map(|field| self.below(Some(field.schema())));
        field.or_else(|| schema.preserves_unknown().then(|| self.below(None)))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let length = self.trail.borrow().path.len();
        let reader = self.below(self.schema.and_then(|schema| schema.items()));
        for index in 0_usize.. {
            // Writing into a String cannot fail.
            let _ = write!(self.trail.borrow_mut().path, "[{index}]");
            let item = items.next_element_seed(reader)?;
            self.trail.borrow_mut().path.truncate(length);
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let length = self.trail.borrow().path.len();
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            push_key(&mut self.trail.borrow_mut().path, &key);
            match self.field(&key) {
                Some(reader) => {
                    if !seen.insert(key) {
                        self.trail.borrow_mut().note(duplicate_field);
                    }
                    entries.next_value_seed(reader)?;
                }
                None => {
                    self.trail.borrow_mut().note(unknown_field);
                    entries.next_value::<IgnoredAny>()?;
                }
            }
            self.trail.borrow_mut().path.truncate(length);
        }
        Ok(())
    }
}
