//! Roles and bindings every cluster has: data in `manifests/rbac`, reconciled at each start. What users
//! added stays.
//!
//! Entry points: [`run`] and [`node_rules`]. Source: upstream's `pkg/registry/rbac/rest` and `bootstrappolicy`.

use std::sync::Arc;

use api::codec::yaml;
use api::rbac::reconcile::{Plan, plan};
use api::rbac::{GROUP, PolicyRule};
use api::{Status, object};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::ensure;
use crate::call::{Call, Server, store_status};
use crate::storage::{Change, Expect, Operation};

const CLUSTER_ROLES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/rbac/cluster_roles.yaml"));
const CONTROLLER_ROLES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/rbac/controller_roles.yaml"));
const BINDINGS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/rbac/bindings.yaml"));

/// Of the role of a controller; what follows is its service account.
const CONTROLLER_PREFIX: &str = "system:controller:";

/// The role, and its binding, that has the rules of all controllers; ours alone.
const ALL_CONTROLLERS: &str = "gantry:controllers";

/// Objects written at the same time: the store commits them together.
const AT_ONCE: usize = 64;

/// Makes what is missing and adds what objects lack.
pub(super) async fn run(server: &Arc<Server>) -> Result<(), Status> {
    let mut wanted = Vec::new();
    for text in [CLUSTER_ROLES, CONTROLLER_ROLES, BINDINGS] {
        wanted.extend(documents(text)?);
    }
    let bindings: Vec<Value> = wanted.iter().filter_map(controller_binding).collect();
    let shared = all_controllers(&documents(CONTROLLER_ROLES)?);
    let all = wanted.into_iter().chain(bindings).chain(shared).map(marked);
    stream::iter(all).map(|wanted| reconcile(server, wanted)).buffer_unordered(AT_ONCE).try_collect().await
}

fn documents(text: &str) -> Result<Vec<Value>, Status> {
    yaml::decode_all(text).map_err(|error| Status::internal(format!("manifests/rbac: {error}")))
}

/// The rules of the role `system:node`, which the node authorizer applies.
pub(crate) fn node_rules() -> Vec<PolicyRule> {
    let roles = documents(CLUSTER_ROLES).unwrap_or_default();
    let role = roles.iter().find(|role| object::name(role) == "system:node");
    role.map(PolicyRule::all_of).unwrap_or_default()
}

/// A controller's role is for the service account of its name.
fn controller_binding(role: &Value) -> Option<Value> {
    let name = object::name(role);
    let account = name.strip_prefix(CONTROLLER_PREFIX).filter(|_| role["kind"] == "ClusterRole")?;
    Some(json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": account}],
    }))
}

/// Our controllers share one process, one view of the cluster and one user, as upstream's do without
/// `--use-service-account-credentials`. That user must then have the roles of all of them.
fn all_controllers(roles: &[Value]) -> [Value; 2] {
    let mut rules: Vec<Value> = Vec::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array()).flatten() {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    let role = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": ALL_CONTROLLERS}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": ALL_CONTROLLERS},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": ALL_CONTROLLERS},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "system:kube-controller-manager"}],
    });
    [role, binding]
}

/// With the label and the annotation all of them have.
fn marked(mut object: Value) -> Value {
    object["metadata"]["labels"]["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
    object["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "true".into();
    object
}

async fn reconcile(server: &Arc<Server>, wanted: Value) -> Result<(), Status> {
    let plural = format!("{}s", wanted["kind"].as_str().unwrap_or_default().to_lowercase());
    let namespace = object::namespace(&wanted).to_owned();
    make_way(server, &plural, &wanted).await?;
    ensure(server, (GROUP, "v1", &plural), &namespace, wanted, |wanted, old| match plan(wanted, old, false) {
        Plan::Update(new) => {
            *old = new;
            true
        }
        Plan::Keep | Plan::Recreate(_) => false,
    })
    .await
}

/// Removes a binding that names another role: that cannot be changed.
async fn make_way(server: &Arc<Server>, plural: &str, wanted: &Value) -> Result<(), Status> {
    let Some(kind) = server.kinds().resource(GROUP, "v1", plural).cloned() else { return Ok(()) };
    let call = Call::internal(server, &kind, object::namespace(wanted), object::name(wanted));
    let key = call.key(object::name(wanted));
    let Some(entry) = server.store.get(&key, None).await.map_err(store_status)? else { return Ok(()) };
    if !matches!(plan(wanted, &crate::call::parse(&entry.bytes)?, false), Plan::Recreate(_)) {
        return Ok(());
    }
    let expect = Expect::Revision(entry.mod_revision);
    let removal = Operation { key, expect, change: Change::Delete };
    server.store.transact_as(vec![removal], call.author()).await.map_err(store_status).map(|_| ())
}
