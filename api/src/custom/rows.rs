//! Rows of the table of kinds, made of a CRD whose names are accepted.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{CustomResource, CustomVersion, definition_name};
use crate::jsonpath::Template;
use crate::kinds::{Column, Kind, Scope, Storage, Subresource, Text, columns};
use crate::object;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};
use crate::time;

/// Verbs of custom objects, in discovery's order.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const READ_WRITE: [&str; 3] = ["get", "patch", "update"];

/// Where a `scale` subresource finds its numbers: paths from the object's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Wanted replicas.
    pub spec: Vec<String>,
    /// Present replicas.
    pub status: Vec<String>,
    /// The selector, as text.
    pub selector: Option<Vec<String>>,
}

impl ScalePaths {
    fn read(scale: &Value) -> Option<Self> {
        let path = |key: &str| {
            let text = scale[key].as_str().filter(|text| !text.is_empty())?;
            Some(text.trim_start_matches('.').split('.').map(str::to_owned).collect::<Vec<_>>())
        };
        Some(Self {
            spec: path("specReplicasPath")?,
            status: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        })
    }
}

/// One row for each served version; `since` as in [`CustomResource::read`].
pub fn rows(crd: &Value, since: u64) -> Vec<Kind> {
    let resource = Arc::new(CustomResource::read(crd, since));
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .filter_map(|version| row(crd, version, &resource))
        .collect()
}

fn row(crd: &Value, version: &Value, resource: &Arc<CustomResource>) -> Option<Kind> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |list: &Value| -> Vec<Text> {
        list.as_array().into_iter().flatten().map(|value| Text::Owned(text(value))).collect()
    };
    let (name, names) = (text(&version["name"]), &crd["status"]["acceptedNames"]);
    let subresources = &version["subresources"];
    let custom = CustomVersion {
        resource: Arc::clone(resource),
        schema: Arc::clone(resource.versions.get(&name)?),
        scale: ScalePaths::read(&subresources["scale"]),
        status: subresources.get("status").is_some(),
        deprecation: deprecation(resource, version),
    };
    let row = Kind {
        group: Text::Owned(resource.group.clone()),
        definition: Text::Owned(definition_name(&resource.group, &name, &resource.kind)),
        version: Text::Owned(name),
        kind: Text::Owned(resource.kind.clone()),
        plural: Text::Owned(text(&names["plural"])),
        singular: Text::Owned(text(&names["singular"])),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if crd["spec"]["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        verbs: VERBS.to_vec(),
        subresources: served_below(&custom),
        columns: printed(&version["additionalPrinterColumns"]),
        printed_from: &[],
        selectable_fields: version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| Text::Owned(text(&field["jsonPath"]).trim_start_matches('.').to_owned()))
            .collect(),
        field_aliases: Vec::new(),
        strategy: Arc::new(custom.clone()),
        storage: Storage::Own,
        custom: Some(Arc::new(custom)),
    };
    Some(if object::is_deleting(crd) { row.closing() } else { row })
}

impl Kind {
    /// The row of a definition that goes: nothing new comes. What is there may still be changed, or its
    /// finalizers could not be removed.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.verbs.retain(|verb| *verb != "create");
        self
    }
}

fn deprecation(resource: &CustomResource, version: &Value) -> Option<String> {
    (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(words) => words.to_owned(),
        None => {
            let name = version["name"].as_str().unwrap_or_default();
            format!("{} {} is deprecated", resource.api_version(name), resource.kind)
        }
    })
}

fn served_below(custom: &CustomVersion) -> Vec<Subresource> {
    let mut below = Vec::new();
    if custom.status {
        below.push(Subresource { name: "status".into(), kind: None, verbs: READ_WRITE.to_vec() });
    }
    if custom.scale.is_some() {
        let kind = Some(("autoscaling".into(), "v1".into(), "Scale".into()));
        below.push(Subresource { name: "scale".into(), kind, verbs: READ_WRITE.to_vec() });
    }
    below
}

/// Name, then what the CRD says; without a word from it, the age.
fn printed(wanted: &Value) -> Vec<Column> {
    let mut out: Vec<Column> = columns::generic().into_iter().take(1).collect();
    let Some(wanted) = wanted.as_array().filter(|list| !list.is_empty()) else {
        let age =
            serde_json::json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
        out.extend(column(&age));
        return out;
    };
    out.extend(wanted.iter().filter_map(column));
    out
}

fn column(wanted: &Value) -> Option<Column> {
    const TYPES: [&str; 5] = ["string", "integer", "number", "boolean", "date"];
    const FORMATS: [&str; 8] = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
    let text = |key: &str| wanted[key].as_str().unwrap_or_default();
    let one_of =
        |words: &'static [&'static str], key: &str| words.iter().find(|word| **word == text(key)).copied();
    let (path, data_type) = (text("jsonPath"), one_of(&TYPES, "type")?);
    let template = Template::parse(&format!("{{{path}}}")).ok()?;
    let description = match text("description") {
        "" => format!("Custom resource definition column (in JSONPath format): {path}"),
        words => words.to_owned(),
    };
    Some(Column {
        name: Text::Owned(text("name").to_owned()),
        data_type,
        format: one_of(&FORMATS, "format").unwrap_or_default(),
        description: Text::Owned(description),
        priority: wanted["priority"].as_i64().and_then(|p| i32::try_from(p).ok()).unwrap_or_default(),
        cell: Arc::new(move |object, now| cell(&template, data_type, object, now)),
    })
}

fn cell(template: &Template, data_type: &str, object: &Value, now: Timestamp) -> Value {
    let Some(value) = template.values(object).first().copied() else { return Value::Null };
    match (data_type, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => Value::from(other.to_string()),
        ("integer", Value::Number(number)) => number.as_i64().or(number.as_f64().map(whole)).into(),
        ("number", Value::Number(number)) => number.as_f64().into(),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match time::parse(text) {
            Some(then) => time::age(Some(then), now).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// Go's conversion to int64: towards zero.
#[allow(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// Rules of custom objects: those of their schema.
impl Strategy for CustomVersion {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        if self.status {
            object::remove(object, "status");
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        self.judge(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        self.judge(object, Some(old))
    }

    fn judges_changes_alone(&self) -> bool {
        true
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let unqualified = object::finalizers(object).into_iter().filter(|finalizer| !finalizer.contains('/'));
        let standard = ["kubernetes", "orphan", "foregroundDeletion"];
        let words = unqualified.filter(|finalizer| !standard.contains(finalizer)).map(|finalizer| {
            format!(
                "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
            )
        });
        words.collect()
    }

    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        let ignored: &[&str] = if self.status { &["metadata", "status"] } else { &["metadata"] };
        object::differs_outside(object, old, ignored)
    }
}

impl CustomVersion {
    fn judge(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = self.schema.judge(object, old);
        causes.extend(self.replicas(object));
        causes
    }

    /// Replicas are whole numbers that fit a Scale.
    fn replicas(&self, object: &Value) -> Vec<Cause> {
        let Some(scale) = &self.scale else { return Vec::new() };
        let mut causes = Vec::new();
        for path in [&scale.spec, &scale.status] {
            let found = path.iter().try_fold(object, |value, key| value.get(key));
            let Some(number) = found.and_then(Value::as_i64) else { continue };
            let detail = match number {
                ..0 => "should be a non-negative integer",
                0..=0x7fff_ffff => continue,
                _ => "should be less than or equal to 2147483647",
            };
            causes.push(Cause::invalid(path.join("."), &Value::from(number), detail));
        }
        causes
    }
}

#[cfg(test)]
mod tests;
