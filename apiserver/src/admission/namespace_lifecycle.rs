//! NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and three namespaces stay
//! for good. NamespaceExists: nothing is done at all in one that is missing. NamespaceAutoProvision: who creates something
//! in a missing namespace creates that as well.

use api::{Cause, Reason, Status};
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::call::{Call, index, store_status};
use crate::registry;
use crate::storage::{self, Change, Expect};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Makes the write conditional on the namespace staying as it is, so that no object slips in while the
/// namespace begins to terminate.
pub(super) async fn admit(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let is_namespace = attributes.kind.group.is_empty() && attributes.kind.kind == "Namespace";
    if attributes.operation == Operation::Delete {
        let immortal = is_namespace && IMMORTAL.contains(&attributes.name.as_str());
        let detail = "this namespace may not be deleted";
        return if immortal { Err(attributes.forbidden(object, detail)) } else { Ok(()) };
    }
    let namespace = attributes.namespace();
    // What a review says of a missing namespace must not differ from what it says of others.
    let review = attributes.is("authorization.k8s.io", "localsubjectaccessreviews");
    if is_namespace || namespace.is_empty() || review {
        return Ok(());
    }
    let server = &attributes.call.server;
    let key = api::names::storage_key("", "namespaces", None, namespace);
    let entry = server.heard(&key).await.map_err(store_status)?;
    let Some(entry) = entry else { return Err(Status::not_found("", "namespaces", namespace)) };
    let kinds = server.kinds();
    let row = kinds.resource("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    if index(&entry, row).deleting {
        return Err(terminating(attributes, object));
    }
    let expect = Expect::Revision(entry.mod_revision);
    attributes.require(storage::Operation { key, expect, change: Change::Check });
    Ok(())
}

pub(super) async fn exists(attributes: &Attributes<'_>) -> Result<(), Status> {
    match missing(attributes).await? {
        Some(namespace) => Err(Status::not_found("", "namespaces", namespace)),
        None => Ok(()),
    }
}

pub(super) async fn provision(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let Some(namespace) = missing(attributes).await?.filter(|_| !attributes.dry_run()) else {
        return Ok(());
    };
    let server = &attributes.call.server;
    let kinds = server.kinds();
    let row = kinds.resource("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    let call = Call::internal(server, row, "", namespace);
    // Boxed because what creates objects asks admission.
    match Box::pin(registry::create(&call, json!({"metadata": {"name": namespace}}))).await {
        Err(status) if status.reason != Reason::AlreadyExists => {
            Err(attributes.forbidden(object, &status.message))
        }
        _ => Ok(()),
    }
}

/// The namespace of the object, if there is none of that name.
async fn missing<'a>(attributes: &'a Attributes<'_>) -> Result<Option<&'a str>, Status> {
    let namespace = attributes.namespace();
    let is_namespace = attributes.kind.group.is_empty() && attributes.kind.kind == "Namespace";
    if is_namespace || namespace.is_empty() {
        return Ok(None);
    }
    let found = attributes.stored(("", "namespaces"), None, namespace).await?;
    Ok(Some(namespace).filter(|_| found.is_none()))
}

fn terminating(attributes: &Attributes<'_>, object: &Value) -> Status {
    let namespace = attributes.namespace();
    let detail =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = attributes.forbidden(object, &detail);
    status.causes = vec![Cause {
        reason: "NamespaceTerminating",
        field: "metadata.namespace".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
    }];
    status
}
