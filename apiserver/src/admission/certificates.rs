//! Signing requests say who asked. That decides what may be signed, so the server writes it down itself.

use api::Status;
use serde_json::Value;

use crate::call::Call;
use crate::reviews::user_json;
use crate::storage::Operation;

/// Replaces what a new signing request says of its author.
pub(super) async fn requester(call: &Call, object: &mut Value) -> Result<Vec<Operation>, Status> {
    if call.stored.group != "certificates.k8s.io" {
        return Ok(Vec::new());
    }
    let spec = api::object::section(object, "spec");
    let user = user_json(&call.user);
    for field in ["username", "uid", "groups", "extra"] {
        match user.get(field) {
            Some(value) => spec.insert(field.to_owned(), value.clone()),
            None => spec.remove(field),
        };
    }
    Ok(Vec::new())
}
