//! Scopes of quotas: which pods and claims one counts.

use serde_json::{Value, json};

use crate::strategies::pod::qos_class;

/// One condition of a quota: a word of `spec.scopes` or a requirement of `spec.scopeSelector`.
pub(super) struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

/// All conditions of a quota; all must hold.
pub(super) fn of(quota: &Value) -> impl Iterator<Item = Scope> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let plain = quota["spec"]["scopes"].as_array().into_iter().flatten();
    let plain = plain.map(|name| json!({"scopeName": name, "operator": "Exists"}));
    let selectors =
        quota["spec"]["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().cloned();
    plain.chain(selectors).map(move |one| Scope {
        name: text(&one["scopeName"]),
        operator: text(&one["operator"]),
        values: one["values"].as_array().into_iter().flatten().map(text).collect(),
    })
}

impl Scope {
    pub(super) fn holds_pod(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
        match self.name.as_str() {
            "Terminating" => terminating,
            "NotTerminating" => !terminating,
            "BestEffort" => is_best_effort(pod),
            "NotBestEffort" => !is_best_effort(pod),
            "PriorityClass" => self.selects(spec["priorityClassName"].as_str().as_slice()),
            "CrossNamespacePodAffinity" => crosses_namespaces(spec),
            _ => false,
        }
    }

    pub(super) fn holds_claim(&self, claim: &Value) -> bool {
        let status = &claim["status"];
        let names = [
            &claim["spec"]["volumeAttributesClassName"],
            &status["currentVolumeAttributesClassName"],
            &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
        ];
        let names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
        self.name == "VolumeAttributesClass" && self.selects(&names)
    }

    /// A label requirement on names, of which there may be none.
    fn selects(&self, names: &[&str]) -> bool {
        let names: Vec<&&str> = names.iter().filter(|name| !name.is_empty()).collect();
        let listed = |name: &&&str| self.values.iter().any(|value| value == **name);
        match self.operator.as_str() {
            "In" => names.iter().any(listed),
            "NotIn" => names.is_empty() || !names.iter().all(listed),
            "Exists" => !names.is_empty(),
            "DoesNotExist" => names.is_empty(),
            _ => false,
        }
    }
}

fn is_best_effort(pod: &Value) -> bool {
    match pod["status"]["qosClass"].as_str().filter(|class| !class.is_empty()) {
        Some(class) => class == "BestEffort",
        None => qos_class(pod) == "BestEffort",
    }
}

/// Whether a pod wants to be near, or far from, pods of other namespaces.
fn crosses_namespaces(spec: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let kinds = ["podAffinity", "podAntiAffinity"].map(|kind| &spec["affinity"][kind]);
    let required = kinds.iter().flat_map(|kind| kind[REQUIRED].as_array().into_iter().flatten());
    let preferred = kinds.iter().flat_map(|kind| kind[PREFERRED].as_array().into_iter().flatten());
    let mut terms = required.chain(preferred.map(|weighted| &weighted["podAffinityTerm"]));
    terms.any(|term| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            || !term["namespaceSelector"].is_null()
    })
}
