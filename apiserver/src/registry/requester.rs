//! Some objects say who asked for them, and what becomes of them depends on it: the server writes it down itself.

use serde_json::Value;

use crate::call::Call;
use crate::reviews::user_json;

/// Replaces what a new object says of its author, if objects of its kind say that.
pub(super) fn record(call: &Call, object: &mut Value) {
    if !call.stored.strategy.names_requester() {
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
