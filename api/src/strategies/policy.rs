//! Rules of `policy`.

use serde_json::{Value, json};

use crate::strategy::{Context, Strategy};

/// How many pods of a kind may be missing by choice.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        });
    }
}
