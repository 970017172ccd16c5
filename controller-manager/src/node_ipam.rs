//! Each node gets a part of the cluster's pod addresses, and keeps it.
//!
//! Entry point: [`reconcile`]. Runs one node at a time, so that no part is given away twice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Change, Informer, Informers};
use client::key::Key;
use client::plan::{Action, EventDraft, EventType, Plan, Target, object_reference};
use client::request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

/// An IPv4 range cut into equal parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    first: u32,
    prefix: u8,
    part_prefix: u8,
}

impl Range {
    /// Cuts `cidr` (such as `10.42.0.0/16`) into parts with prefix length `part_prefix`. `None` if that
    /// makes no sense.
    pub fn parse(cidr: &str, part_prefix: u8) -> Option<Self> {
        let (address, prefix) = cidr.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let fits = prefix <= part_prefix && part_prefix <= 32 && prefix > 0;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        fits.then(|| Self { first: u32::from(address) & mask, prefix, part_prefix })
    }

    fn parts(&self) -> impl Iterator<Item = String> + '_ {
        let count = 1_u64 << (self.part_prefix - self.prefix);
        let step = 1_u64 << (32 - self.part_prefix);
        (0..count).map(move |index| {
            let address = u64::from(self.first) + index * step;
            let address = Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX));
            format!("{address}/{}", self.part_prefix)
        })
    }
}

/// A node and the parts that others have.
pub struct Observed {
    /// The node.
    pub node: Arc<Node>,
    /// Parts in use.
    pub taken: BTreeSet<String>,
}

/// Gives the node the first free part, if it has none.
pub fn reconcile(observed: &Observed, range: &Range) -> Plan {
    let node = &*observed.node;
    let has_part =
        node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.as_deref().is_some_and(|c| !c.is_empty()));
    if has_part || node.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let resource = request::resource::<Node>();
    let Some(part) = range.parts().find(|part| !observed.taken.contains(part)) else {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let event = EventDraft {
            regarding: object_reference(&resource, &node.metadata),
            event_type: EventType::Normal,
            reason: "CIDRNotAvailable",
            message: format!("Node {name} status is now: CIDRNotAvailable"),
        };
        return Plan { events: vec![event], ..Plan::default() };
    };
    let patch = json!({"spec": {"podCIDR": part, "podCIDRs": [part]}});
    let target = Target::same_version(&resource, &node.metadata);
    Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() }
}

/// Watches nodes.
pub struct NodeAddresses {
    nodes: Informer<Node>,
    range: Range,
}

impl NodeAddresses {
    /// Gives out parts of `range`.
    pub fn new(informers: &Informers, range: Range) -> Self {
        Self { nodes: informers.of(), range }
    }
}

fn has_no_part(node: &Node) -> bool {
    node.spec.as_ref().is_none_or(|spec| spec.pod_cidr.is_none())
}

#[async_trait]
impl Controller for NodeAddresses {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "cidrAllocator"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watch(&self, wake: &mut Wake) {
        let nodes = self.nodes.clone();
        wake.on(&self.nodes, move |change| match change {
            // A part became free: those who wait for one look again.
            Change::Removed(_) => {
                let waiting = nodes.list().into_iter().filter(|node| has_no_part(node));
                waiting.map(|node| Key::of(&node.metadata)).collect()
            }
            _ => vec![change.key()],
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(node) = self.nodes.get(key) else { return Ok(None) };
        let taken = if has_no_part(&node) {
            self.nodes.list().iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect()
        } else {
            BTreeSet::new()
        };
        Ok(Some(Observed { node, taken }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed, &self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cidr: &str, mask: u8, taken: &[&str], expect: Option<&str>) {
        let range = Range::parse(cidr, mask).expect("a range");
        let taken = taken.iter().map(|part| (*part).to_owned()).collect();
        let plan = reconcile(&Observed { node: Arc::default(), taken }, &range);
        let got = plan.actions.first().map(|action| match action {
            Action::Patch { patch, .. } => patch["spec"]["podCIDR"].as_str().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        });
        assert_eq!(got.as_deref(), expect, "{cidr} in /{mask}");
    }

    #[test]
    fn first_free_part() {
        check("10.42.0.0/16", 24, &[], Some("10.42.0.0/24"));
        check("10.42.0.0/16", 24, &["10.42.0.0/24", "10.42.2.0/24"], Some("10.42.1.0/24"));
        check("10.0.3.7/23", 24, &["10.0.2.0/24"], Some("10.0.3.0/24"));
        check("10.0.2.0/24", 24, &["10.0.2.0/24"], None);
    }
}
