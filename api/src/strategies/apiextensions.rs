//! Rules of `apiextensions.k8s.io`.

use serde_json::{Value, json};

use crate::custom::{RECOGNISED, definition};
use crate::object;
use crate::status::Cause;
use crate::strategy::{Contents, Context, Strategy};

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Defines custom resources.
pub struct Definition;

impl Strategy for Definition {
    fn default(&self, object: &mut Value) {
        let names = object::section(object, "spec").get("names").cloned().unwrap_or_default();
        let kind = names["kind"].as_str().unwrap_or_default();
        let missing = |key: &str| names[key].as_str().unwrap_or_default().is_empty();
        let spec = object::section(object, "spec");
        if let Some(Value::Object(names)) = spec.get_mut("names") {
            if missing("singular") && !kind.is_empty() {
                names.insert("singular".to_owned(), kind.to_lowercase().into());
            }
            if missing("listKind") && !kind.is_empty() {
                names.insert("listKind".to_owned(), format!("{kind}List").into());
            }
        }
        let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        if let Some(Value::Object(service)) = conversion.pointer_mut("/webhook/clientConfig/service") {
            service.entry("port").or_insert_with(|| 443.into());
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object::remove(object, "status");
        stored_version(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value, context: &Context) {
        if context.subresource.is_empty() {
            stored_version(object);
        }
    }

    fn prepare_for_delete(&self, object: &mut Value, context: &Context) {
        let mut finalizers: Vec<String> = object::finalizers(object).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        object::metadata_mut(object).insert("finalizers".to_owned(), json!(finalizers));
        let detail = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(object, "Terminating", ("True", "InstanceDeletionPending", detail), &context.now);
    }

    fn contents(&self, object: &Value) -> Option<Contents> {
        let spec = &object["spec"];
        let word = |value: &Value| value.as_str().map(str::to_owned);
        Some(Contents::Resource(word(&spec["group"])?, word(&spec["names"]["plural"])?))
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        definition::validate(object)
    }

    fn judges_changes_alone(&self) -> bool {
        true
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        // What stands there was judged when it came; a status write must not fail for it.
        if subresource == "status" || object["spec"] == old["spec"] {
            return Vec::new();
        }
        definition::validate_update(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut formats = Vec::new();
        for version in object["spec"]["versions"].as_array().into_iter().flatten() {
            unknown_formats(&version["schema"]["openAPIV3Schema"], &mut formats);
        }
        formats.dedup();
        formats.iter().map(|format| format!("unrecognized format {format:?}")).collect()
    }
}

fn unknown_formats(schema: &Value, found: &mut Vec<String>) {
    if let Some(format) = schema["format"].as_str().filter(|format| !RECOGNISED.contains(format)) {
        found.push(format.to_owned());
    }
    for inner in schema["properties"].as_object().into_iter().flatten().map(|(_, inner)| inner) {
        unknown_formats(inner, found);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            unknown_formats(&schema[key], found);
        }
    }
}

/// The storage version is among those that may be stored.
fn stored_version(object: &mut Value) {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let Some(name) = versions.into_iter().find(|v| v["storage"] == true).map(|v| v["name"].clone()) else {
        return;
    };
    let status = object::section(object, "status");
    // Always there, as in upstream's type; empty until names are accepted.
    status.entry("acceptedNames").or_insert_with(|| json!({"kind": "", "plural": ""}));
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Value::Array(stored) = stored
        && !stored.contains(&name)
    {
        stored.push(name);
    }
}

/// Sets a condition of a definition to (status, reason, message); its time moves only with its status.
pub fn set_condition(crd: &mut Value, name: &str, (status, reason, message): (&str, &str, &str), now: &str) {
    let conditions = object::section(crd, "status").entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Value::Array(conditions) = conditions else { return };
    let known = conditions.iter_mut().find(|condition| condition["type"] == name);
    let since =
        known.as_ref().filter(|known| known["status"] == status).map(|k| k["lastTransitionTime"].clone());
    let condition = json!({
        "lastTransitionTime": since.unwrap_or_else(|| now.into()), "message": message, "reason": reason,
        "status": status, "type": name,
    });
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}
