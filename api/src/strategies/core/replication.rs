//! Rules of replication controllers and of pod templates that stand alone.

use serde_json::{Value, json};

use super::super::pod;
use crate::strategy::{Context, Strategy};

/// Keeps a number of equal pods: what replica sets were before they had set-based selectors.
pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"replicas": 0});
    }
}

/// A pod template on its own.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        pod::default_template_at(object, "/template/spec");
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}
}
