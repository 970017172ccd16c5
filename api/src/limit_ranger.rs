//! What a LimitRange does to pods and claims: fills in what containers do not say, and refuses what is out of bounds.
//!
//! Entry points: [`set_defaults`] and [`violations`]. Source: upstream's `plugin/pkg/admission/limitranger`. Pure.

use serde_json::{Map, Value};

use crate::object;
use crate::pod_resources::{self, Resources, list};
use crate::quantity::Quantity;

/// Says what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives the containers of a pod what the range has as defaults, and writes down what it gave.
pub fn set_defaults(range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for item in items(range, "Container") {
        for (to, from) in [(&mut requests, "defaultRequest"), (&mut limits, "default")] {
            to.extend(item[from].as_object().cloned().unwrap_or_default());
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for (section, word, defaults) in
                [("requests", "request", &requests), ("limits", "limit", &limits)]
            {
                let given = fill(container, section, defaults);
                if !given.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    notes.push(format!("{} {word} for {what} {name}", given.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        object::metadata_mut(pod);
        pod["metadata"]["annotations"][ANNOTATION] = text.into();
    }
}

/// Sets what is missing; answers with the names, in order.
fn fill(container: &mut Value, section: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let present = &container["resources"][section];
    let missing: Vec<String> = defaults.keys().filter(|name| present.get(name).is_none()).cloned().collect();
    if !missing.is_empty() {
        let resources = object::section(container, "resources");
        let slot = resources.entry(section).or_insert_with(|| Map::new().into());
        for name in &missing {
            slot[name] = defaults[name].clone();
        }
    }
    let mut missing = missing;
    missing.sort_unstable();
    missing
}

fn items<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let list = range["spec"]["limits"].as_array().into_iter().flatten();
    list.filter(move |item| item["type"] == kind)
}

/// How an object (a pod or a claim, by `plural`) is out of bounds, in upstream's words.
pub fn violations(range: &Value, plural: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if plural == "persistentvolumeclaims" {
        let requests = list(&object["spec"]["resources"]["requests"]);
        for item in items(range, "PersistentVolumeClaim") {
            let bounds =
                Bounds { kind: "PersistentVolumeClaim", requests: &requests, limits: &Resources::new() };
            found.extend(list(&item["min"]).iter().filter_map(|(name, value)| bounds.min(name, *value)));
            found.extend(
                list(&item["max"]).iter().filter_map(|(name, value)| bounds.max_request(name, *value)),
            );
        }
        return found;
    }
    for item in items(range, "Container") {
        for section in ["containers", "initContainers"] {
            for container in object["spec"][section].as_array().into_iter().flatten() {
                let resources = &container["resources"];
                let (requests, limits) = (list(&resources["requests"]), list(&resources["limits"]));
                found.extend(Bounds { kind: "Container", requests: &requests, limits: &limits }.all(item));
            }
        }
    }
    for item in items(range, "Pod") {
        let (requests, limits) = (pod_resources::requests(object), pod_resources::limits(object));
        found.extend(Bounds { kind: "Pod", requests: &requests, limits: &limits }.all(item));
    }
    found
}

/// What is measured.
struct Bounds<'a> {
    kind: &'a str,
    requests: &'a Resources,
    limits: &'a Resources,
}

impl Bounds<'_> {
    fn all(&self, item: &Value) -> Vec<String> {
        let mut found: Vec<String> =
            list(&item["min"]).iter().filter_map(|(name, value)| self.min(name, *value)).collect();
        found.extend(list(&item["max"]).iter().filter_map(|(name, value)| self.max(name, *value)));
        let ratios = list(&item["maxLimitRequestRatio"]);
        found.extend(ratios.iter().filter_map(|(name, value)| self.ratio(name, *value)));
        found
    }

    fn min(&self, name: &str, bound: Quantity) -> Option<String> {
        let head = format!("minimum {name} usage per {} is {bound}", self.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{head}.  No request is specified")),
            (Some(request), _) if *request < bound => Some(format!("{head}, but request is {request}")),
            (_, Some(limit)) if *limit < bound => Some(format!("{head}, but limit is {limit}")),
            _ => None,
        }
    }

    fn max(&self, name: &str, bound: Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {bound}", self.kind);
        match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => Some(format!("{head}.  No limit is specified")),
            (Some(limit), _) if *limit > bound => Some(format!("{head}, but limit is {limit}")),
            (_, Some(request)) if *request > bound => Some(format!("{head}, but request is {request}")),
            _ => None,
        }
    }

    fn max_request(&self, name: &str, bound: Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {bound}", self.kind);
        match self.requests.get(name) {
            None => Some(format!("{head}.  No request is specified")),
            Some(request) if *request > bound => Some(format!("{head}, but request is {request}")),
            Some(_) => None,
        }
    }

    fn ratio(&self, name: &str, bound: Quantity) -> Option<String> {
        let head = format!("{name} max limit to request ratio per {} is {bound}", self.kind);
        let set = |resources: &Resources| resources.get(name).copied().filter(|value| !value.is_zero());
        let Some(request) = set(self.requests) else {
            return Some(format!("{head}, but no request is specified or request is 0"));
        };
        let Some(limit) = set(self.limits) else {
            return Some(format!("{head}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        (ratio > bound.as_f64()).then(|| format!("{head}, but provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(kind: &str, fields: &Value) -> Value {
        let mut item = fields.clone();
        item["type"] = kind.into();
        json!({"spec": {"limits": [item]}})
    }

    fn pod(requests: &Value, limits: &Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
    }

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let range = range(
            "Container",
            &json!({"default": {"memory": "1Gi", "cpu": "1"}, "defaultRequest": {"cpu": "100m"}}),
        );
        let mut pod = pod(&json!({}), &json!({"memory": "2Gi"}));
        pod["spec"]["initContainers"] = json!([{"name": "i"}]);
        set_defaults(&range, &mut pod);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m"}, "limits": {"memory": "2Gi", "cpu": "1"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c; \
             cpu request for init container i; cpu, memory limit for init container i"
        );
        let filled = pod.clone();
        set_defaults(&range, &mut pod);
        assert_eq!(pod, filled);
    }

    #[test]
    fn bounds() {
        let check = |kind: &str, fields: Value, requests: Value, limits: Value, expect: &[&str]| {
            assert_eq!(violations(&range(kind, &fields), "pods", &pod(&requests, &limits)), expect);
        };
        let min = || json!({"min": {"cpu": "100m"}});
        check("Container", min(), json!({"cpu": "100m"}), json!({}), &[]);
        check(
            "Container",
            min(),
            json!({"cpu": "50m"}),
            json!({}),
            &["minimum cpu usage per Container is 100m, but request is 50m"],
        );
        check(
            "Container",
            min(),
            json!({}),
            json!({}),
            &["minimum cpu usage per Container is 100m.  No request is specified"],
        );
        let max = || json!({"max": {"memory": "1Gi"}});
        check("Pod", max(), json!({}), json!({"memory": "1Gi"}), &[]);
        check(
            "Pod",
            max(),
            json!({}),
            json!({"memory": "2Gi"}),
            &["maximum memory usage per Pod is 1Gi, but limit is 2Gi"],
        );
        check(
            "Pod",
            max(),
            json!({"memory": "1Mi"}),
            json!({}),
            &["maximum memory usage per Pod is 1Gi.  No limit is specified"],
        );
        let ratio = || json!({"maxLimitRequestRatio": {"cpu": "2"}});
        check("Container", ratio(), json!({"cpu": "1"}), json!({"cpu": "2"}), &[]);
        check(
            "Container",
            ratio(),
            json!({"cpu": "500m"}),
            json!({"cpu": "2"}),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"],
        );
        check(
            "Container",
            ratio(),
            json!({}),
            json!({"cpu": "2"}),
            &[
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ],
        );
    }

    #[test]
    fn claims() {
        let range =
            range("PersistentVolumeClaim", &json!({"min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}));
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let check = |size: &str| violations(&range, "persistentvolumeclaims", &claim(size));
        assert_eq!(check("1Gi"), [""; 0]);
        assert_eq!(
            check("3Gi"),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
        assert_eq!(
            check("1Mi"),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]
        );
    }
}
