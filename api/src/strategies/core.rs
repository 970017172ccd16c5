//! Rules of the core group's smaller kinds.

mod limit_range;
mod quota;
mod replication;
mod volume;

pub use limit_range::LimitRange;
pub use quota::ResourceQuota;
pub use replication::{PodTemplate, ReplicationController};
pub(in crate::strategies) use volume::validate_claim;
pub use volume::{PersistentVolume, PersistentVolumeClaim};

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::check::{self, entries, list, text};
use crate::names;
use crate::object;
use crate::status::Cause;
use crate::strategy::{Contents, Context, Strategy};

/// Upper bound of the data of a ConfigMap or Secret, so that it fits a write and a tmpfs.
const MAX_DATA_BYTES: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

/// Configuration.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut total = 0;
        for (key, value) in entries(&object["data"]) {
            check::rules(&mut causes, &format!("data[{key}]"), &json!(key), names::config_map_key(key));
            if object["binaryData"].get(key).is_some() {
                let detail = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(format!("data[{key}]"), &json!(key), detail));
            }
            total += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries(&object["binaryData"]) {
            check::rules(&mut causes, &format!("binaryData[{key}]"), &json!(key), names::config_map_key(key));
            total += decoded_length(value);
        }
        if total > MAX_DATA_BYTES {
            // The whole object is too long; this is how the path of no field prints.
            causes.push(Cause::too_long("[]", MAX_DATA_BYTES));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        frozen(object, old, &["data", "binaryData"])
    }
}

/// Bytes a base64 text stands for, near enough for a limit.
fn decoded_length(value: &Value) -> usize {
    value.as_str().map_or(0, str::len) / 4 * 3
}

fn frozen(object: &Value, old: &Value, fields: &[&str]) -> Vec<Cause> {
    if old["immutable"] != true {
        return Vec::new();
    }
    let thawed = (object["immutable"] != true).then_some("immutable");
    let changed = fields.iter().copied().filter(|field| object[*field] != old[*field]);
    thawed.into_iter().chain(changed).map(|field| Cause::forbidden(field, FROZEN)).collect()
}

/// Confidential configuration.
pub struct Secret;

impl Strategy for Secret {
    fn secret_fields(&self) -> &'static [&'static str] {
        &["data", "stringData"]
    }

    /// `stringData` is for writing only: it is merged into `data`.
    fn default(&self, object: &mut Value) {
        let Some(Value::Object(strings)) = object::remove(object, "stringData") else { return };
        let data = object::section(object, "data");
        for (key, value) in strings {
            let bytes = value.as_str().unwrap_or_default().as_bytes();
            data.insert(key, STANDARD.encode(bytes).into());
        }
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut total = 0;
        for (key, value) in entries(&object["data"]) {
            check::rules(&mut causes, &format!("data[{key}]"), &json!(key), names::config_map_key(key));
            total += decoded_length(value);
        }
        if total > MAX_DATA_BYTES {
            causes.push(Cause::too_long("data", MAX_DATA_BYTES));
        }
        required_keys(&mut causes, object);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "type", &object["type"], &old["type"]);
        causes.extend(frozen(object, old, &["data"]));
        causes
    }
}

/// What well-known types of secrets must hold.
fn required_keys(causes: &mut Vec<Cause>, object: &Value) {
    let data = &object["data"];
    let has = |key: &str| data.get(key).is_some();
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], key).is_empty() {
                causes.push(Cause::required(format!("metadata.annotations[{key}]"), ""));
            }
        }
        "kubernetes.io/dockercfg" => docker_file(causes, data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => docker_file(causes, data, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            causes.push(Cause::required("data[username]", ""));
            causes.push(Cause::required("data[password]", ""));
        }
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            causes.push(Cause::required("data[ssh-privatekey]", ""));
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)) {
                causes.push(Cause::required(format!("data[{key}]"), ""));
            }
        }
        _ => {}
    }
}

fn docker_file(causes: &mut Vec<Cause>, data: &Value, key: &str) {
    let field = format!("data[{key}]");
    let Some(encoded) = data.get(key).and_then(Value::as_str) else {
        causes.push(Cause::required(field, ""));
        return;
    };
    let json = STANDARD.decode(encoded).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    if json.is_none() {
        causes.push(Cause::invalid(field, &json!("<secret contents redacted>"), "must be valid JSON"));
    }
}

/// A scope for names.
pub struct Namespace;

impl Strategy for Namespace {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    /// Every namespace can be selected by its name (KEP-2161).
    fn default(&self, object: &mut Value) {
        let name = object::name(object).to_owned();
        if !name.is_empty() {
            let metadata = object::metadata_mut(object);
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            check::set(labels, "kubernetes.io/metadata.name", name.into());
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        self.default(object);
        object["status"] = json!({"phase": "Active"});
        let spec = object::section(object, "spec");
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Value::Array(finalizers) = finalizers
            && !finalizers.iter().any(|f| f == "kubernetes")
        {
            finalizers.push("kubernetes".into());
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        if context.subresource != "finalize" {
            object["spec"] = old["spec"].clone();
        }
    }

    fn prepare_for_delete(&self, object: &mut Value, _context: &Context) {
        object::section(object, "status").insert("phase".to_owned(), "Terminating".into());
    }

    /// Namespaces have finalizers of their own, which controllers take away when all is empty.
    fn is_held(&self, object: &Value) -> bool {
        !list(&object["spec"], "finalizers").is_empty()
    }

    fn contents(&self, object: &Value) -> Option<Contents> {
        Some(Contents::Namespace(object::name(object).to_owned()))
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (at, finalizer) in list(&object["spec"], "finalizers").iter().enumerate() {
            let name = finalizer.as_str().unwrap_or_default();
            let field = format!("spec.finalizers[{at}]");
            check::rules(&mut causes, &field, finalizer, names::qualified_name(name));
            if name != "kubernetes" && !name.contains('/') {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                causes.push(Cause::invalid(field, finalizer, detail));
            }
        }
        causes
    }
}

/// A machine.
pub struct Node;

impl Strategy for Node {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    /// Nodes register with their status.
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut seen = Vec::new();
        for (at, taint) in list(&object["spec"], "taints").iter().enumerate() {
            let path = format!("metadata.taints[{at}]");
            let key = &taint["key"];
            check::rules(&mut causes, &format!("{path}.key"), key, names::qualified_name(text(taint, "key")));
            let value = names::label_value(text(taint, "value")).join(";");
            if !value.is_empty() {
                causes.push(Cause::invalid(format!("{path}.value"), &taint["value"], &value));
            }
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            check::one_of(&mut causes, &format!("{path}.effect"), &taint["effect"], &effects);
            let pair = (key, &taint["effect"]);
            if seen.contains(&pair) {
                let mut duplicate = Cause::duplicate(path, taint);
                duplicate.message.push_str(": taints must be unique by key and effect pair");
                causes.push(duplicate);
            }
            seen.push(pair);
        }
        for resources in ["capacity", "allocatable"] {
            for (name, amount) in entries(&object["status"][resources]) {
                super::pod::quantity(&mut causes, &format!("status.{resources}.{name}"), amount);
            }
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (new, old) = (&object["spec"], &old["spec"]);
        let set = |spec: &Value, key: &str| spec[key].is_array() || !text(spec, key).is_empty();
        if set(old, "podCIDRs") && new["podCIDRs"] != old["podCIDRs"] {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            causes.push(Cause::forbidden("spec.podCIDRs", detail));
        }
        if set(old, "providerID") && new["providerID"] != old["providerID"] {
            let detail = "node updates may not change providerID except from \"\" to valid";
            causes.push(Cause::forbidden("spec.providerID", detail));
        }
        causes
    }
}

/// Something that happened; also serves `events.k8s.io`, whose stored form is this one.
pub struct Event;

impl Strategy for Event {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    /// Upstream's `--event-ttl`.
    fn lifetime(&self) -> Option<Duration> {
        Some(Duration::from_hours(1))
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let involved = &object["involvedObject"]["namespace"];
        let namespace = object::namespace(object);
        let agrees = match involved.as_str().unwrap_or_default() {
            "" => namespace == "default" || namespace.is_empty(),
            other => other == namespace,
        };
        if !agrees {
            let shown = json!(involved.as_str().unwrap_or_default());
            causes.push(Cause::invalid("involvedObject.namespace", &shown, "does not match event.namespace"));
        }
        if object["eventTime"].is_string() {
            for (field, key) in [
                ("reportingController", "reportingComponent"),
                ("reportingInstance", "reportingInstance"),
                ("action", "action"),
                ("reason", "reason"),
            ] {
                check::required(&mut causes, field, &object[key], None);
            }
            if !["Normal", "Warning"].contains(&text(object, "type")) {
                causes.push(Cause::invalid("type", &object["type"], "has invalid value: "));
            }
        }
        causes
    }
}

/// An identity for pods.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn answers_deleted(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        // Token secrets are not listed any more; a creator may name them for mounting.
        object::remove(object, "status");
    }
}

/// Addresses of a service, in the old form.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn is_report(&self) -> bool {
        true
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (at, subset) in list(object, "subsets").iter().enumerate() {
            let (ready, waiting) = (list(subset, "addresses"), list(subset, "notReadyAddresses"));
            let path = format!("subsets[{at}]");
            if ready.is_empty() && waiting.is_empty() {
                causes
                    .push(Cause::required(path.as_str(), "must specify `addresses` or `notReadyAddresses`"));
            }
            for (name, addresses) in [("addresses", ready), ("notReadyAddresses", waiting)] {
                for (at, address) in addresses.iter().enumerate() {
                    check::ip(&mut causes, &format!("{path}.{name}[{at}].ip"), &address["ip"]);
                }
            }
            let ports = list(subset, "ports");
            for (at, port) in ports.iter().enumerate() {
                let path = format!("{path}.ports[{at}]");
                if ports.len() > 1 && text(port, "name").is_empty() {
                    causes.push(Cause::required(format!("{path}.name"), ""));
                }
                check::port(&mut causes, &format!("{path}.port"), &port["port"]);
                let protocol = format!("{path}.protocol");
                check::one_of(&mut causes, &protocol, &port["protocol"], &["SCTP", "TCP", "UDP"]);
            }
        }
        causes
    }
}

#[cfg(test)]
mod amount_tests;
#[cfg(test)]
mod volume_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(Cause::to_string).collect()
    }

    #[test]
    fn config_maps() {
        let map = json!({"data": {"ok": "x", "b d": "y"}, "binaryData": {"ok": "AAAA"}});
        let found = texts(&ConfigMap.validate(&map));
        assert!(
            found[0].starts_with("data[b d]: Invalid value: \"b d\": a valid config key must"),
            "{found:?}"
        );
        assert_eq!(found[1], "data[ok]: Invalid value: \"ok\": duplicate of key present in binaryData");
        let big = json!({"data": {"k": "x".repeat(MAX_DATA_BYTES + 1)}});
        assert_eq!(texts(&ConfigMap.validate(&big)), ["[]: Too long: may not be more than 1048576 bytes"]);
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let new = json!({"data": {"a": "2"}});
        assert_eq!(
            texts(&ConfigMap.validate_update(&new, &old)),
            [format!("immutable: Forbidden: {FROZEN}"), format!("data: Forbidden: {FROZEN}")]
        );
    }

    #[test]
    fn secrets() {
        let mut secret = json!({"data": {"a": "MQ=="}, "stringData": {"b": "2"}});
        Secret.default(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "MQ==", "b": "Mg=="}}));
        let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(texts(&Secret.validate(&tls)), ["data[tls.key]: Required value"]);
        let found = Secret.validate_update(&json!({"type": "b"}), &json!({"type": "a"}));
        assert_eq!(texts(&found), ["type: Invalid value: \"b\": field is immutable"]);
    }

    #[test]
    fn namespaces_get_their_finalizer_phase_and_label() {
        let mut namespace = json!({"metadata": {"name": "n"}});
        let context = Context { now: String::new(), subresource: String::new() };
        Namespace.prepare_for_create(&mut namespace, &context);
        assert_eq!(
            namespace,
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        );
        let mut update = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
        Namespace.prepare_for_update(&mut update, &namespace, &context);
        assert_eq!(update["spec"], namespace["spec"]);
    }

    #[test]
    fn nodes() {
        let node =
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "No"}]}});
        assert_eq!(
            texts(&Node.validate(&node)),
            ["metadata.taints[1].effect: Unsupported value: \"No\": supported values: \"NoSchedule\", \
              \"PreferNoSchedule\", \"NoExecute\""]
        );
        let (old, new) = (json!({"spec": {"podCIDRs": ["a"]}}), json!({"spec": {"podCIDRs": ["b"]}}));
        assert_eq!(Node.validate_update(&new, &old).len(), 1);
        assert_eq!(Node.validate_update(&new, &json!({})), []);
    }

    #[test]
    fn events_stay_in_the_namespace_of_their_object() {
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        assert_eq!(
            texts(&Event.validate(&event)),
            ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"]
        );
        let node_event = json!({"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}});
        assert_eq!(Event.validate(&node_event), []);
    }
}
