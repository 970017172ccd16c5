//! Rules of `coordination.k8s.io`.

use serde_json::Value;

use super::check;
use crate::status::Cause;
use crate::strategy::Strategy;

/// A lock with a deadline.
pub struct Lease;

impl Strategy for Lease {
    fn is_report(&self) -> bool {
        true
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
            let field = "spec.leaseDurationSeconds";
            causes.push(Cause::invalid(field, &spec["leaseDurationSeconds"], "must be greater than 0"));
        }
        check::not_negative(&mut causes, "spec.leaseTransitions", &spec["leaseTransitions"]);
        causes
    }
}
