//! Nodes write what is theirs: their own Node, lease and pods. The node authorizer lets them come this far;
//! here the objects are looked at.
//!
//! Entry point: [`admit`]. Source: upstream's `plugin/pkg/admission/noderestriction`.

mod labels;

use api::{Status, object};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::authz::{self, node};

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Refuses what a node may not write.
pub(crate) async fn admit(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let user = attributes.user();
    let Some(node) = node::node_name(user) else { return Ok(()) };
    let request = Request { attributes, object, node };
    if node.is_empty() {
        return request.refuse(&format!("could not determine node from user {:?}", user.name));
    }
    match attributes.resource() {
        ("", "pods", "") => request.pod().await,
        ("", "pods", "status") => request.pod_status(),
        ("", "pods", "eviction") => request.eviction().await,
        ("", "pods", other) => {
            let detail =
                format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed");
            request.refuse(&detail)
        }
        ("", "nodes", _) => request.own_node(),
        ("", "persistentvolumeclaims", "status") => request.claim_status(),
        ("", "persistentvolumeclaims", _) => request.refuse("may only update PVC status"),
        ("", "serviceaccounts", "token") => request.token().await,
        ("coordination.k8s.io", "leases", _) => request.lease(),
        ("storage.k8s.io", "csinodes", _) => request.named_like_it("CSINode"),
        ("resource.k8s.io", "resourceslices", _) => request.resource_slice(),
        _ => Ok(()),
    }
}

struct Request<'a> {
    attributes: &'a Attributes<'a>,
    object: &'a Value,
    node: &'a str,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

impl Request<'_> {
    fn refuse(&self, detail: &str) -> Result<(), Status> {
        Err(self.attributes.forbidden(self.object, detail))
    }

    fn demand(&self, holds: bool, detail: &str) -> Result<(), Status> {
        if holds { Ok(()) } else { self.refuse(detail) }
    }

    fn unexpected(&self) -> Result<(), Status> {
        self.refuse(&format!("unexpected operation {:?}", self.attributes.operation.word()))
    }

    fn old(&self) -> &Value {
        self.attributes.old.unwrap_or(&Value::Null)
    }

    /// A pod of the request's namespace.
    async fn stored_pod(&self, name: &str) -> Result<Value, Status> {
        let namespace = Some(self.attributes.namespace());
        let pod = self.attributes.stored(("", "pods"), namespace, name).await?;
        pod.ok_or_else(|| Status::not_found("", "pods", name))
    }

    async fn pod(&self) -> Result<(), Status> {
        match self.attributes.operation {
            Operation::Create => self.mirror_pod().await,
            Operation::Delete => {
                let own = text(&self.old()["spec"], "nodeName") == self.node;
                let detail =
                    format!("node {:?} can only delete pods with spec.nodeName set to itself", self.node);
                self.demand(own, &detail)
            }
            other => self.refuse(&format!(
                "unexpected operation {:?}, node {:?} can only create and delete mirror pods",
                other.word(),
                self.node
            )),
        }
    }

    /// Only what mirrors a file of its own, and nothing that would grant it a look at other objects.
    async fn mirror_pod(&self) -> Result<(), Status> {
        let (node, pod) = (self.node, self.object);
        let mirror = !pod["metadata"]["annotations"][MIRROR].is_null();
        let detail =
            format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods");
        self.demand(mirror, &detail)?;
        let own = text(&pod["spec"], "nodeName") == node;
        self.demand(own, &format!("node {node:?} can only create pods with spec.nodeName set to itself"))?;
        self.mirror_owner().await?;
        let refers = |what: &str| format!("node {node:?} can not create pods that reference {what}");
        self.demand(text(&pod["spec"], "serviceAccountName").is_empty(), &refers("a service account"))?;
        for (kind, what) in
            [(node::VertexKind::Secret, "secrets"), (node::VertexKind::ConfigMap, "configmaps")]
        {
            let any = node::pod_mentions(pod).iter().any(|vertex| vertex.0 == kind);
            self.demand(!any, &refers(what))?;
        }
        let mut sources =
            items(&pod["spec"], "volumes").flat_map(|volume| items(&volume["projected"], "sources"));
        self.demand(!sources.any(|s| !s["clusterTrustBundle"].is_null()), &refers("clustertrustbundles"))?;
        let claims = items(&pod["spec"], "volumes").any(|volume| !volume["persistentVolumeClaim"].is_null());
        self.demand(!claims, &refers("persistentvolumeclaims"))?;
        self.demand(is_empty(&pod["spec"]["resourceClaims"]), &refers("resourceclaims"))
    }

    async fn mirror_owner(&self) -> Result<(), Status> {
        let node = self.node;
        let owners: Vec<&Value> = items(&self.object["metadata"], "ownerReferences").collect();
        let set = format!("node {node:?} can only create pods with an owner reference set to itself");
        let owner = match owners[..] {
            [owner] => owner,
            [] => return self.refuse(&set),
            _ => {
                let detail = "can only create pods with a single owner reference set to itself";
                return self.refuse(&format!("node {node:?} {detail}"));
            }
        };
        let itself =
            text(owner, "apiVersion") == "v1" && text(owner, "kind") == "Node" && text(owner, "name") == node;
        self.demand(itself, &set)?;
        let detail = "can only create pods with a controller owner reference set to itself";
        self.demand(owner["controller"] == true, &format!("node {node:?} {detail}"))?;
        let detail = format!("node {node:?} must not set blockOwnerDeletion on an owner reference");
        self.demand(owner["blockOwnerDeletion"] != true, &detail)?;
        let stored = self.attributes.stored(("", "nodes"), None, node).await?;
        let stored = stored.ok_or_else(|| Status::not_found("", "nodes", node))?;
        let (expected, got) = (text(owner, "uid"), object::uid(&stored));
        self.demand(expected == got, &format!("node {node} UID mismatch: expected {expected} got {got}"))
    }

    fn pod_status(&self) -> Result<(), Status> {
        if self.attributes.operation != Operation::Update {
            return self.unexpected();
        }
        let (node, old, new) = (self.node, self.old(), self.object);
        let detail =
            format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
        self.demand(text(&old["spec"], "nodeName") == node, &detail)?;
        let same = |a: &Value, b: &Value| a == b || (is_empty(a) && is_empty(b));
        let labels = same(&old["metadata"]["labels"], &new["metadata"]["labels"]);
        self.demand(labels, &format!("node {node:?} cannot update labels through pod status"))?;
        let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
        self.demand(
            same(&claims(old), &claims(new)),
            &format!("node {node:?} cannot update resource claim statues"),
        )
    }

    async fn eviction(&self) -> Result<(), Status> {
        if self.attributes.operation != Operation::Create {
            return self.unexpected();
        }
        let name = match self.attributes.name.as_str() {
            "" => object::name(self.object),
            name => name,
        };
        self.demand(!name.is_empty(), "could not determine pod from request data")?;
        let pod = self.stored_pod(name).await?;
        let own = text(&pod["spec"], "nodeName") == self.node;
        self.demand(own, &format!("node {} can only evict pods with spec.nodeName set to itself", self.node))
    }

    fn own_node(&self) -> Result<(), Status> {
        let (node, name) = (self.node, self.attributes.name.as_str());
        self.demand(name == node, &format!("node {node:?} is not allowed to modify node {name:?}"))?;
        let (old, new) = (self.old(), self.object);
        let source = &new["spec"]["configSource"];
        match self.attributes.operation {
            Operation::Create => {
                let detail =
                    format!("node {node:?} is not allowed to create pods with a non-nil configSource");
                self.demand(source.is_null(), &detail)?;
                let forbidden = labels::forbidden(new, &Value::Null);
                let detail = format!("node {node:?} is not allowed to set the following labels: {forbidden}");
                self.demand(forbidden.is_empty(), &detail)
            }
            Operation::Update => {
                let kept = source.is_null() || *source == old["spec"]["configSource"];
                let detail = format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                );
                self.demand(kept, &detail)?;
                let (a, b) = (&new["spec"]["taints"], &old["spec"]["taints"]);
                let same = a == b || (is_empty(a) && is_empty(b));
                self.demand(same, &format!("node {node:?} is not allowed to modify taints"))?;
                // An owner that is gone would have the garbage collector delete the node.
                let (a, b) = (&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]);
                let same = a == b || (is_empty(a) && is_empty(b));
                self.demand(same, &format!("node {node:?} is not allowed to modify ownerReferences"))?;
                let forbidden = labels::forbidden(new, old);
                self.demand(forbidden.is_empty(), &format!("is not allowed to modify labels: {forbidden}"))
            }
            _ => Ok(()),
        }
    }

    fn claim_status(&self) -> Result<(), Status> {
        if self.attributes.operation != Operation::Update {
            return self.unexpected();
        }
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            let metadata = object::metadata_mut(&mut claim);
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
            let status = object::section(&mut claim, "status");
            for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
                status.remove(field);
            }
            claim
        };
        let detail = "is not allowed to update fields other than status.capacity and status.conditions";
        self.demand(rest(self.old()) == rest(self.object), &format!("node {:?} {detail}", self.node))
    }

    /// A token of a pod that runs here, for an audience the pod asks for.
    async fn token(&self) -> Result<(), Status> {
        if self.attributes.operation != Operation::Create {
            return Ok(());
        }
        let spec = &self.object["spec"];
        let bound = &spec["boundObjectRef"];
        let to_pod = text(bound, "apiVersion") == "v1" && text(bound, "kind") == "Pod";
        let named = to_pod && !text(bound, "name").is_empty();
        self.demand(named, "node requested token not bound to a pod")?;
        let uid = text(bound, "uid");
        self.demand(!uid.is_empty(), "node requested token with a pod binding without a uid")?;
        let pod = self.stored_pod(text(bound, "name")).await?;
        let detail = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        self.demand(object::uid(&pod) == uid, &detail)?;
        let own = text(&pod["spec"], "nodeName") == self.node;
        self.demand(own, "node requested token bound to a pod scheduled on a different node")?;
        self.audience(&pod).await
    }

    /// KEP-4935: what no volume of the pod asks for needs a right of its own.
    async fn audience(&self, pod: &Value) -> Result<(), Status> {
        let asked: Vec<&str> = items(&self.object["spec"], "audiences").filter_map(Value::as_str).collect();
        let audience = match asked[..] {
            [] => "",
            [one] => one,
            _ => return self.refuse("node may only request 0 or 1 audiences"),
        };
        for volume in items(&pod["spec"], "volumes") {
            if self.volume_asks_for(pod, volume, audience).await? {
                return Ok(());
            }
        }
        let wish = authz::Attributes {
            verb: "request-serviceaccounts-token-audience",
            namespace: self.attributes.namespace(),
            resource: audience,
            name: &self.attributes.name,
            is_resource: true,
            ..authz::Attributes::default()
        };
        let allowed =
            authz::authorize(&self.attributes.call.server, self.attributes.user(), &wish).await.is_allowed();
        let user = &self.attributes.user().name;
        let detail = format!(
            "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
        );
        self.demand(allowed, &detail)
    }

    /// Whether a volume of a pod has a token for an audience, or a driver that wants one.
    async fn volume_asks_for(&self, pod: &Value, volume: &Value, audience: &str) -> Result<bool, Status> {
        let has = |token: &Value| token.is_object() && text(token, "audience") == audience;
        if items(&volume["projected"], "sources").any(|source| has(&source["serviceAccountToken"])) {
            return Ok(true);
        }
        let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
            Some(name) => Some(name.to_owned()),
            None if volume["ephemeral"]["volumeClaimTemplate"].is_object() => {
                Some(format!("{}-{}", object::name(pod), text(volume, "name")))
            }
            None => None,
        };
        let driver = match claim {
            Some(claim) => self.driver_of(&claim).await?,
            None => volume["csi"]["driver"].as_str().map(str::to_owned),
        };
        let Some(driver) = driver else { return Ok(false) };
        let driver = self.attributes.stored(("storage.k8s.io", "csidrivers"), None, &driver).await?;
        let spec = driver.map_or(Value::Null, |driver| driver["spec"].clone());
        Ok(items(&spec, "tokenRequests").any(has))
    }

    /// The driver behind a claim of the pod's namespace.
    async fn driver_of(&self, claim: &str) -> Result<Option<String>, Status> {
        let namespace = Some(self.attributes.namespace());
        let claim = self.attributes.stored(("", "persistentvolumeclaims"), namespace, claim).await?;
        let Some(volume) = claim.as_ref().and_then(|claim| claim["spec"]["volumeName"].as_str()) else {
            return Ok(None);
        };
        let volume = self.attributes.stored(("", "persistentvolumes"), None, volume).await?;
        Ok(volume.and_then(|volume| volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)))
    }

    fn lease(&self) -> Result<(), Status> {
        let detail = format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace");
        self.demand(self.attributes.namespace() == LEASE_NAMESPACE, &detail)?;
        self.named_like_it("node lease")
    }

    fn named_like_it(&self, kind: &str) -> Result<(), Status> {
        let detail = format!("can only access {kind} with the same name as the requesting node");
        self.demand(self.attributes.name == self.node, &detail)
    }

    fn resource_slice(&self) -> Result<(), Status> {
        let (object, verb) = match self.attributes.operation {
            Operation::Create => (self.object, "create"),
            Operation::Delete => (self.old(), "delete"),
            _ => return Ok(()),
        };
        let own = text(&object["spec"], "nodeName") == self.node;
        self.demand(
            own,
            &format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"),
        )
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
