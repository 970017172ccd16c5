//! Nobody gives away more than they have: who writes a role must hold its rules, who writes a binding
//! those of the role it names, unless the verb `escalate` or `bind` says otherwise.
//!
//! Entry point: [`check`]. Source: upstream's `pkg/registry/rbac/{escalation_check.go,*/policybased}`.

use api::rbac::{GROUP, PolicyRule, describe, missing, quoted};
use api::strategy::Grant;
use api::{Status, object};
use serde_json::Value;

use super::{everything, rules_of};
use crate::authz::{self, Attributes, PRIVILEGED_GROUP};
use crate::call::Call;

/// Refuses a new (`old` is absent) or changed role or binding that gives more than its writer has.
///
/// # Errors
/// 403 with what is missing, 404 for a role that is not there.
pub(crate) async fn check(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let Some(grant) = call.stored.strategy.grants() else { return Ok(()) };
    let privileged = call.user.groups.iter().any(|group| group == PRIVILEGED_GROUP);
    if privileged || old.is_some_and(|old| only_collected(new, old)) {
        return Ok(());
    }
    match grant {
        Grant::Rules => role(call, new, old).await,
        Grant::Role => binding(call, new).await,
    }
}

/// Whether only what the garbage collector writes differs.
fn only_collected(new: &Value, old: &Value) -> bool {
    let plain = |object: &Value| {
        let mut object = object.clone();
        let metadata = object::metadata_mut(&mut object);
        for field in ["ownerReferences", "finalizers", "managedFields"] {
            metadata.remove(field);
        }
        object
    };
    plain(new) == plain(old)
}

async fn role(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let escalate = Attributes {
        verb: "escalate",
        version: "*",
        subresource: "",
        selectors: None,
        ..Attributes::of(&call.info, None)
    };
    if authz::authorize(&call.server, &call.user, &escalate).await.is_allowed() {
        return Ok(());
    }
    let name = object::name(new);
    holds(call, &PolicyRule::all_of(new)).await.map_err(|detail| refusal(call, name, &detail))?;
    let aggregates = |role: &Value| !role["aggregationRule"].is_null();
    if aggregates(new) || old.is_some_and(aggregates) {
        // What it gathers can be anything, also later.
        let detail = "must have cluster-admin privileges to use the aggregationRule";
        holds(call, &everything()).await.map_err(|_| refusal(call, name, detail))?;
    }
    Ok(())
}

async fn binding(call: &Call, new: &Value) -> Result<(), Status> {
    let text = |key: &str| new["roleRef"][key].as_str().unwrap_or_default();
    let (plural, namespace) = match text("kind") {
        "ClusterRole" => ("clusterroles", None),
        "Role" => ("roles", call.info.namespace()),
        kind => return Err(Status::internal(format!("unsupported role reference kind: {kind:?}"))),
    };
    // Asked in the namespace of the binding, so that a cluster role may be bound in one namespace only.
    let bind = Attributes {
        verb: "bind",
        namespace: &call.info.namespace,
        group: text("apiGroup"),
        resource: plural,
        name: text("name"),
        is_resource: true,
        ..Attributes::default()
    };
    if authz::authorize(&call.server, &call.user, &bind).await.is_allowed() {
        return Ok(());
    }
    // Read from the store: the role may have been written just now.
    let key = api::names::storage_key(GROUP, plural, namespace, text("name"));
    let role = call.server.stored(&key).await?;
    let role = role.ok_or_else(|| Status::not_found(GROUP, plural, text("name")))?;
    let wanted = PolicyRule::all_of(&role);
    holds(call, &wanted).await.map_err(|detail| refusal(call, object::name(new), &detail))
}

/// Whether the caller has all these rules in the namespace of the call; else what to say.
async fn holds(call: &Call, wanted: &[PolicyRule]) -> Result<(), String> {
    // What was taken away a moment ago must not be given away now.
    call.server.authz.rbac.caught_up().await;
    let (held, errors) = {
        let bindings = call.server.authz.rbac.read();
        rules_of(&bindings, &call.user, &call.info.namespace)
    };
    let missing = missing(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut detail = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        call.user.name,
        quoted(&call.user.groups),
        describe(&missing)
    );
    if !errors.is_empty() {
        detail += &format!("; resolution errors: [{}]", authz::aggregate(&errors));
    }
    Err(detail)
}

fn refusal(call: &Call, name: &str, detail: &str) -> Status {
    Status::forbidden(GROUP, &call.stored.plural, name, detail)
}
