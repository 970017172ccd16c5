//! Rules of controller revisions.

use serde_json::Value;

use crate::strategy::{Context, Strategy};

/// A state a controller's object once had.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}
}
