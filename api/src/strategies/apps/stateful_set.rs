//! Rules of stateful sets.

use serde_json::{Value, json};

use super::super::check::{self, list, text};
use super::super::{core, pod};
use super::{always_running, filled_selector, matches_labels, replica_counts};
use crate::names;
use crate::object;
use crate::selector::LabelSelector;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// What may change in a set that exists.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Keeps numbered pods with names and volumes of their own.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    /// Its pods are called after it, with a number.
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn default(&self, object: &mut Value) {
        pod::default_template(object);
        let claims = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten() {
            check::set(claim, "kind", "PersistentVolumeClaim".into());
            check::set(claim, "apiVersion", "v1".into());
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        match text(spec, "podManagementPolicy") {
            "" => causes.push(Cause::required("spec.podManagementPolicy", "")),
            "OrderedReady" | "Parallel" => {}
            _ => {
                let detail = "must be 'OrderedReady' or 'Parallel'";
                let shown = &spec["podManagementPolicy"];
                causes.push(Cause::invalid("spec.podManagementPolicy", shown, detail));
            }
        }
        update_strategy(&mut causes, &spec["updateStrategy"]);
        retention(&mut causes, &spec["persistentVolumeClaimRetentionPolicy"]);
        check::none_negative(&mut causes, "spec", spec, &["replicas", "minReadySeconds"]);
        check::not_negative(&mut causes, "spec.ordinals.start", &spec["ordinals"]["start"]);
        check::optional(&mut causes, "spec.serviceName", &spec["serviceName"], names::dns1123_label);
        selector_and_template(&mut causes, spec);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut spec = object["spec"].clone();
        for field in CHANGEABLE {
            check::copy(&mut spec, &old["spec"], field);
        }
        if spec == old["spec"] {
            return Vec::new();
        }
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
            'minReadySeconds' are forbidden";
        vec![Cause::forbidden("spec", detail)]
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let counts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let mut causes = replica_counts(&object["status"], &counts, &[], "status.readyReplicas");
        let collisions = |object: &Value| object["status"]["collisionCount"].clone();
        check::never_lower(&mut causes, "status.collisionCount", &collisions(object), &collisions(old));
        causes
    }
}

fn update_strategy(causes: &mut Vec<Cause>, strategy: &Value) {
    let (rolling, path) = (&strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate");
    match text(strategy, "type") {
        "" => causes.push(Cause::required("spec.updateStrategy", "")),
        "OnDelete" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            causes.push(Cause::invalid(path, rolling, detail));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            check::not_negative(causes, &format!("{path}.partition"), &rolling["partition"]);
            let (field, most) = (format!("{path}.maxUnavailable"), &rolling["maxUnavailable"]);
            if !most.is_null() {
                check::count_or_percent(causes, &field, most);
                if check::count_of(most) == 0 {
                    causes.push(Cause::invalid(field.as_str(), most, "cannot be 0"));
                }
                check::at_most_all(causes, &field, most);
            }
        }
        kind => {
            // Upstream shows its internal form of the whole strategy.
            let shown = json!({"RollingUpdate": null, "Type": kind});
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            causes.push(Cause::invalid("spec.updateStrategy", &shown, detail));
        }
    }
}

fn retention(causes: &mut Vec<Cause>, policy: &Value) {
    if policy.is_null() {
        return;
    }
    for field in ["whenDeleted", "whenScaled"] {
        let choice = text(policy, field);
        if !["Retain", "Delete"].contains(&choice) {
            let path = format!("spec.persistentVolumeClaimRetentionPolicy.{field}");
            causes.push(Cause::not_supported(path, &json!(choice), &["Retain", "Delete"]));
        }
    }
}

fn selector_and_template(causes: &mut Vec<Cause>, spec: &Value) {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        filled_selector(causes, selector, "empty selector is invalid for statefulset");
    }
    match LabelSelector::from_object(selector) {
        Err(_) => causes.push(Cause::invalid("spec.selector", selector, "")),
        Ok(parsed) => {
            if !parsed.is_everything() {
                matches_labels(causes, &parsed, template, "spec.template");
            }
            pod::validate_template(causes, &with_claims(spec), "spec.template");
        }
    }
    always_running(causes, template, "StatefulSet");
    for (at, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        core::validate_claim(causes, &claim["spec"], &format!("spec.volumeClaimTemplates[{at}].spec"));
    }
}

/// The template with the volumes its pods will get from claims, for containers to mount.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = list(spec, "volumeClaimTemplates").iter().map(object::name);
    let named: Vec<Value> = claims
        .filter(|name| !name.is_empty())
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    if let Some(pod) = template.get_mut("spec").filter(|_| !named.is_empty()) {
        // A claim takes the place of a volume of the same name.
        let own = list(pod, "volumes").iter().filter(|v| named.iter().all(|n| n["name"] != v["name"]));
        let volumes: Vec<Value> = own.cloned().chain(named.iter().cloned()).collect();
        check::set(pod, "volumes", volumes.into());
    }
    template
}
