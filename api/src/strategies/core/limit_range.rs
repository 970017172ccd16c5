//! Rules of limit ranges.

use serde_json::Value;

use crate::strategy::{Context, Strategy};

/// Bounds and defaults of what single pods, containers and claims of a namespace may ask for.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}
}
