//! What is declared about data: types made from a structural schema, with the bounds costs are estimated
//! from.
//!
//! Entry point: [`DeclType::from_schema`]. Source: `apiserver/pkg/cel/common/schemas.go`, `limits.go`.
//! Two views stand side by side: what an expression may *reach* ([`DeclType::exposed`]) and what the data
//! is, which comparison of whole objects needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::escaping::escape;
use super::types::Type;

/// Largest request; what bounds everything that has no bound of its own.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// Longest text of a duration or a time, quotes included.
const MAX_TIME_BYTES: u64 = 32;
const DATE_BYTES: u64 = 12;
/// Schemas nested deeper are not exposed: the danger is the stack.
const MAX_DEPTH: usize = 128;

/// The declared type of data, and its bounds.
#[derive(Debug)]
pub struct DeclType {
    pub(crate) kind: DeclKind,
    /// Most elements: characters of a string, items of a list, entries of a map.
    pub(crate) max_elements: u64,
    /// Fewest bytes of JSON.
    pub(crate) min_serialized_size: u64,
    pub(crate) nullable: bool,
    /// Whether an expression may name it.
    exposed: bool,
}

/// What kind of data.
#[derive(Debug)]
pub(crate) enum DeclKind {
    /// Any JSON, typed by what it is.
    Dyn,
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Duration,
    Date,
    Timestamp,
    List(Arc<DeclType>, ListSemantics),
    Map(Arc<DeclType>),
    Object(Object),
    /// Data without a schema: kept, compared, not looked into.
    Unknown,
    /// No JSON at all, but a library's value.
    Other(Type),
}

/// How lists of a schema compare and add.
#[derive(Debug, Clone, PartialEq)]
pub enum ListSemantics {
    /// In order.
    Atomic,
    /// In any order.
    Set,
    /// By these keys.
    Map(Vec<String>),
}

/// An object with declared fields.
#[derive(Debug)]
pub struct Object {
    /// Unique in an environment.
    pub(crate) name: Arc<str>,
    /// By property name.
    pub(crate) properties: BTreeMap<String, Arc<DeclType>>,
    /// Identifier to property name, for exposed properties only.
    pub(crate) identifiers: BTreeMap<String, String>,
}

impl DeclType {
    /// What undeclared JSON is taken for.
    pub(crate) const DYNAMIC: Self = Self {
        kind: DeclKind::Dyn,
        max_elements: u64::MAX,
        min_serialized_size: 1,
        nullable: true,
        exposed: true,
    };

    /// Any JSON, typed by what it is when evaluated (`object` of an admission policy).
    pub fn dynamic() -> Arc<Self> {
        Arc::new(Self::DYNAMIC)
    }

    /// A value that is no JSON, such as an authorizer.
    pub fn other(ty: Type) -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Other(ty), 1, 0).unbounded())
    }

    /// An object named `name` with these fields, whose names need no escaping: after a dot every word is one.
    pub fn object<'a>(name: &str, fields: impl IntoIterator<Item = (&'a str, Arc<Self>)>) -> Arc<Self> {
        let properties: BTreeMap<String, Arc<Self>> =
            fields.into_iter().map(|(property, field)| (property.to_owned(), field)).collect();
        let identifiers = properties.keys().map(|name| (name.clone(), name.clone())).collect();
        let object = Object { name: name.into(), properties, identifiers };
        Arc::new(Self::simple(DeclKind::Object(object), 2, 0))
    }

    /// A list of these, at most `max_items` of them.
    pub fn list(items: Arc<Self>, max_items: u64) -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::List(items, ListSemantics::Atomic), 2, max_items))
    }

    /// A map from strings to these, with at most `max_entries` entries.
    pub fn map(values: Arc<Self>, max_entries: u64) -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Map(values), 2, max_entries))
    }

    /// A string of unknown length.
    pub fn string() -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::String, 2, MAX_REQUEST_BYTES - 2))
    }

    /// A point in time.
    pub fn timestamp() -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Timestamp, 21, MAX_TIME_BYTES))
    }

    /// A boolean.
    pub fn bool() -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Bool, 4, 0))
    }

    /// An integer.
    pub fn int() -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Int, 1, 0))
    }

    /// The type of what a structural schema (OpenAPI v3, as JSON) describes; with `resource_root`, of a
    /// whole object, which always has `apiVersion`, `kind`, `metadata.name` and `metadata.generateName`.
    ///
    /// `None` if expressions may not reach it: no type, an array of such, a map of such.
    pub fn from_schema(schema: &Json, resource_root: bool) -> Option<Arc<Self>> {
        let decl = convert(schema, resource_root, "self", 0);
        decl.exposed.then_some(decl)
    }

    /// As [`Self::from_schema`], named `name` in errors and to tell it apart from other types. Without
    /// `resource_root` nothing is added to what the schema says.
    pub fn named(schema: &Json, resource_root: bool, name: &str) -> Option<Arc<Self>> {
        let decl = convert(schema, resource_root, name, 0);
        decl.exposed.then_some(decl)
    }

    /// What an expression's result is where another one uses it: lists and maps by their parts, and objects
    /// only by what they turn out to be.
    pub(crate) fn of_output(ty: &Type) -> Arc<Self> {
        match ty {
            Type::List(items) => Self::list(Self::of_output(items), u64::MAX),
            Type::Map(keys, values) if **keys == Type::String => Self::map(Self::of_output(values), u64::MAX),
            Type::Bool | Type::Bytes | Type::Double | Type::Duration | Type::Int => Self::other(ty.clone()),
            Type::Null | Type::String | Type::Timestamp | Type::Uint => Self::other(ty.clone()),
            _ => Self::dynamic(),
        }
    }

    /// The type expressions see.
    pub fn cel_type(&self) -> Type {
        match &self.kind {
            DeclKind::Dyn | DeclKind::IntOrString | DeclKind::Unknown => Type::Dyn,
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Duration => Type::Duration,
            DeclKind::Date | DeclKind::Timestamp => Type::Timestamp,
            DeclKind::List(items, _) => Type::list(items.cel_type()),
            DeclKind::Map(values) => Type::map(Type::String, values.cel_type()),
            DeclKind::Object(object) => Type::Object(object.name.clone()),
            DeclKind::Other(ty) => ty.clone(),
        }
    }

    /// How often a value of this type fits into the largest request: how often a rule on it may run where
    /// it stands below lists or maps without bounds.
    pub fn max_cardinality(&self) -> u64 {
        MAX_REQUEST_BYTES / (self.min_serialized_size + 1)
    }

    /// The declared type of a field, by identifier.
    pub(crate) fn field(&self, identifier: &str) -> Option<&Arc<Self>> {
        let DeclKind::Object(object) = &self.kind else { return None };
        object.properties.get(object.identifiers.get(identifier)?)
    }

    /// Lists every object type in here by name.
    pub(crate) fn collect(self: &Arc<Self>, into: &mut BTreeMap<Arc<str>, Arc<Self>>) {
        match &self.kind {
            DeclKind::List(inner, _) | DeclKind::Map(inner) => inner.collect(into),
            DeclKind::Object(object) => {
                into.insert(object.name.clone(), self.clone());
                object.properties.values().for_each(|field| field.collect(into));
            }
            _ => {}
        }
    }

    fn simple(kind: DeclKind, min_serialized_size: u64, max_elements: u64) -> Self {
        Self { kind, max_elements, min_serialized_size, nullable: false, exposed: true }
    }

    fn unbounded(mut self) -> Self {
        self.max_elements = u64::MAX;
        self
    }

    fn hidden(kind: DeclKind) -> Self {
        Self { exposed: false, ..Self::simple(kind, 0, 0) }
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

/// A bound of a schema; negative counts as zero.
fn bound(schema: &Json, name: &str) -> Option<u64> {
    let value = schema.get(name)?;
    value.as_u64().or_else(|| value.as_f64().map(|bound| if bound < 0.0 { 0 } else { bound as u64 }))
}

fn convert(schema: &Json, root: bool, path: &str, depth: usize) -> Arc<DeclType> {
    let mut decl = if depth > MAX_DEPTH {
        DeclType::hidden(DeclKind::Unknown)
    } else if flag(schema, "x-kubernetes-int-or-string") {
        let longest = bound(schema, "maxLength").map_or(MAX_REQUEST_BYTES - 2, |most| most.saturating_mul(4));
        DeclType::simple(DeclKind::IntOrString, 1, longest)
    } else {
        let ty = schema.get("type").and_then(Json::as_str).unwrap_or_default();
        match if root { "object" } else { ty } {
            "array" => list(schema, path, depth),
            "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
                Some(values) if !root => map(schema, values, path, depth),
                _ => object(schema, root, path, depth),
            },
            "string" => string(schema),
            "boolean" => DeclType::simple(DeclKind::Bool, 4, 0),
            "number" => DeclType::simple(DeclKind::Double, 1, 0),
            "integer" => DeclType::simple(DeclKind::Int, 1, 0),
            _ => DeclType::hidden(DeclKind::Unknown),
        }
    };
    decl.nullable = flag(schema, "nullable");
    Arc::new(decl)
}

fn inner(schema: &Json, path: &str, depth: usize) -> Arc<DeclType> {
    convert(schema, flag(schema, "x-kubernetes-embedded-resource"), path, depth + 1)
}

fn list(schema: &Json, path: &str, depth: usize) -> DeclType {
    let Some(items) = schema.get("items") else { return DeclType::hidden(DeclKind::Unknown) };
    let items = inner(items, &format!("{path}.@idx"), depth);
    let semantics = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListSemantics::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            let keys = keys.into_iter().flatten().filter_map(Json::as_str);
            ListSemantics::Map(keys.map(str::to_owned).collect())
        }
        _ => ListSemantics::Atomic,
    };
    let fitting = (MAX_REQUEST_BYTES - 2) / (items.min_serialized_size + 1);
    let most = bound(schema, "maxItems").unwrap_or(fitting);
    let exposed = items.exposed;
    DeclType { exposed, ..DeclType::simple(DeclKind::List(items, semantics), 2, most) }
}

fn map(schema: &Json, values: &Json, path: &str, depth: usize) -> DeclType {
    let values = inner(values, &format!("{path}.@elem"), depth);
    // A key of two characters, quotes, colon, comma.
    let fitting = (MAX_REQUEST_BYTES - 2) / (values.min_serialized_size + 6);
    let most = bound(schema, "maxProperties").unwrap_or(fitting);
    let exposed = values.exposed;
    DeclType { exposed, ..DeclType::simple(DeclKind::Map(values), 2, most) }
}

fn object(schema: &Json, root: bool, path: &str, depth: usize) -> DeclType {
    let mut properties: BTreeMap<String, Arc<DeclType>> = BTreeMap::new();
    let mut identifiers = BTreeMap::new();
    let mut size: u64 = 2;
    let required = schema.get("required").and_then(Json::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|other| other == name));
    for (name, property) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        if root && matches!(name.as_str(), "apiVersion" | "kind") {
            continue;
        }
        let identifier = escape(name);
        let below = format!("{path}.{}", identifier.as_deref().unwrap_or(name));
        let field = match name.as_str() {
            "metadata" if root => Arc::new(metadata(property, &below, depth)),
            _ => inner(property, &below, depth),
        };
        if field.exposed {
            if let Some(identifier) = identifier {
                identifiers.insert(identifier, name.clone());
            }
            if is_required(name) && property.get("default").is_none() {
                size = size.saturating_add(name.len() as u64 + field.min_serialized_size + 4);
            }
        }
        properties.insert(name.clone(), field);
    }
    if root {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), DeclType::string());
            identifiers.insert(name.to_owned(), name.to_owned());
            if is_required(name) {
                size += name.len() as u64 + 2 + 4;
            }
        }
        if !properties.contains_key("metadata") {
            let field = metadata(&Json::Null, &format!("{path}.metadata"), depth);
            properties.insert("metadata".to_owned(), Arc::new(field));
            identifiers.insert("metadata".to_owned(), "metadata".to_owned());
        }
    }
    DeclType::simple(DeclKind::Object(Object { name: path.into(), properties, identifiers }), size, 0)
}

/// Of a whole object's metadata only the two names are reachable.
fn metadata(schema: &Json, path: &str, depth: usize) -> DeclType {
    let mut names = serde_json::Map::new();
    // A generated name has a suffix of at least one byte.
    for (name, longest) in [("name", 253), ("generateName", 252)] {
        let declared = schema.pointer(&format!("/properties/{name}"));
        let longest =
            declared.and_then(|name| bound(name, "maxLength")).map_or(longest, |most| most.min(longest));
        names.insert(name.to_owned(), serde_json::json!({"type": "string", "maxLength": longest}));
    }
    object(&serde_json::json!({"type": "object", "properties": names}), false, path, depth)
}

fn string(schema: &Json) -> DeclType {
    let max_length = bound(schema, "maxLength");
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => DeclType::simple(DeclKind::Bytes, 2, max_length.unwrap_or(MAX_REQUEST_BYTES - 2)),
        Some("duration") => DeclType::simple(DeclKind::Duration, 3, MAX_TIME_BYTES),
        Some("date") => DeclType::simple(DeclKind::Date, DATE_BYTES, DATE_BYTES),
        Some("date-time") => DeclType::simple(DeclKind::Timestamp, 21, MAX_TIME_BYTES),
        _ => {
            let longest_choice = schema.get("enum").and_then(Json::as_array).filter(|all| !all.is_empty());
            let longest_choice = longest_choice.map(|all| {
                all.iter().filter_map(Json::as_str).map(|choice| choice.len() as u64).max().unwrap_or(0)
            });
            // A character may take four bytes; sizes here are bytes.
            let longest = max_length.map(|most| most.saturating_mul(4)).or(longest_choice);
            DeclType::simple(DeclKind::String, 2, longest.unwrap_or(MAX_REQUEST_BYTES - 2))
        }
    }
}
