//! Rules of resource quotas.

use serde_json::{Value, json};

use crate::strategy::{Context, Strategy};

/// Bounds of what all objects of a namespace may use together.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }
}
