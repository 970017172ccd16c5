//! A structural schema as an arena of definitions: what pruning, apply and patches walk.
//!
//! Every object with known fields is a definition. `metadata` is the built-in `ObjectMeta`, copied into
//! the arena because a walk never leaves the arena it started in.

use std::collections::BTreeMap;

use super::{Additional, JsonType, Node};
use crate::schema::{DefId, Definition, Facts, Field, ListType, Raw, Schema, Text, Type, bits, facts};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The arena of a schema and the definition of its root, which is a whole object.
pub(super) fn build(name: &str, root: &Node) -> (Facts, DefId) {
    let mut arena = Arena::default();
    let definition = arena.object(name, root, true);
    arena.out.by_name.insert(Text::Owned(name.to_owned()), definition);
    (arena.out, definition)
}

#[derive(Default)]
struct Arena {
    out: Facts,
    /// Copies of built-in definitions.
    copied: BTreeMap<DefId, DefId>,
}

impl Arena {
    fn reserve(&mut self) -> DefId {
        let id = DefId(u32::try_from(self.out.definitions.len()).unwrap_or(u32::MAX));
        self.out.definitions.push(Definition::default());
        id
    }

    fn put(&mut self, id: DefId, definition: Definition) {
        if let Some(slot) = self.out.definitions.get_mut(id.0 as usize) {
            *slot = definition;
        }
    }

    /// `whole`: an object with `apiVersion`, `kind` and `metadata` of its own.
    fn object(&mut self, name: &str, node: &Node, whole: bool) -> DefId {
        let id = self.reserve();
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        for (key, inner) in &node.properties {
            let ty = self.type_of(&format!("{name}.{key}"), inner);
            fields.insert(key.clone(), field(key, ty, inner, node.required.contains(key)));
        }
        if whole {
            for key in ["apiVersion", "kind"] {
                fields.insert(key.to_owned(), field(key, Type::String, &Node::default(), false));
            }
            if let Some(meta) = facts().schema(OBJECT_META) {
                let ty = self.copy_type(meta);
                fields.insert("metadata".to_owned(), field("metadata", ty, &Node::default(), false));
            }
        }
        let definition = Definition {
            name: Text::Owned(name.to_owned()),
            fields: fields.into_values().collect(),
            atomic: node.atomic_map,
            preserve_unknown: node.preserve_unknown,
            ..Definition::default()
        };
        self.put(id, definition);
        id
    }

    fn type_of(&mut self, name: &str, node: &Node) -> Type {
        if node.int_or_string {
            return Type::IntOrString;
        }
        match node.ty {
            Some(JsonType::String) => Type::String,
            Some(JsonType::Integer) => Type::Int64,
            Some(JsonType::Number) => Type::Number,
            Some(JsonType::Boolean) => Type::Bool,
            Some(JsonType::Array) => match &node.items {
                Some(items) => {
                    let items = self.type_of(&format!("{name}.items"), items);
                    Type::List(self.out.intern(items))
                }
                None => Type::Raw(Raw::Json),
            },
            Some(JsonType::Object) => self.object_type(name, node),
            None => Type::Raw(Raw::Json),
        }
    }

    fn object_type(&mut self, name: &str, node: &Node) -> Type {
        match &node.additional {
            Some(Additional::Schema(values)) if node.properties.is_empty() => {
                let values = self.type_of(&format!("{name}.values"), values);
                Type::Map(self.out.intern(values))
            }
            Some(Additional::Allowed(true)) if node.properties.is_empty() => {
                Type::Map(self.out.intern(Type::Raw(Raw::Json)))
            }
            _ => Type::Object(self.object(name, node, node.embedded)),
        }
    }

    /// A type of the built-in table, with all it leads to.
    fn copy_type(&mut self, schema: Schema<'static>) -> Type {
        match schema.ty() {
            Type::Object(id) => Type::Object(self.copy(id, schema)),
            Type::List(_) => {
                let items = schema.items().map_or(Type::Raw(Raw::Json), |items| self.copy_type(items));
                Type::List(self.out.intern(items))
            }
            Type::Map(_) => {
                let values = schema.values().map_or(Type::Raw(Raw::Json), |values| self.copy_type(values));
                Type::Map(self.out.intern(values))
            }
            scalar => scalar,
        }
    }

    fn copy(&mut self, id: DefId, schema: Schema<'static>) -> DefId {
        if let Some(known) = self.copied.get(&id) {
            return *known;
        }
        let copy = self.reserve();
        self.copied.insert(id, copy);
        let Some(definition) = schema.def() else { return copy };
        let fields = schema
            .fields()
            .map(|field| Field { ty: self.copy_type(field.schema()), ..field.field.clone() })
            .collect();
        self.put(copy, Definition { fields, ..definition.clone() });
        copy
    }
}

fn field(name: &str, ty: Type, node: &Node, required: bool) -> Field {
    let mut marks = bits::POINTER;
    if required {
        marks |= bits::REQUIRED;
    }
    if node.atomic_map {
        marks |= bits::ATOMIC;
    }
    let list = matches!(ty, Type::List(_));
    Field {
        bits: marks,
        // Where a CRD says nothing, apply replaces lists of custom objects as a whole.
        list_type: list.then(|| node.list_type.unwrap_or(ListType::Atomic)),
        list_map_keys: Text::Owned(node.list_map_keys.join(",")),
        ..Field::new(Text::Owned(name.to_owned()), ty)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::VersionSchema;
    use crate::pruning::prune;

    #[test]
    fn a_custom_object_is_pruned_like_any_other() {
        let version = VersionSchema::new(
            "com.example.v1.Widget",
            &json!({
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                             "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                    "labels": {"type": "object", "additionalProperties": {"type": "object", "properties": {"v": {"type": "string"}}}},
                    "any": {"x-kubernetes-preserve-unknown-fields": true},
                    "port": {"x-kubernetes-int-or-string": true},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true},
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                             "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
                }}},
            }),
        );
        let mut object = json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "labels": {"x": "y"}, "odd": 1},
            "spec": {"size": 1, "sise": 2, "free": {"x": 1, "known": {"a": "", "b": ""}},
                     "labels": {"q": {"v": "1", "w": "2"}}, "any": {"a": {"b": 1}}, "port": "http",
                     "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {}},
                     "list": [{"k": "1", "l": 2}]},
        });
        let mut unknown = prune(version.schema(), &mut object);
        unknown.sort();
        assert_eq!(
            unknown,
            [
                "metadata.odd",
                "spec.free.known.b",
                "spec.labels.q.w",
                "spec.list[0].l",
                "spec.sise",
                "spec.template.spec"
            ]
        );
        assert_eq!(object["spec"]["any"], json!({"a": {"b": 1}}));
        let list = version.schema().at("spec.list").unwrap();
        assert_eq!((list.list_type(), list.list_map_keys().collect::<Vec<_>>()), (ListType::Map, vec!["k"]));
        assert_eq!(version.schema().at("metadata.ownerReferences").unwrap().patch_merge_key(), Some("uid"));
    }
}
