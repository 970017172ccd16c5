//! A pod with scheduling gates waits until they are removed (KEP-3521).

use crate::framework::PreEnqueue;
use crate::pod::Pod;

/// The plugin.
pub struct SchedulingGates;

impl PreEnqueue for SchedulingGates {
    fn admits(&self, pod: &Pod) -> bool {
        !pod.needs.gated
    }
}
