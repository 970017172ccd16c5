//! How much a pod asks for in all: its containers together, or its largest init container, and what running it costs
//! besides.
//!
//! Entry points: [`requests`] and [`limits`]; [`list`] reads a map of quantities. Source: upstream's
//! `k8s.io/component-helpers/resource` with `UseStatusResources`: while a pod is resized, the larger of what it
//! wants and what it has counts. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// Quantities by the name of the resource.
pub type Resources = BTreeMap<String, Quantity>;

/// What a pod may set for itself as a whole (KEP-2837).
const POD_LEVEL: [&str; 3] = ["cpu", "memory", "hugepages-"];

/// Reads a map of quantities; what is no quantity is left out.
pub fn list(map: &Value) -> Resources {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?))).collect()
}

/// What is set aside for the pod.
pub fn requests(pod: &Value) -> Resources {
    let mut sum = of_containers(pod, "requests");
    add(&mut sum, &list(&pod["spec"]["overhead"]));
    sum
}

/// What the pod may take at most, of the resources it has a limit of.
pub fn limits(pod: &Value) -> Resources {
    let mut sum = of_containers(pod, "limits");
    let overhead = list(&pod["spec"]["overhead"]);
    add(&mut sum, &overhead.into_iter().filter(|(name, _)| sum_has(pod, name)).collect());
    sum
}

fn sum_has(pod: &Value, name: &str) -> bool {
    of_containers(pod, "limits").get(name).is_some_and(|value| !value.is_zero())
}

fn of_containers(pod: &Value, which: &str) -> Resources {
    let spec = &pod["spec"];
    let mut sum = Resources::new();
    for container in spec["containers"].as_array().into_iter().flatten() {
        add(&mut sum, &of_container(container, &pod["status"]["containerStatuses"], which));
    }
    let (mut sidecars, mut most) = (Resources::new(), Resources::new());
    for container in spec["initContainers"].as_array().into_iter().flatten() {
        let mut needs = of_container(container, &pod["status"]["initContainerStatuses"], which);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &needs);
            add(&mut sidecars, &needs);
            needs.clone_from(&sidecars);
        } else {
            add(&mut needs, &sidecars);
        }
        raise(&mut most, &needs);
    }
    raise(&mut sum, &most);
    for (name, value) in list(&spec["resources"][which]) {
        if POD_LEVEL.iter().any(|known| *known == name || (known.ends_with('-') && name.starts_with(known))) {
            sum.insert(name, value);
        }
    }
    sum
}

/// What a container wants, or has while it is to have less.
fn of_container(container: &Value, statuses: &Value, which: &str) -> Resources {
    let mut needs = list(&container["resources"][which]);
    let mut known = statuses.as_array().into_iter().flatten();
    if let Some(status) = known.find(|status| status["name"] == container["name"]) {
        raise(&mut needs, &list(&status["resources"][which]));
        if which == "requests" {
            raise(&mut needs, &list(&status["allocatedResources"]));
        }
    }
    needs
}

/// Adds `more` to `sum`, resource by resource.
pub fn add(sum: &mut Resources, more: &Resources) {
    for (name, value) in more {
        let total = sum.get(name).map_or(*value, |present| *present + *value);
        sum.insert(name.clone(), total);
    }
}

/// Makes each resource at least what `floor` says.
fn raise(most: &mut Resources, floor: &Resources) {
    for (name, value) in floor {
        if most.get(name).is_none_or(|present| present < value) {
            most.insert(name.clone(), *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(resources: &Resources) -> String {
        resources.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn sums() {
        let container =
            |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let mut pod = json!({"spec": {"containers": [container("a", "100m"), container("b", "200m")]}});
        assert_eq!(shown(&requests(&pod)), "cpu=300m");
        pod["spec"]["initContainers"] = json!([container("i", "500m")]);
        assert_eq!(shown(&requests(&pod)), "cpu=500m");
        let mut sidecar = container("s", "250m");
        sidecar["restartPolicy"] = "Always".into();
        pod["spec"]["initContainers"] = json!([sidecar, container("i", "500m")]);
        assert_eq!(shown(&requests(&pod)), "cpu=750m");
        pod["spec"]["overhead"] = json!({"cpu": "50m", "memory": "1Mi"});
        assert_eq!(shown(&requests(&pod)), "cpu=800m,memory=1Mi");
        assert_eq!(shown(&limits(&pod)), "");
        pod["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "1"});
        assert_eq!(shown(&limits(&pod)), "cpu=1050m");
        pod["status"] =
            json!({"containerStatuses": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]});
        assert_eq!(shown(&requests(&pod)), "cpu=2500m,memory=1Mi");
        pod["spec"]["resources"] = json!({"requests": {"cpu": "1", "example.com/x": "3"}});
        assert_eq!(shown(&requests(&pod)), "cpu=1050m,memory=1Mi");
    }
}
