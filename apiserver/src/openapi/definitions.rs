//! One definition of the facts table as an OpenAPI schema.

use std::collections::BTreeMap;

use api::schema::{FieldRef, ListType, Raw, Schema, Type, facts};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::{custom, marks};

/// Which OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// 2.0, `#/definitions/`.
    V2,
    /// 3.0, `#/components/schemas/`.
    V3,
}

impl Dialect {
    /// A reference to a definition.
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// The definitions of these names and all they lead to, by name.
pub(super) fn closure<'a>(roots: impl IntoIterator<Item = &'a str>) -> Vec<Schema<'static>> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<String> = roots.into_iter().map(str::to_owned).collect();
    while let Some(name) = waiting.pop() {
        let Some(schema) = facts().schema(&name) else { continue };
        if found.insert(name, schema).is_none() {
            waiting.extend(schema.fields().filter_map(|f| target(f.schema().innermost())).map(str::to_owned));
        }
    }
    found.into_values().collect()
}

/// The definition a value is described by, if it has one of its own.
fn target(schema: Schema<'static>) -> Option<&'static str> {
    Some(match schema.ty() {
        Type::Object(_) => schema.name(),
        Type::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Type::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Type::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Type::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Type::Raw(raw) => match raw {
            Raw::Extension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
            Raw::Fields => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
            Raw::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
            Raw::SchemaOrArray => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
            }
            Raw::SchemaOrBool => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
            }
            Raw::SchemaOrStrings => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
            }
        },
        _ => return None,
    })
}

/// A definition's schema.
pub(super) fn definition(schema: Schema<'static>, descriptions: &Descriptions, dialect: Dialect) -> Value {
    let name = schema.name();
    let mut out = Map::new();
    let is_list = !schema.gvks().is_empty() && schema.fields().any(|field| field.name() == "items");
    let list = || marks::of_list(schema.short_name(), None).filter(|_| is_list);
    if let Some(text) = descriptions.of(name).map(str::to_owned).or_else(list) {
        out.insert("description".to_owned(), Value::from(text));
    }
    if let Some(form) = special(schema.short_name(), dialect).filter(|_| schema.fields().next().is_none()) {
        out.extend(form);
        return Value::Object(out);
    }
    out.insert("type".to_owned(), json!("object"));
    let properties = properties(schema, is_list, descriptions, dialect);
    if !properties.is_empty() {
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let mut required: Vec<FieldRef<'_>> = schema.fields().filter(|field| field.required()).collect();
    // Tags follow the order in which upstream declares fields.
    required.sort_by_key(|field| field.tag());
    let required: Vec<&str> = required.into_iter().map(FieldRef::name).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), json!(required));
    }
    let kinds: Vec<Value> = schema
        .gvks()
        .iter()
        .map(|gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}))
        .collect();
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), Value::Array(kinds));
    }
    if schema.is_atomic() {
        out.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    out.extend(marks::unions(name).map(|unions| ("x-kubernetes-unions".to_owned(), unions)));
    Value::Object(out)
}

fn properties(
    schema: Schema<'static>,
    is_list: bool,
    descriptions: &Descriptions,
    dialect: Dialect,
) -> Map<String, Value> {
    let name = schema.name();
    let property = |field: FieldRef<'static>| {
        let common = || custom::common_field(field.name()).filter(|_| !schema.gvks().is_empty());
        let list = || marks::of_list(schema.short_name(), Some(field.name())).filter(|_| is_list);
        let known = descriptions.of_field(name, field.name()).or_else(common).map(str::to_owned);
        let mut described = property(field, known.or_else(list), dialect);
        if marks::is_granular(name, field.name()) {
            described["x-kubernetes-map-type"] = json!("granular");
        }
        (field.name().to_owned(), described)
    };
    schema.fields().map(property).collect()
}

/// Forms of definitions without fields.
fn special(short_name: &str, dialect: Dialect) -> Option<Map<String, Value>> {
    let v2 = dialect == Dialect::V2;
    let form = match short_name {
        "Quantity" if v2 => json!({"type": "string"}),
        "Quantity" => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "IntOrString" if v2 => json!({"type": "string", "format": "int-or-string"}),
        "IntOrString" => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
            json!({})
        }
        _ => return None,
    };
    match form {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn property(field: FieldRef<'static>, description: Option<String>, dialect: Dialect) -> Value {
    let mut out = value_schema(field.schema(), dialect);
    let zero = || zero(field.schema(), field.omits_empty()).filter(|_| !field.is_pointer());
    // Documents of 2.0 name no defaults.
    let default = field.default().and_then(|text| serde_json::from_str(text).ok()).or_else(zero);
    let default = default.filter(|_| dialect == Dialect::V3);
    if dialect == Dialect::V3 && (description.is_some() || default.is_some()) {
        wrap_reference(&mut out);
    }
    if let Some(text) = description {
        out.insert("description".to_owned(), Value::from(text));
    }
    out.extend(default.map(|default| ("default".to_owned(), default)));
    if let Some(list_type) = field.marked_list_type() {
        let word = match list_type {
            ListType::Atomic => "atomic",
            ListType::Map => "map",
            ListType::Set => "set",
        };
        out.insert("x-kubernetes-list-type".to_owned(), json!(word));
    }
    let keys: Vec<&str> = field.list_map_keys().collect();
    if !keys.is_empty() {
        out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
    }
    if let Some(key) = field.patch_merge_key() {
        out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
    }
    let strategy = field.patch_strategy();
    let words =
        [(strategy.merge, "merge"), (strategy.retain_keys, "retainKeys"), (strategy.replace, "replace")];
    let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if !words.is_empty() {
        out.insert("x-kubernetes-patch-strategy".to_owned(), json!(words.join(",")));
    }
    if field.is_marked_atomic() {
        out.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    Value::Object(out)
}

/// Siblings of a reference are ignored in 3.0, so it is wrapped, as upstream's documents have it.
fn wrap_reference(schema: &mut Map<String, Value>) {
    if let Some(reference) = schema.remove("$ref") {
        schema.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

/// What a value becomes that Go holds directly, when it is not given; what reads itself has no such value.
fn zero(schema: Schema<'static>, is_omitted: bool) -> Option<Value> {
    match schema.ty() {
        Type::Object(_) => Some(json!({})),
        Type::String if !is_omitted => Some(json!("")),
        Type::Int32 | Type::Int64 | Type::Number if !is_omitted => Some(json!(0)),
        Type::Bool if !is_omitted => Some(json!(false)),
        _ => None,
    }
}

/// What lists and maps consist of.
fn element(schema: Option<Schema<'static>>, dialect: Dialect) -> Map<String, Value> {
    let Some(schema) = schema else { return Map::new() };
    let mut out = value_schema(schema, dialect);
    if let Some(default) = zero(schema, false).filter(|_| dialect == Dialect::V3) {
        wrap_reference(&mut out);
        out.insert("default".to_owned(), default);
    }
    out
}

fn value_schema(schema: Schema<'static>, dialect: Dialect) -> Map<String, Value> {
    let form = match schema.ty() {
        Type::String | Type::Duration => json!({"type": "string"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Number => json!({"type": "number", "format": "double"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::List(_) => {
            json!({"type": "array", "items": element(schema.items(), dialect)})
        }
        Type::Map(_) => {
            json!({"type": "object", "additionalProperties": element(schema.values(), dialect)})
        }
        _ => target(schema).map(|name| dialect.reference(name)).unwrap_or_default(),
    };
    match form {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
