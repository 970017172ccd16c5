//! What of an object the columns of a kind read, and a reader that keeps no more: in a list of many objects most of the
//! work would be trees that no cell looks at.
//!
//! Entry points: [`Shape::of`] and [`Shape::read`].

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The members to keep, by name; none means everything below. A list has the shape of its items.
#[derive(Debug, Default, PartialEq)]
pub struct Shape(Vec<(&'static str, Shape)>);

impl Shape {
    /// The shape that holds these paths, such as `spec.containers.name`.
    pub fn of(paths: &[&'static str]) -> Self {
        let mut shape = Self::default();
        for path in paths {
            path.split('.').fold(&mut shape, Self::member);
        }
        shape
    }

    fn member(&mut self, name: &'static str) -> &mut Self {
        let at = self.0.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.0.push((name, Self::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// The part of an object's JSON that has this shape.
    pub fn read(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut reader)?;
        reader.end().map(|()| value)
    }
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        if self.0.is_empty() { Value::deserialize(reader) } else { reader.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for &Shape {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(member) = members.next_key_seed(Member(self))? {
            match member {
                Some((name, shape)) => {
                    kept.insert((*name).to_owned(), members.next_value_seed(shape)?);
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            kept.push(item);
        }
        Ok(Value::Array(kept))
    }

    // What is not an object is kept as it is: a cell finds nothing in it, as it would without a shape.

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

/// Finds the member that a key names, without keeping the key.
struct Member<'a>(&'a Shape);

impl<'de, 'a> DeserializeSeed<'de> for Member<'a> {
    type Value = Option<&'a (&'static str, Shape)>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Member<'a> {
    type Value = Option<&'a (&'static str, Shape)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.iter().find(|(name, _)| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_the_shape_is_kept() {
        let shape = Shape::of(&["kind", "spec.containers.name", "spec.host", "status"]);
        let whole = json!({
            "kind": "Pod", "metadata": {"name": "a"}, "other": [1, {"kind": 2}],
            "spec": {"containers": [{"name": "a\u{e9}\"", "env": [{"name": "x"}]}, {}, null, 3], "host": 1.5, "x": {}},
            "status": {"any": [{"thing": true}]},
        });
        let kept = json!({
            "kind": "Pod", "status": {"any": [{"thing": true}]},
            "spec": {"containers": [{"name": "a\u{e9}\""}, {}, null, 3], "host": 1.5},
        });
        assert_eq!(shape.read(whole.to_string().as_bytes()).unwrap(), kept);
        assert_eq!(Shape::default().read(whole.to_string().as_bytes()).unwrap(), whole);
        for broken in ["{\"kind\":", "{} {}", ""] {
            assert!(shape.read(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
