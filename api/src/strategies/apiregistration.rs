//! Rules of `apiregistration.k8s.io`.

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::status::Cause;
use crate::strategy::{Context, Strategy};
use crate::{names, object};

/// A version of an API group, and who serves it.
pub struct ApiService;

impl Strategy for ApiService {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, context: &Context) {
        object["status"] = availability(object, &context.now);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        if object["spec"]["service"].is_null() != old["spec"]["service"].is_null() {
            object["status"] = availability(object, &context.now);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let (group, version) = (text(spec, "group"), text(spec, "version"));
        let (name, wanted) = (object::name(object), format!("{version}.{group}"));
        if names::path_segment(name).is_empty() && name != wanted {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            causes.push(Cause::invalid("metadata.name", &json!(name), &detail));
        }
        if group.is_empty() && version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            causes.push(Cause::required("spec.group", detail));
        }
        check::optional(&mut causes, "spec.group", &spec["group"], names::dns1123_subdomain);
        check::rules(&mut causes, "spec.version", &json!(version), names::dns1035_label(version));
        for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let value = spec[field].as_i64().unwrap_or_default();
            if !(1..=most).contains(&value) {
                let detail = format!("must be positive and less than {most}");
                causes.push(Cause::invalid(format!("spec.{field}"), &json!(value), &detail));
            }
        }
        if spec["service"].is_null() {
            local(&mut causes, spec);
        } else {
            remote(&mut causes, spec);
        }
        causes
    }

    fn validate_change(&self, object: &Value, _old: &Value, subresource: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        if subresource == "status" {
            for (at, condition) in list(&object["status"], "conditions").iter().enumerate() {
                let field = format!("status.conditions[{at}].status");
                check::supported(&mut causes, &field, &condition["status"], &["True", "False", "Unknown"]);
            }
        }
        causes
    }
}

fn local(causes: &mut Vec<Cause>, spec: &Value) {
    let bundle = text(spec, "caBundle").len() / 4 * 3;
    if bundle > 0 {
        let shown = json!(format!("{bundle} bytes"));
        causes.push(Cause::invalid("spec.caBundle", &shown, "local APIServices may not have a caBundle"));
    }
    if spec["insecureSkipTLSVerify"] == true {
        let detail = "local APIServices may not have insecureSkipTLSVerify";
        causes.push(Cause::invalid("spec.insecureSkipTLSVerify", &json!(true), detail));
    }
}

fn remote(causes: &mut Vec<Cause>, spec: &Value) {
    let service = &spec["service"];
    for field in ["namespace", "name"] {
        check::required(causes, &format!("spec.service.{field}"), &service[field], None);
    }
    let port = service["port"].as_i64().unwrap_or_default();
    if !(1..=65_535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        causes.push(Cause::invalid("spec.service.port", &json!(port), detail));
    }
    if spec["insecureSkipTLSVerify"] == true && !text(spec, "caBundle").is_empty() {
        let detail = "may not be true if caBundle is present";
        causes.push(Cause::invalid("spec.insecureSkipTLSVerify", &json!(true), detail));
    }
}

/// The status of a new API service: this server's own versions can be used, of others' somebody has to find out.
fn availability(object: &Value, now: &str) -> Value {
    if !object["spec"]["service"].is_null() {
        return json!({});
    }
    json!({"conditions": [{
        "type": "Available", "status": "True", "lastTransitionTime": now,
        "reason": "Local", "message": "Local APIServices are always available",
    }]})
}
