//! What a plugin can do: small traits, each one point of the cycle.
//!
//! Plugins are pure: they see a pod and a [`Snapshot`], and answer with facts. Per pod a plugin prepares
//! once and is then asked per node; a plugin that has no say for a pod costs nothing. Names, order and
//! weights are in [`crate::plugins`].

use std::borrow::Cow;
use std::sync::Arc;

use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// The best score a plugin gives a node; the worst is 0.
pub const MAX_SCORE: i64 = 100;

/// One reason why a node does not fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Upstream's words, as they appear in conditions and events.
    pub text: Cow<'static, str>,
    /// How much is missing, in the resource's own unit (thousandths of a core, bytes, pieces).
    pub short_by: Option<i64>,
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self { text: text.into(), short_by: None }
    }
}

/// Why a plugin refuses a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// At least one.
    pub reasons: Vec<Reason>,
    /// Whether removing pods from the node could help.
    pub resolvable: bool,
}

impl Rejection {
    /// Removing pods could help.
    pub fn resolvable(text: &'static str) -> Self {
        Self { reasons: vec![text.into()], resolvable: true }
    }

    /// Removing pods cannot help.
    pub fn unresolvable(text: &'static str) -> Self {
        Self { reasons: vec![text.into()], resolvable: false }
    }
}

/// Judges one node, by slot, for the pod it was prepared for.
pub type NodeFilter<'a> = Box<dyn Fn(usize) -> Result<(), Rejection> + 'a>;

/// Keeps a pod out of the queue.
pub trait PreEnqueue: Sync {
    /// Whether the pod may be scheduled at all yet.
    fn admits(&self, pod: &Pod) -> bool;
}

/// Says which pod goes first.
pub trait QueueSort: Sync {
    /// Smaller goes first; pods of the same key go in the order they came.
    fn rank(&self, pod: &Pod) -> i64;
}

/// Says which nodes can take a pod.
pub trait Filter: Sync {
    /// A judge of nodes for this pod, or nothing if it has no say.
    fn prepare<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<NodeFilter<'a>>;

    /// Whether a change elsewhere than on a node can make that node fit.
    fn looks_beyond_the_node(&self) -> bool {
        false
    }

    /// Whether a pod that came, changed or went elsewhere may help a pod this plugin refused.
    fn concerns(&self, _pod: &Pod, _other: &Pod, _snapshot: &Snapshot) -> bool {
        false
    }
}

/// Says which nodes are better.
pub trait Score: Sync {
    /// A score from 0 to [`MAX_SCORE`] for each of `nodes`, or nothing if it has no say.
    fn scores(&self, pod: &Pod, snapshot: &Snapshot, nodes: &[usize]) -> Option<Vec<i64>>;
}

/// A node's verdict: the first rule it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node: Arc<str>,
    /// The plugin that refused it.
    pub plugin: &'static str,
    /// Why.
    pub rejection: Rejection,
}

/// Stretches scores to 0 to [`MAX_SCORE`] by the largest; `reverse` makes the largest the worst.
pub fn normalize(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let largest = scores.iter().copied().max().unwrap_or_default();
    for score in &mut scores {
        let stretched = if largest == 0 { 0 } else { MAX_SCORE * *score / largest };
        *score = if reverse { MAX_SCORE - stretched } else { stretched };
    }
    scores
}
