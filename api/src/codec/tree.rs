//! Builds a JSON tree from any self-describing format and notes keys that occur twice.

use std::cell::RefCell;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Duplicates, Tree};
use crate::pruning::{MOST_REPORTED, push_key};

/// Reads one value.
pub(super) fn build<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
    let trail = RefCell::new(Trail::default());
    let value = Builder { trail: &trail }.deserialize(deserializer)?;
    Ok(Tree { value, duplicates: Duplicates::Fields(trail.into_inner().duplicates) })
}

#[derive(Default)]
struct Trail {
    path: String,
    duplicates: Vec<String>,
}

#[derive(Clone, Copy)]
struct Builder<'a> {
    trail: &'a RefCell<Trail>,
}

impl<'de> DeserializeSeed<'de> for Builder<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number JSON cannot hold"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let length = self.trail.borrow().path.len();
        let mut list = Vec::new();
        loop {
            // Writing into a String cannot fail.
            let _ = write!(self.trail.borrow_mut().path, "[{}]", list.len());
            let item = items.next_element_seed(self)?;
            self.trail.borrow_mut().path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let length = self.trail.borrow().path.len();
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let key = key_text::<A::Error>(key)?;
            push_key(&mut self.trail.borrow_mut().path, &key);
            let value = entries.next_value_seed(self)?;
            let mut trail = self.trail.borrow_mut();
            if map.insert(key, value).is_some() && trail.duplicates.len() < MOST_REPORTED {
                let path = trail.path.clone();
                trail.duplicates.push(path);
            }
            trail.path.truncate(length);
        }
        Ok(Value::Object(map))
    }
}

/// YAML keys may be scalars of any kind; JSON's are texts.
fn key_text<E: Error>(key: Value) -> Result<String, E> {
    match key {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(on) => Ok(on.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Array(_) | Value::Object(_) => Err(E::custom("a key must be a scalar")),
    }
}
