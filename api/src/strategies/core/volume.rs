//! Rules of persistent volumes and claims.

use serde_json::{Value, json};

use crate::strategy::{Context, Strategy};

/// Storage of the cluster.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"phase": "Pending"});
    }
}

/// A pod's claim to storage.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"phase": "Pending"});
    }
}
