//! Signing requests say who asked. That decides what may be signed, so the server writes it down itself.

use serde_json::Value;

use crate::call::Call;
use crate::reviews::user_json;

/// Replaces what a new signing request says of its author.
pub(super) fn record(call: &Call, object: &mut Value) {
    if (call.stored.group.as_ref(), call.stored.plural.as_ref())
        != ("certificates.k8s.io", "certificatesigningrequests")
    {
        return;
    }
    let spec = api::object::section(object, "spec");
    let user = user_json(&call.user);
    for field in ["username", "uid", "groups", "extra"] {
        match user.get(field) {
            Some(value) => spec.insert(field.to_owned(), value.clone()),
            None => spec.remove(field),
        };
    }
}
