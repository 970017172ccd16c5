//! LimitRanger: what pods and claims of a namespace ask for is within its limit ranges, which also fill in what
//! containers do not say. Rules: `api::limit_ranger`.

use api::{Status, limit_ranger, object};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::authz::aggregate;

async fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Value>, Status> {
    attributes.stored_all(("", "limitranges"), Some(attributes.namespace())).await
}

/// Containers are not changed after creation but by a resize.
fn is_asked(attributes: &Attributes<'_>) -> bool {
    let (_, plural, subresource) = attributes.resource();
    let going = attributes.old.is_some_and(object::is_deleting);
    let new = attributes.operation == Operation::Create;
    !going && (plural != "pods" || new || subresource == "resize")
}

pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if is_asked(attributes) && attributes.call.kind.plural == "pods" {
        ranges(attributes).await?.iter().for_each(|range| limit_ranger::set_defaults(range, pod));
    }
    Ok(())
}

pub(super) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    if !is_asked(attributes) {
        return Ok(());
    }
    for range in ranges(attributes).await? {
        let found = limit_ranger::violations(&range, &attributes.call.kind.plural, object);
        if !found.is_empty() {
            return Err(attributes.forbidden(object, &aggregate(&found)));
        }
    }
    Ok(())
}
