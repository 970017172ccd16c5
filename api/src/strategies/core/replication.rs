//! Rules of replication controllers and of pod templates that stand alone.

use serde_json::{Value, json};

use super::super::apps::{always_running, matches_labels, replica_counts};
use super::super::check;
use super::super::pod;
use crate::object;
use crate::selector::LabelSelector;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// Keeps a number of equal pods: what replica sets were before they had set-based selectors.
pub struct ReplicationController;

impl Strategy for ReplicationController {
    /// Selector and labels are those of the template unless said otherwise.
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        if labels.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        let unset = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        if unset(&object["spec"]["selector"]) {
            object::section(object, "spec").insert("selector".to_owned(), labels.clone());
        }
        if unset(&object["metadata"]["labels"]) {
            object::metadata_mut(object).insert("labels".to_owned(), labels);
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"replicas": 0});
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        check::not_negative(&mut causes, "spec.minReadySeconds", &spec["minReadySeconds"]);
        if check::entries(&spec["selector"]).next().is_none() {
            causes.push(Cause::required("spec.selector", ""));
        }
        check::not_negative(&mut causes, "spec.replicas", &spec["replicas"]);
        let template = &spec["template"];
        if template.is_null() {
            causes.push(Cause::required("spec.template", ""));
            return causes;
        }
        match LabelSelector::from_map(&spec["selector"]) {
            Ok(selector) if !selector.is_everything() => {
                matches_labels(&mut causes, &selector, template, "spec.template");
            }
            Ok(_) => {}
            Err(_) => check::labels(&mut causes, "spec.selector", &spec["selector"]),
        }
        pod::validate_template(&mut causes, template, "spec.template");
        always_running(&mut causes, template, "ReplicationController");
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        if subresource != "status" {
            return self.validate_update(object, old);
        }
        let counts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        replica_counts(&object["status"], &counts, &[], "readyReplicas")
    }
}

/// A pod template on its own.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        pod::default_template_at(object, "/template/spec");
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        pod::validate_template(&mut causes, &object["template"], "template");
        causes
    }
}
