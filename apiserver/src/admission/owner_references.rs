//! OwnerReferencesPermissionEnforcement: who gives an object an owner could as well delete it, and who makes an owner
//! wait for it could as well keep the owner with a finalizer.

use api::{Kind, Status};
use serde_json::Value;

use super::Attributes;
use crate::authz;

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let (new, old) = (owners(object), attributes.old.map_or(&[][..], owners));
    // A status write cannot change owners.
    if new == old || attributes.resource() == ("", "pods", "status") {
        return Ok(());
    }
    let (group, resource, subresource) = attributes.resource();
    let name = attributes.name.as_str();
    let delete = wish("delete", attributes.namespace(), &attributes.call.kind);
    let delete = authz::Attributes { group, resource, subresource, name, ..delete };
    if let Some(why) = refusal(attributes, &delete).await {
        let detail = format!("cannot set an ownerRef on a resource you can't delete: {why}");
        return Err(attributes.forbidden(object, &detail));
    }
    let waited_for = |owner: &&Value| {
        let before = old.iter().find(|other| other["uid"] == owner["uid"]);
        owner["blockOwnerDeletion"] == true
            && before.is_none_or(|before| before["blockOwnerDeletion"] != true)
    };
    for owner in new.iter().filter(waited_for) {
        may_hold(attributes, object, owner).await?;
    }
    Ok(())
}

/// Whether the user may set finalizers on an owner.
async fn may_hold(attributes: &Attributes<'_>, object: &Value, owner: &Value) -> Result<(), Status> {
    let text = |key: &str| owner[key].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let kinds = attributes.call.server.kinds();
    let Some(row) = kinds.kind(version, kind) else {
        let detail = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {kind}: no matches for kind {kind:?} in version {version:?}"
        );
        return Err(attributes.forbidden(object, &detail));
    };
    let namespace = if row.namespaced() { attributes.namespace() } else { "" };
    let finalize = wish("update", namespace, row);
    let finalize = authz::Attributes { subresource: "finalizers", name: text("name"), ..finalize };
    match refusal(attributes, &finalize).await {
        None => Ok(()),
        Some(why) => {
            let detail = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
            Err(attributes.forbidden(object, &format!("{detail}: {why}")))
        }
    }
}

fn wish<'a>(verb: &'a str, namespace: &'a str, kind: &'a Kind) -> authz::Attributes<'a> {
    authz::Attributes {
        verb,
        namespace,
        group: &kind.group,
        version: &kind.version,
        resource: &kind.plural,
        is_resource: true,
        ..authz::Attributes::default()
    }
}

/// Why the user may not, as Go prints reason and error.
async fn refusal(attributes: &Attributes<'_>, wish: &authz::Attributes<'_>) -> Option<String> {
    let decision = authz::authorize(&attributes.call.server, attributes.user(), wish).await;
    let error = decision.error.as_deref().unwrap_or("<nil>");
    (!decision.is_allowed()).then(|| format!("{}, {error}", decision.reason))
}
