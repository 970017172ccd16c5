//! `spec.versions` and everything that stands below a version.

use serde_json::{Value, json};

use super::{defaults, list, schema, structural, text};
use crate::custom::{Node, rules};
use crate::names;
use crate::status::Cause;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MOST_SELECTABLE: usize = 8;

pub(super) fn validate(spec: &Value, causes: &mut Vec<Cause>) {
    let versions = list(&spec["versions"]);
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}]");
        let broken = names::dns1035_label(text(&version["name"]));
        if !broken.is_empty() {
            causes.push(Cause::invalid(format!("{path}.name"), &version["name"], &broken.join(",")));
        }
        deprecation(&path, version, causes);
        if version["schema"]["openAPIV3Schema"].is_null() {
            causes.push(Cause::required(format!("{path}.schema.openAPIV3Schema"), ""));
        }
    }
    // What all versions share is judged once, under the path upstream gives it.
    let places = |key: &str, shared: &str, own: &str| -> Vec<(String, usize)> {
        let equal = versions.windows(2).all(|pair| matches!(pair, [a, b] if a.get(key) == b.get(key)));
        match equal {
            true => (0..versions.len().min(1)).map(|at| (format!("spec.{shared}"), at)).collect(),
            false => (0..versions.len()).map(|at| (format!("spec.versions[{at}].{own}"), at)).collect(),
        }
    };
    let each = |key: &str, shared: &str, own: &str, check: &mut dyn FnMut(&str, &Value)| {
        for (path, at) in places(key, shared, own) {
            if let Some(version) = versions.get(at) {
                check(&path, version);
            }
        }
    };
    each("schema", "validation", "schema", &mut |path, version| {
        let status = version["subresources"].get("status").is_some();
        open_api(&format!("{path}.openAPIV3Schema"), &version["schema"]["openAPIV3Schema"], status, causes);
    });
    each("subresources", "subresources", "subresources", &mut |path, version| {
        scale(&format!("{path}.scale"), &version["subresources"]["scale"], causes);
    });
    each(
        "additionalPrinterColumns",
        "additionalPrinterColumns",
        "additionalPrinterColumns",
        &mut |path, version| {
            for (at, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
                printer_column(&format!("{path}[{at}]"), column, causes);
            }
        },
    );
    each("selectableFields", "selectableFields", "selectableFields", &mut |path, version| {
        selectable(path, version, causes);
    });
    whole(&spec["versions"], versions, causes);
}

fn whole(shown: &Value, versions: &[Value], causes: &mut Vec<Cause>) {
    let repeated = |at: usize| {
        versions.iter().take(at).any(|v| Some(&v["name"]) == versions.get(at).map(|v| &v["name"]))
    };
    if (0..versions.len()).any(repeated) {
        causes.push(Cause::invalid("spec.versions", shown, "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", shown, detail));
    }
}

fn deprecation(path: &str, version: &Value, causes: &mut Vec<Cause>) {
    let warning = &version["deprecationWarning"];
    let Some(words) = warning.as_str() else { return };
    let field = format!("{path}.deprecationWarning");
    let mut say = |detail: &str| causes.push(Cause::invalid(&*field, warning, detail));
    if version["deprecated"] != true {
        return say("can only be set for deprecated versions");
    }
    if words.len() > 256 {
        say("must be <= 256 characters long");
    }
    if words.is_empty() {
        say("must not be an empty string");
    }
    if let Some((at, _)) = words.char_indices().find(|(_, c)| c.is_control()) {
        say(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// Keys a root schema may have when `status` is a subresource, because they do not reach into it.
const AT_ROOT: [&str; 23] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "nullable",
];

fn open_api(path: &str, root: &Value, status: bool, causes: &mut Vec<Cause>) {
    let Some(map) = root.as_object() else { return };
    if status {
        let ty = text(&root["type"]);
        if !ty.is_empty() && ty != "object" {
            let detail = r#"only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#;
            causes.push(Cause::invalid(format!("{path}.type"), &root["type"], detail));
        }
        if map.keys().any(|key| !AT_ROOT.contains(&key.as_str())) {
            let fields = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
            let detail = format!(
                "only {fields} fields are allowed at the root of the schema if the status subresource is enabled"
            );
            causes.push(Cause::invalid(path, root, &detail));
        }
    }
    if root["nullable"] == true {
        causes.push(Cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    let before = causes.len();
    schema::validate(path, root, causes);
    let mut found = structural::validate(path, root);
    if found.is_empty() {
        found = defaults::validate(path, root);
    }
    causes.extend(found);
    // Rules can be understood only where the shape is right.
    if causes.len() == before {
        rules::admission::check(path, root, causes);
    }
}

fn scale(path: &str, scale: &Value, causes: &mut Vec<Cause>) {
    if !scale.is_object() {
        return;
    }
    for (key, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let (field, value) = (format!("{path}.{key}"), &scale[key]);
        if text(value).is_empty() {
            causes.push(Cause::required(field, ""));
        } else if !simple_path(&field, value, causes) {
        } else if !text(value).starts_with(root) {
            let detail = format!("should be a json path under {}", root.trim_end_matches('.'));
            causes.push(Cause::invalid(field, value, &detail));
        }
    }
    let (field, selector) = (format!("{path}.labelSelectorPath"), &scale["labelSelectorPath"]);
    let placed = [".spec.", ".status."].iter().any(|root| text(selector).starts_with(root));
    if !text(selector).is_empty() && simple_path(&field, selector, causes) && !placed {
        let detail = "should be a json path under either .spec or .status";
        causes.push(Cause::invalid(field, selector, detail));
    }
}

fn simple_path(field: &str, value: &Value, causes: &mut Vec<Cause>) -> bool {
    let fine = text(value).starts_with('.');
    if !fine {
        causes.push(Cause::invalid(field, value, "must be a simple json path starting with ."));
    }
    fine
}

fn printer_column(path: &str, column: &Value, causes: &mut Vec<Cause>) {
    if text(&column["name"]).is_empty() {
        causes.push(Cause::required(format!("{path}.name"), ""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match text(&column["type"]) {
        "" => causes.push(Cause::required(format!("{path}.type"), &types)),
        ty if COLUMN_TYPES.contains(&ty) => {}
        _ => causes.push(Cause::invalid(format!("{path}.type"), &column["type"], &types)),
    }
    let format = text(&column["format"]);
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
        causes.push(Cause::invalid(format!("{path}.format"), &column["format"], &detail));
    }
    let field = format!("{path}.JSONPath");
    if text(&column["jsonPath"]).is_empty() {
        causes.push(Cause::required(field, ""));
    } else {
        simple_path(&field, &column["jsonPath"], causes);
    }
}

fn selectable(path: &str, version: &Value, causes: &mut Vec<Cause>) {
    let fields = list(&version["selectableFields"]);
    let root = Node::read(&version["schema"]["openAPIV3Schema"]);
    let mut seen: Vec<&str> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let (place, value) = (format!("{path}[{at}].jsonPath"), &field["jsonPath"]);
        let words = text(value);
        if words.is_empty() {
            causes.push(Cause::required(place, ""));
            continue;
        }
        let mut node = Some(&root);
        for part in words.trim_start_matches('.').split('.') {
            node = node.and_then(|node| node.properties.get(part));
        }
        let Some(node) = node.filter(|_| words.starts_with('.')) else {
            let detail = "is an invalid path: does not refer to a valid field";
            causes.push(Cause::invalid(place, value, detail));
            continue;
        };
        if words.starts_with(".metadata") {
            causes.push(Cause::invalid(&*place, value, "must not point to fields in metadata"));
        }
        if !node.ty.is_some_and(|ty| ["string", "boolean", "integer"].contains(&ty.as_str())) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            causes.push(Cause::invalid(&*place, value, detail));
        }
        if seen.contains(&words) {
            causes.push(Cause::duplicate(place, value));
        } else {
            seen.push(words);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        causes.push(Cause {
            reason: "FieldValueTooMany",
            field: path.to_owned(),
            message: format!("Too many: {}: must have at most {MOST_SELECTABLE} items", json!(seen.len())),
        });
    }
}
