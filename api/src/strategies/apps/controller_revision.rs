//! Rules of controller revisions.

use serde_json::Value;

use super::super::check;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// A state a controller's object once had.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if object["data"].is_null() {
            causes.push(Cause::required("data", "data is mandatory"));
        }
        check::not_negative(&mut causes, "revision", &object["revision"]);
        causes
    }

    /// The number may rise when an old state becomes the current one again.
    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "data", &object["data"], &old["data"]);
        causes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_stays() {
        let texts = |causes: Vec<Cause>| causes.iter().map(Cause::to_string).collect::<Vec<_>>();
        let good = json!({"data": {"a": 1}, "revision": 2});
        assert_eq!(ControllerRevision.validate(&good), []);
        assert_eq!(
            texts(ControllerRevision.validate(&json!({"revision": -1}))),
            [
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        let risen = json!({"data": {"a": 1}, "revision": 3});
        assert_eq!(ControllerRevision.validate_update(&risen, &good), []);
        assert_eq!(
            texts(ControllerRevision.validate_update(&json!({"data": {"a": 2}}), &good)),
            ["data: Invalid value: {\"a\":2}: field is immutable"]
        );
    }
}
