//! Rules of `node.k8s.io`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use super::pod;
use crate::names;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

/// A container runtime that pods may ask for.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let handler = text(object, "handler");
        check::rules(&mut causes, "handler", &json!(handler), names::dns1123_label(handler));
        let overhead = &object["overhead"]["podFixed"];
        if !overhead.is_null() {
            pod::requirements(&mut causes, &json!({"limits": overhead}), "overhead");
        }
        let scheduling = &object["scheduling"];
        check::labels(&mut causes, "scheduling.nodeSelector", &scheduling["nodeSelector"]);
        pod::validate_tolerations(&mut causes, scheduling, "scheduling.tolerations");
        let mut seen = BTreeSet::new();
        for (at, toleration) in list(scheduling, "tolerations").iter().enumerate() {
            let key = ["key", "operator", "value", "effect"].map(|field| text(toleration, field));
            if !seen.insert(key) {
                causes.push(Cause::duplicate(format!("scheduling.tolerations[{at}]"), toleration));
            }
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        check::immutable(&mut causes, "handler", &object["handler"], &old["handler"]);
        causes
    }
}
