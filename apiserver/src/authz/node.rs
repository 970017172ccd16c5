//! What nodes may do: their own Node, lease and pods, and what those pods refer to; beyond that the rules
//! of the role `system:node`.
//!
//! Entry points: [`decide`] and [`node_name`]. What a node writes into its objects is for
//! `crate::admission::node_restriction`. Source: upstream's `plugin/pkg/auth/authorizer/node`.

mod graph;
mod references;

use std::sync::LazyLock;

use api::rbac::PolicyRule;
use component_base::user::UserInfo;

pub(crate) use graph::{Graph, KINDS, VertexKind};
pub(crate) use references::pod_mentions;

use super::{Attributes, Decision, Verdict, rbac};
use crate::bootstrap::rbac::node_rules;

const NODES_GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What all nodes may, whatever it is about.
static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(node_rules);

/// The node a user is, if it is one; empty if it does not say which.
pub(crate) fn node_name(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(USER_PREFIX)?;
    user.groups.iter().any(|group| group == NODES_GROUP).then_some(name)
}

/// Why a node may not; it is no more than an absent opinion.
type Refusal = String;

/// Allows nodes what is theirs; never denies.
pub(super) fn decide(graph: &Graph, user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    let Some(node) = node_name(user) else { return Decision::none() };
    if node.is_empty() {
        let reason = format!("unknown node for user {:?}", user.name);
        return Decision::new(Verdict::NoOpinion, reason);
    }
    let question = Question { graph, node, wish };
    match question.answer() {
        Ok(()) => Decision::new(Verdict::Allow, ""),
        Err(reason) => Decision::new(Verdict::NoOpinion, reason),
    }
}

struct Question<'a> {
    graph: &'a Graph,
    node: &'a str,
    wish: &'a Attributes<'a>,
}

impl Question<'_> {
    fn answer(&self) -> Result<(), Refusal> {
        let Attributes { group, resource, subresource, .. } = *self.wish;
        if !self.wish.is_resource {
            return self.by_rules();
        }
        match (group, resource) {
            ("", "secrets") => self.read_namespaced(VertexKind::Secret),
            ("", "configmaps") => self.read_namespaced(VertexKind::ConfigMap),
            ("", "persistentvolumeclaims") if subresource == "status" => {
                self.update_status(VertexKind::PersistentVolumeClaim)
            }
            ("", "persistentvolumeclaims") => self.get(VertexKind::PersistentVolumeClaim),
            ("", "persistentvolumes") => self.get(VertexKind::PersistentVolume),
            ("", "serviceaccounts") => self.service_account(),
            ("", "nodes") => self.own_node(),
            ("", "pods") => self.pod(),
            ("resource.k8s.io", "resourceclaims") => self.get(VertexKind::ResourceClaim),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(),
            ("storage.k8s.io", "volumeattachments") => self.get(VertexKind::VolumeAttachment),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("coordination.k8s.io", "leases") => self.lease(),
            _ => self.by_rules(),
        }
    }

    fn by_rules(&self) -> Result<(), Refusal> {
        demand(RULES.iter().any(|rule| rbac::allows(rule, self.wish)), "")
    }

    fn related(&self, kind: VertexKind) -> Result<(), Refusal> {
        let Attributes { namespace, name, .. } = *self.wish;
        demand(!name.is_empty(), "No Object name found")?;
        let related = self.graph.relates(kind, namespace, name, self.node);
        let why = || format!("no relationship found between node '{}' and this object", self.node);
        if related { Ok(()) } else { Err(why()) }
    }

    fn read_namespaced(&self, kind: VertexKind) -> Result<(), Refusal> {
        self.verbs(&["get", "list", "watch"], "can only read resources of this type")?;
        demand(self.wish.subresource.is_empty(), "cannot read subresource")?;
        demand(!self.wish.namespace.is_empty(), "can only read namespaced object of this type")?;
        self.related(kind)
    }

    fn get(&self, kind: VertexKind) -> Result<(), Refusal> {
        self.verbs(&["get"], "can only get individual resources of this type")?;
        demand(self.wish.subresource.is_empty(), "cannot get subresource")?;
        self.related(kind)
    }

    fn update_status(&self, kind: VertexKind) -> Result<(), Refusal> {
        self.verbs(&["update", "patch"], "can only get/update/patch this type")?;
        self.related(kind)
    }

    /// Reading it is for credential providers of images (KEP-4412).
    fn service_account(&self) -> Result<(), Refusal> {
        let Attributes { verb, subresource, name, .. } = *self.wish;
        if verb == "get" && subresource.is_empty() {
            return self.related(VertexKind::ServiceAccount);
        }
        let single = verb == "create" && !name.is_empty();
        demand(single, "can only create tokens for individual service accounts")?;
        demand(subresource == "token", "can only create token subresource of serviceaccount")?;
        self.related(VertexKind::ServiceAccount)
    }

    fn lease(&self) -> Result<(), Refusal> {
        self.verbs(OWN_OBJECT, "can only get, create, update, patch, or delete a node lease")?;
        let why = "can only access leases in the \"kube-node-lease\" system namespace";
        demand(self.wish.namespace == LEASE_NAMESPACE, why)?;
        demand(self.is_own(), "can only access node lease with the same name as the requesting node")
    }

    fn csi_node(&self) -> Result<(), Refusal> {
        self.verbs(OWN_OBJECT, "can only get, create, update, patch, or delete a CSINode")?;
        demand(self.wish.subresource.is_empty(), "cannot authorize CSINode subresources")?;
        demand(self.is_own(), "can only access CSINode with the same name as the requesting node")
    }

    /// What is to be created has no name yet; admission looks at it.
    fn is_own(&self) -> bool {
        self.wish.verb == "create" || self.wish.name == self.node
    }

    fn resource_slice(&self) -> Result<(), Refusal> {
        demand(self.wish.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
        match self.wish.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(VertexKind::ResourceSlice),
            "watch" | "list" | "deletecollection" => demand(
                self.selects_own("spec.nodeName"),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".to_owned()),
        }
    }

    fn own_node(&self) -> Result<(), Refusal> {
        let Attributes { verb, subresource, name, .. } = *self.wish;
        match (subresource, verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if name == self.node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                Err(format!("node '{}' cannot read all nodes, only its own Node object", self.node))
            }
            ("", "get" | "list" | "watch") => {
                Err(format!("node '{}' cannot read '{name}', only its own Node object", self.node))
            }
            _ => Err(String::new()),
        }
    }

    fn pod(&self) -> Result<(), Refusal> {
        let Attributes { verb, subresource, name, .. } = *self.wish;
        match (subresource, verb) {
            ("", "get") => self.get(VertexKind::Pod),
            ("", "list" | "watch") if self.selects_own("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if !name.is_empty() => self.related(VertexKind::Pod),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    /// Whether a field selector asks for nothing but what is on this node.
    fn selects_own(&self, field: &str) -> bool {
        self.wish.selectors.is_some_and(|selectors| {
            selectors
                .field
                .terms()
                .iter()
                .any(|term| term.equal && term.field == field && term.value == self.node)
        })
    }

    fn verbs(&self, allowed: &[&str], why: &str) -> Result<(), Refusal> {
        demand(allowed.contains(&self.wish.verb), why)
    }
}

/// What a node may do with an object that is named like it.
const OWN_OBJECT: &[&str] = &["get", "create", "update", "patch", "delete"];

fn demand(holds: bool, why: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

#[cfg(test)]
mod tests;
