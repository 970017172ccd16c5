//! Volumes that shall be attached to nodes.

use serde_json::{Value, json};

use super::driver_name;
use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, entries, text};
use crate::strategy::{Context, Strategy};

const MAX_METADATA_BYTES: usize = 256 * 1024;
const MAX_MESSAGE_BYTES: usize = 1024;

/// A volume that shall be attached to a node.
pub struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"attached": false});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        if text(spec, "attacher").is_empty() {
            causes.push(Cause::required("spec.attacher", ""));
        }
        source(&mut causes, &spec["source"]);
        let node = text(spec, "nodeName");
        check::rules(&mut causes, "spec.nodeName", &json!(node), names::dns1123_subdomain(node));
        validate_status(&mut causes, &object["status"]);
        if object["metadata"]["resourceVersion"].is_null() {
            driver_name(&mut causes, "spec.attacher", &spec["attacher"]);
            let (field, volume) =
                ("spec.source.persistentVolumeName", &spec["source"]["persistentVolumeName"]);
            if let Some(name) = volume.as_str() {
                check::rules(&mut causes, field, volume, names::dns1123_subdomain(name));
            }
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "spec", &object["spec"], &old["spec"]);
        causes
    }
}

fn source(causes: &mut Vec<Cause>, source: &Value) {
    let (field, detail) =
        ("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
    let volume = &source["persistentVolumeName"];
    match (source["inlineVolumeSpec"].is_null(), volume.is_null()) {
        (true, true) => causes.push(Cause::required(field, detail)),
        (false, false) => causes.push(Cause::forbidden(field, detail)),
        (true, false) => {
            let detail = "must specify non empty persistentVolumeName";
            check::present(causes, &format!("{field}.persistentVolumeName"), volume, detail);
        }
        (false, true) => {}
    }
}

fn validate_status(causes: &mut Vec<Cause>, status: &Value) {
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if entries(&status["attachmentMetadata"]).map(size).sum::<usize>() > MAX_METADATA_BYTES {
        causes.push(Cause::too_long("status.attachmentMetadata", MAX_METADATA_BYTES));
    }
    for field in ["attachError", "detachError"] {
        let (error, path) = (&status[field], format!("status.{field}"));
        if text(error, "message").len() > MAX_MESSAGE_BYTES {
            // The number named is the other limit: upstream's slip.
            causes.push(Cause::too_long(format!("{path}.message"), MAX_METADATA_BYTES));
        }
        let code = format!("{path}.errorCode");
        check::between(causes, &code, &error["errorCode"], 0, i64::from(i32::MAX));
    }
}
