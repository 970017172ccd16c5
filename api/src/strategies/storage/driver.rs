//! CSI drivers, and where they run.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::driver_name;
use crate::names;
use crate::object;
use crate::status::Cause;
use crate::strategies::check::{self, list, text};
use crate::strategy::{Context, Strategy};

const MIN_TOKEN_SECONDS: i64 = 10 * 60;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const MIN_UPDATE_PERIOD_SECONDS: i64 = 10;
const MAX_NODE_ID_BYTES: usize = 192;

/// What the cluster must know about a driver.
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    /// Upstream begins to count at the first change.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        if object::generation(old) == 0 && self.generation_changes(object, old) {
            object::metadata_mut(object).insert("generation".to_owned(), json!(1));
        }
    }

    fn generation_changes(&self, object: &Value, old: &Value) -> bool {
        let counted = ["tokenRequests", "requiresRepublish", "seLinuxMount"];
        counted.iter().any(|field| object["spec"][*field] != old["spec"][*field])
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            check::present(&mut causes, &format!("spec.{shown}"), &spec[field], "");
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        check::supported(&mut causes, "spec.fsGroupPolicy", &spec["fsGroupPolicy"], &policies);
        token_requests(&mut causes, list(spec, "tokenRequests"));
        for mode in list(spec, "volumeLifecycleModes") {
            let modes = ["Persistent", "Ephemeral"];
            check::supported(&mut causes, "spec.volumeLifecycleModes", mode, &modes);
        }
        check::present(&mut causes, "spec.seLinuxMount", &spec["seLinuxMount"], "");
        let period = &spec["nodeAllocatableUpdatePeriodSeconds"];
        if period.as_i64().is_some_and(|seconds| seconds < MIN_UPDATE_PERIOD_SECONDS) {
            let detail = format!("must be greater than or equal to {MIN_UPDATE_PERIOD_SECONDS} seconds");
            causes.push(Cause::invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, &detail));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (new, old) = (&object["spec"], &old["spec"]);
        check::immutable(
            &mut causes,
            "spec.attachedRequired",
            &new["attachRequired"],
            &old["attachRequired"],
        );
        let field = "volumeLifecycleModes";
        check::immutable(&mut causes, &format!("spec.{field}"), &new[field], &old[field]);
        causes
    }
}

fn token_requests(causes: &mut Vec<Cause>, requests: &[Value]) {
    let mut audiences = BTreeSet::new();
    for (at, request) in requests.iter().enumerate() {
        let path = format!("spec.tokenRequests[{at}]");
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            causes.push(Cause::duplicate(format!("{path}.audience"), &json!(audience)));
            continue;
        }
        let seconds = &request["expirationSeconds"];
        let detail = match seconds.as_i64() {
            Some(..MIN_TOKEN_SECONDS) => "may not specify a duration less than 10 minutes",
            Some(number) if number > MAX_TOKEN_SECONDS => {
                "may not specify a duration larger than 2^32 seconds"
            }
            _ => continue,
        };
        causes.push(Cause::invalid(format!("{path}.expirationSeconds"), seconds, detail));
    }
}

/// Which drivers run on a node, and as whom they know it.
pub struct CsiNode;

impl Strategy for CsiNode {
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, driver) in list(&object["spec"], "drivers").iter().enumerate() {
            let path = format!("spec.drivers[{at}]");
            let name = format!("{path}.name");
            driver_name(&mut causes, &name, &driver["name"]);
            node_id(&mut causes, &format!("{path}.nodeID"), driver);
            let count = &driver["allocatable"]["count"];
            check::not_negative(&mut causes, &format!("{path}.allocatable.count"), count);
            if !seen.insert(text(driver, "name")) {
                causes.push(Cause::duplicate(name, &driver["name"]));
            }
            topology_keys(&mut causes, &path, list(driver, "topologyKeys"));
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for before in list(&old["spec"], "drivers") {
            let same = |driver: &&Value| driver["name"] == before["name"];
            for driver in list(&object["spec"], "drivers").iter().filter(same) {
                let (mut new, mut old) = (driver.clone(), before.clone());
                // How many volumes fit may change while the driver runs (KEP-4876).
                object::remove(&mut new, "allocatable");
                object::remove(&mut old, "allocatable");
                check::immutable(&mut causes, "spec.drivers", &new, &old);
            }
        }
        causes
    }
}

fn node_id(causes: &mut Vec<Cause>, field: &str, driver: &Value) {
    let id = text(driver, "nodeID");
    if id.is_empty() {
        causes.push(Cause::required(field, ""));
    }
    if id.len() > MAX_NODE_ID_BYTES {
        let detail = format!("must be {MAX_NODE_ID_BYTES} characters or less");
        causes.push(Cause::invalid(field, &driver["nodeID"], &detail));
    }
}

fn topology_keys(causes: &mut Vec<Cause>, path: &str, keys: &[Value]) {
    let mut seen = BTreeSet::new();
    for key in keys {
        let name = key.as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(path, ""));
        }
        if !seen.insert(name) {
            causes.push(Cause::duplicate(path, key));
        }
        check::rules(causes, path, key, names::qualified_name(name));
    }
}
