//! Rules of stateful sets.

use serde_json::{Value, json};

use super::super::pod;
use crate::strategy::{Context, Strategy};

/// Keeps numbered pods with names and volumes of their own.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
    }
}
