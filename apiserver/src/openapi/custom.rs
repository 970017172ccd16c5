//! Definitions of custom kinds: what their CRDs say, with what every object has.
//!
//! For 2.0 the parts its readers cannot cope with are left out: choices, nullable types, and the fields of
//! objects that may have any. Source: apiextensions' `openapi/builder` and `openapi/v2`.

use api::kinds::Kind;
use serde_json::{Map, Value, json};

use super::definitions::Dialect;

pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(super) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What a field means that every object and list has, for definitions whose source does not say.
pub(super) fn common_field(name: &str) -> Option<&'static str> {
    match name {
        "apiVersion" => Some(API_VERSION),
        "kind" => Some(KIND),
        _ => None,
    }
}

/// Name of the list's definition.
pub(super) fn list_definition(kind: &Kind) -> String {
    let head = kind.definition.strip_suffix(kind.kind.as_ref()).unwrap_or_default();
    format!("{head}{}", kind.list_kind())
}

/// The schema of the kind.
pub(super) fn definition(kind: &Kind, dialect: Dialect) -> Value {
    let schema = kind.custom.as_ref().map(|custom| custom.schema.open_api.clone()).unwrap_or_default();
    let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let mut out = if schema.is_null() || (dialect == Dialect::V2 && free) {
        json!({"type": "object"})
    } else {
        let mut out = schema;
        if dialect == Dialect::V2 {
            for_readers_of_v2(&mut out);
        }
        embedded(&mut out, dialect);
        typed(&mut out, OBJECT_META, METADATA, dialect);
        out
    };
    out["x-kubernetes-group-version-kind"] = gvk(kind, &kind.kind);
    if let Some(fields) = selectable(kind) {
        out["x-kubernetes-selectable-fields"] = fields;
    }
    out
}

/// The schema of the list.
pub(super) fn list(kind: &Kind, dialect: Dialect) -> Value {
    let name = kind.list_kind();
    let about = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        kind.plural
    );
    let items = json!({"description": about, "type": "array", "items": dialect.reference(&kind.definition)});
    let mut out = json!({
        "description": format!("{name} is a list of {}", kind.kind), "type": "object", "required": ["items"],
        "properties": {"items": items},
    });
    let metadata = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    typed(&mut out, LIST_META, metadata, dialect);
    out["x-kubernetes-group-version-kind"] = gvk(kind, &name);
    out
}

fn gvk(kind: &Kind, name: &str) -> Value {
    json!([{"group": kind.group, "version": kind.version, "kind": name}])
}

fn selectable(kind: &Kind) -> Option<Value> {
    let fields: Vec<Value> = kind.selectable_fields.iter().map(|path| json!({"fieldPath": path})).collect();
    (!fields.is_empty()).then_some(Value::Array(fields))
}

/// A reference that carries words of its own.
fn described(dialect: Dialect, name: &str, words: &str) -> Value {
    let mut out = match dialect {
        Dialect::V2 => dialect.reference(name),
        Dialect::V3 => json!({"allOf": [dialect.reference(name)], "default": {}}),
    };
    out["description"] = words.into();
    out
}

/// Adds `apiVersion`, `kind` and `metadata`.
fn typed(schema: &mut Value, metadata: &str, words: &str, dialect: Dialect) {
    let properties = api::object::section(schema, "properties");
    properties.insert("apiVersion".to_owned(), json!({"description": API_VERSION, "type": "string"}));
    properties.insert("kind".to_owned(), json!({"description": KIND, "type": "string"}));
    properties.insert("metadata".to_owned(), described(dialect, metadata, words));
}

/// Every schema directly below one.
fn each_below(schema: &mut Map<String, Value>, mut visit: impl FnMut(&mut Value)) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(&mut visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            visit(inner);
        }
    }
}

fn embedded(schema: &mut Value, dialect: Dialect) {
    let Value::Object(map) = schema else { return };
    each_below(map, |inner| embedded(inner, dialect));
    let free = dialect == Dialect::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema["x-kubernetes-embedded-resource"] == true && !free {
        typed(schema, OBJECT_META, METADATA, dialect);
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        for key in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == key) {
                required.push(key.into());
            }
        }
        schema["required"] = Value::Array(required);
    }
}

fn for_readers_of_v2(schema: &mut Value) {
    let nullable: Vec<String> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, inner)| inner["nullable"] == true)
        .map(|(name, _)| name.clone())
        .collect();
    let Value::Object(map) = schema else { return };
    let is = |map: &Map<String, Value>, key: &str| map.get(key) == Some(&Value::Bool(true));
    let free = is(map, "x-kubernetes-preserve-unknown-fields");
    for key in ["allOf", "oneOf", "anyOf", "not"] {
        map.remove(key);
    }
    if is(map, "nullable") {
        map.remove("type");
        map.remove("nullable");
    }
    if free || !map.contains_key("type") {
        map.remove("items");
        map.remove("properties");
    }
    let ty = map.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if (ty == "array" && !map.contains_key("items")) || (ty == "object" && free) {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| !nullable.iter().any(|nullable| name == nullable));
        if required.is_empty() {
            map.remove("required");
        }
    }
    each_below(map, for_readers_of_v2);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(schema: Value) -> Kind {
        let names =
            json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
        let crd = json!({"spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
            "status": {"acceptedNames": names}});
        api::custom::rows(&crd, 0).into_iter().next().expect("a row")
    }

    #[test]
    fn what_every_object_has_is_added() {
        let kind = kind(json!({"type": "object", "description": "A widget.", "properties": {
        "spec": {"type": "object", "required": ["a", "n"], "oneOf": [{"required": ["a"]}], "properties": {
            "a": {"type": "string", "enum": ["x", "y"], "description": "An a."},
            "n": {"type": "array", "nullable": true, "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        }}}}));
        let v2 = definition(&kind, Dialect::V2);
        assert_eq!(v2["properties"]["metadata"]["$ref"], format!("#/definitions/{OBJECT_META}"));
        let gvk = json!([{"group": "example.com", "version": "v1", "kind": "Widget"}]);
        assert_eq!(v2["x-kubernetes-group-version-kind"], gvk);
        let spec = &v2["properties"]["spec"];
        assert_eq!(spec["required"], json!(["a"]));
        assert_eq!(spec["properties"]["n"], json!({}));
        assert_eq!(spec["properties"]["free"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert_eq!(spec["properties"]["a"]["enum"], json!(["x", "y"]));
        assert_eq!(spec["properties"]["pod"]["required"], json!(["kind", "apiVersion"]));
        assert_eq!(spec.get("oneOf"), None);
        let v3 = definition(&kind, Dialect::V3);
        assert_eq!(v3["properties"]["spec"]["properties"]["n"]["nullable"], true);
        assert_eq!(list_definition(&kind), "com.example.v1.WidgetList");
    }

    #[test]
    fn a_root_that_takes_anything_says_nothing_in_v2() {
        let kind = kind(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                               "properties": {"spec": {"type": "object"}}}));
        let v2 = definition(&kind, Dialect::V2);
        assert_eq!((v2.get("properties"), &v2["type"]), (None, &json!("object")));
        assert!(definition(&kind, Dialect::V3).get("properties").is_some());
    }
}
