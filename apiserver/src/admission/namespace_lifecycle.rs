//! Nothing is created in a namespace that is missing or going away.

use api::{Cause, Status, object};
use serde_json::Value;

use crate::call::{Call, index, store_status};
use crate::storage::{Change, Expect, Operation};

/// Namespaces that may not be deleted.
pub(crate) const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Makes the write conditional on the namespace staying as it is, so that no object slips in while the
/// namespace begins to terminate.
pub(super) async fn admit(call: &Call, created: &mut Value) -> Result<Vec<Operation>, Status> {
    if !call.kind.namespaced() {
        return Ok(Vec::new());
    }
    let namespace = &call.info.namespace;
    let key = api::names::storage_key("", "namespaces", None, namespace);
    let entry = call.server.store.get(&key, None).await.map_err(store_status)?;
    let Some(entry) = entry else { return Err(Status::not_found("", "namespaces", namespace)) };
    let kinds = call.server.kinds();
    let row = kinds.resource("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    if index(&entry, row).deleting {
        return Err(terminating(call, created));
    }
    let expect = Expect::Revision(entry.mod_revision);
    Ok(vec![Operation { key, expect, change: Change::Check }])
}

fn terminating(call: &Call, created: &Value) -> Status {
    let namespace = &call.info.namespace;
    let detail =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(&call.kind.group, &call.kind.plural, object::name(created), &detail);
    status.causes = vec![Cause {
        reason: "NamespaceTerminating",
        field: "metadata.namespace".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
    }];
    status
}
