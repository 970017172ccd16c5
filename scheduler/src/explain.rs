//! Why a pod waits: upstream's sentence for conditions and events, and the facts behind it.
//!
//! Entry points: [`message`] and [`Explanations`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use client::key::Key;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cycle::Diagnosis;
use crate::framework::Verdict;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// Explanations kept; the one of the pod that was tried longest ago goes first. With 5,000 nodes one
/// is about 80 KB.
const KEPT: usize = 128;

/// Nodes that fail for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRule {
    /// The plugin that refused them.
    pub plugin: &'static str,
    /// Why, in upstream's words.
    pub reason: Cow<'static, str>,
    /// Which nodes.
    pub nodes: Vec<Arc<str>>,
    /// The smallest amount missing on any of them, in the resource's own unit.
    pub least_short_by: Option<i64>,
}

/// Why a pod could not be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// When it was tried.
    pub at: Timestamp,
    /// How many nodes there were.
    pub nodes: usize,
    /// The sentence of the pod's condition.
    pub message: String,
    /// The rules that failed.
    pub rules: Vec<FailedRule>,
}

impl Explanation {
    /// Gathers a diagnosis by rule.
    pub fn new(diagnosis: &Diagnosis, message: String, at: Timestamp) -> Self {
        let mut rules: BTreeMap<(&'static str, &str), FailedRule> = BTreeMap::new();
        for verdict in &diagnosis.verdicts {
            for reason in &verdict.rejection.reasons {
                let rule = rules.entry((verdict.plugin, &reason.text)).or_insert_with(|| FailedRule {
                    plugin: verdict.plugin,
                    reason: reason.text.clone(),
                    nodes: Vec::new(),
                    least_short_by: reason.short_by,
                });
                rule.nodes.push(Arc::clone(&verdict.node));
                rule.least_short_by = rule.least_short_by.min(reason.short_by);
            }
        }
        Self { at, nodes: diagnosis.nodes, message, rules: rules.into_values().collect() }
    }
}

/// The last explanations. Clones share them.
#[derive(Clone, Default)]
pub struct Explanations(Arc<Mutex<BTreeMap<Key, Explanation>>>);

impl Explanations {
    /// Why a pod waits, if it was tried and still waits.
    pub fn of(&self, pod: &Key) -> Option<Explanation> {
        self.0.lock().get(pod).cloned()
    }

    pub(crate) fn keep(&self, pod: &Key, explanation: Explanation) {
        let mut kept = self.0.lock();
        kept.insert(pod.clone(), explanation);
        if kept.len() > KEPT
            && let Some(oldest) = kept.iter().min_by_key(|(_, e)| e.at).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
    }

    pub(crate) fn forget(&self, pod: &Key) {
        self.0.lock().remove(pod);
    }
}

/// The sentence upstream puts in the pod's condition and event.
pub fn message(pod: &Pod, diagnosis: &Diagnosis, snapshot: &Snapshot) -> String {
    if diagnosis.nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let reasons = diagnosis.verdicts.iter().flat_map(|verdict| &verdict.rejection.reasons);
    let mut text = available(diagnosis.nodes, reasons.map(|reason| &*reason.text));
    if let Some(preemption) = preemption(pod, diagnosis, snapshot) {
        text.push_str(" preemption: ");
        text.push_str(&preemption);
    }
    text
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
fn available<'a>(nodes: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Why evicting other pods does not help; `None` when it might, which is not looked into yet.
fn preemption(pod: &Pod, diagnosis: &Diagnosis, snapshot: &Snapshot) -> Option<String> {
    if !pod.needs.may_preempt {
        return Some("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    let why = |verdict: &Verdict| {
        if !verdict.rejection.resolvable {
            return Some("Preemption is not helpful for scheduling");
        }
        let there = &snapshot.nodes[snapshot.slot(&verdict.node)?].pods;
        let victims = there.iter().any(|other| other.needs.priority < pod.needs.priority);
        (!victims).then_some("No preemption victims found for incoming pod")
    };
    let reasons: Option<Vec<&str>> = diagnosis.verdicts.iter().map(why).collect();
    Some(available(diagnosis.nodes, reasons?.into_iter()))
}
