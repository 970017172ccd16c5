//! Rules of `metadata` that hold for every kind: agreement with the URL, what the server sets, what may
//! not change, and the forms of names, labels and annotations.

use api::{Cause, Kind, Status, names, object};
use serde_json::{Map, Value, json};

use crate::call::Call;

/// All annotations together, keys and values.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Makes the object agree with the URL it was sent to, or says how it does not.
pub(crate) fn agree(call: &Call, object: &mut Value) -> Result<(), Status> {
    let namespace = object::namespace(object);
    if call.kind.namespaced() {
        if namespace.is_empty() {
            object::metadata_mut(object).insert("namespace".to_owned(), call.info.namespace.as_str().into());
        } else if namespace != call.info.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else if !namespace.is_empty() {
        object::metadata_mut(object).remove("namespace");
    }
    Ok(())
}

/// Refuses a replacement that says it is another object, or none.
pub(crate) fn check_place(call: &Call, object: &Value) -> Result<(), Status> {
    let (name, namespace) = (object::name(object), object::namespace(object));
    let info = &call.info;
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            info.name
        )));
    }
    if name == info.name && !info.namespace.is_empty() && !namespace.is_empty() && namespace != info.namespace
    {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            info.namespace
        )));
    }
    Ok(())
}

/// Makes a body sent to an object's own URL agree with its name, or says how it does not.
pub(crate) fn agree_named(call: &Call, object: &mut Value) -> Result<(), Status> {
    let (name, wanted) = (object::name(object).to_owned(), call.info.name.as_str());
    if name.is_empty() {
        object::metadata_mut(object).insert("name".to_owned(), wanted.into());
    } else if name != wanted {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    agree(call, object)
}

impl Call {
    /// Whether the object carries a name that can be judged (a missing one is reported on its own).
    pub(crate) fn options_name_given(&self, object: &Value) -> bool {
        !object::name(object).is_empty()
    }
}

/// Sets what only the server may set on a new object.
pub(crate) fn fill_new(call: &Call, object: &mut Value) {
    let server = &call.server;
    let metadata = object::metadata_mut(object);
    for key in
        ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        metadata.remove(key);
    }
    drop_empty(metadata);
    metadata.insert("uid".to_owned(), server.rng.uid().into());
    metadata.insert("creationTimestamp".to_owned(), server.now().into());
    if call.stored.strategy.numbers_changes(call.stored.has_status()) {
        metadata.insert("generation".to_owned(), 1.into());
    }
}

/// Takes over what an update may not change; whatever it tries to change regardless is a cause.
pub(crate) fn carry_over(new: &mut Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let empty = Map::new();
    let before = old["metadata"].as_object().unwrap_or(&empty);
    let metadata = object::metadata_mut(new);
    for key in ["selfLink", "generation", "resourceVersion"] {
        metadata.remove(key);
    }
    drop_empty(metadata);
    for key in ["generateName", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        match (metadata.get(key), before.get(key)) {
            (Some(sent), kept) if !sent.is_null() && kept != Some(sent) && key != "generateName" => {
                causes.push(Cause::invalid(format!("metadata.{key}"), sent, "field is immutable"));
            }
            (_, Some(kept)) => {
                metadata.insert(key.to_owned(), kept.clone());
            }
            (_, None) => {
                metadata.remove(key);
            }
        }
    }
    for key in ["resourceVersion", "generation"] {
        if let Some(kept) = before.get(key) {
            metadata.insert(key.to_owned(), kept.clone());
        }
    }
    for key in ["name", "namespace"] {
        match (metadata.get(key), before.get(key)) {
            (None, Some(kept)) => {
                metadata.insert(key.to_owned(), kept.clone());
            }
            (Some(sent), Some(kept)) if sent != kept => {
                causes.push(Cause::invalid(format!("metadata.{key}"), sent, "field is immutable"));
            }
            _ => {}
        }
    }
    causes.extend(no_new_finalizers(new, old));
    causes
}

/// KEP-less rule of upstream's `ValidateObjectMetaAccessorUpdate`: once deletion has begun, finalizers
/// only go.
fn no_new_finalizers(new: &Value, old: &Value) -> Option<Cause> {
    if !object::is_deleting(old) {
        return None;
    }
    let before = object::finalizers(old);
    let added: Vec<&str> = object::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    let quoted: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
    (!added.is_empty()).then(|| {
        Cause::forbidden(
            "metadata.finalizers",
            &format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            ),
        )
    })
}

/// Empty maps and lists are absence: Go omits them. An empty list of owners asks to forget them.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|key, value| match value {
        Value::Array(_) if key == "managedFields" => true,
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// Raises or keeps `metadata.generation`.
pub(crate) fn set_generation(new: &mut Value, old: &Value, changed: bool) {
    let before = object::generation(old);
    if before > 0 {
        let generation = if changed { before + 1 } else { before };
        object::metadata_mut(new).insert("generation".to_owned(), generation.into());
    }
}

/// Every rule the metadata of an object breaks.
pub(crate) fn validate(kind: &Kind, object: &Value, named: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    if !named && name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        let invalid = |message: &String| Cause::invalid("metadata.name", &json!(name), message);
        causes.extend(kind.strategy.name_errors(name).iter().map(invalid));
    }
    let labels = object["metadata"]["labels"].as_object();
    for (key, value) in labels.into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        causes.extend(
            names::qualified_name(key).iter().map(|m| Cause::invalid("metadata.labels", &json!(key), m)),
        );
        causes.extend(
            names::label_value(text).iter().map(|m| Cause::invalid("metadata.labels", &json!(text), m)),
        );
    }
    causes.extend(annotations(object));
    causes.extend(finalizers(kind, object));
    causes.extend(owners(object));
    causes
}

/// Finalizers without a domain: a slip of the pen would hold the object for good (upstream's
/// `validateKubeFinalizerName`). Not for custom objects, nor for the groups of other API servers than upstream's
/// own: a definition's finalizer has no slash.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn finalizers(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let foreign =
        kind.is_custom() || ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&kind.group.as_ref());
    for (at, finalizer) in object::finalizers(object).into_iter().enumerate() {
        let invalid = |m: &String| Cause::invalid("metadata.finalizers", &json!(finalizer), m);
        causes.extend(names::qualified_name(finalizer).iter().map(invalid));
        if !foreign && !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{at}]"), &json!(finalizer), detail));
        }
    }
    causes
}

fn annotations(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut total = 0;
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        // Upper case is allowed in annotation keys for historical reasons.
        let errors = names::qualified_name(&key.to_lowercase());
        causes.extend(errors.iter().map(|m| Cause::invalid("metadata.annotations", &json!(key), m)));
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > MAX_ANNOTATION_BYTES {
        causes.push(Cause::too_long("metadata.annotations", MAX_ANNOTATION_BYTES));
    }
    causes
}

fn owners(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controllers = 0;
    let list = object["metadata"]["ownerReferences"].as_array();
    for (at, owner) in list.into_iter().flatten().enumerate() {
        let path = |field: &str| format!("metadata.ownerReferences[{at}].{field}");
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::invalid(path(field), &json!(""), &format!("{field} must not be empty")));
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &object["metadata"]["ownerReferences"],
            detail,
        ));
    }
    causes
}
