//! Pods of higher priority go first.

use crate::framework::QueueSort;
use crate::pod::Pod;

/// The plugin.
pub struct PrioritySort;

impl QueueSort for PrioritySort {
    fn rank(&self, pod: &Pod) -> i64 {
        -i64::from(pod.needs.priority)
    }
}
