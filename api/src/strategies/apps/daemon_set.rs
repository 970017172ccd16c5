//! Rules of daemon sets.

use serde_json::{Value, json};

use super::super::pod;
use crate::strategy::{Context, Strategy};

/// Keeps a pod on every node that fits.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        pod::default_template(object);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        });
    }
}
