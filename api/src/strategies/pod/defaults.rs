//! Defaults that depend on other fields; those that do not are in the facts table.

use serde_json::Value;

use super::super::check;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a pod: those of a template, requests from limits, host ports.
pub(super) fn default_pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    default_spec(spec);
    let host_network = spec["hostNetwork"] == true;
    for container in containers(spec, &CONTAINER_LISTS[..2]) {
        requests_from_limits(container);
        if host_network {
            host_ports(container);
        }
    }
}

/// Defaults of the pod template of a workload.
pub(in crate::strategies) fn default_template(object: &mut Value) {
    default_template_at(object, "/spec/template/spec");
}

/// Defaults of the pod specification at a JSON pointer.
pub(in crate::strategies) fn default_template_at(object: &mut Value, pointer: &str) {
    if let Some(spec) = object.pointer_mut(pointer) {
        default_spec(spec);
    }
}

fn default_spec(spec: &mut Value) {
    for container in containers(spec, &CONTAINER_LISTS) {
        let set = container["imagePullPolicy"].as_str().is_some_and(|policy| !policy.is_empty());
        if !set {
            let policy = pull_policy(container["image"].as_str().unwrap_or_default());
            check::set(container, "imagePullPolicy", policy.into());
        }
    }
}

fn containers<'a>(spec: &'a mut Value, lists: &'a [&str]) -> impl Iterator<Item = &'a mut Value> {
    let fields = spec.as_object_mut().into_iter().flatten();
    fields
        .filter(|(key, _)| lists.contains(&key.as_str()))
        .filter_map(|(_, value)| value.as_array_mut())
        .flatten()
        .filter(|container| container.is_object())
}

/// An image without a tag or digest means `latest`, and `latest` moves.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    // A colon before the last slash belongs to the registry's port.
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        // No image at all: only that is worth a complaint.
        None if image.is_empty() => "IfNotPresent",
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if digest => "IfNotPresent",
        None => "Always",
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = resources.entry("requests").or_insert_with(|| Value::Object(serde_json::Map::new()));
    let Some(requests) = requests.as_object_mut() else { return };
    for (name, amount) in limits {
        requests.entry(name).or_insert(amount);
    }
}

fn host_ports(container: &mut Value) {
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port["hostPort"].as_i64().unwrap_or_default() == 0 && port["containerPort"].is_number() {
            let number = port["containerPort"].clone();
            check::set(port, "hostPort", number);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pull_policies() {
        for (image, expect) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("", "IfNotPresent"),
            ("host:5000/web", "Always"),
            ("host:5000/web:2", "IfNotPresent"),
            ("web@sha256:abc", "IfNotPresent"),
            ("web:latest@sha256:abc", "Always"),
        ] {
            assert_eq!(pull_policy(image), expect, "{image}");
        }
    }

    #[test]
    fn pods_and_templates() {
        let mut pod = json!({"spec": {"hostNetwork": true, "containers": [{"image": "a:1",
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            "ports": [{"containerPort": 80}]}]}});
        default_pod(&mut pod);
        assert_eq!(
            pod["spec"]["containers"][0],
            json!({"image": "a:1", "imagePullPolicy": "IfNotPresent",
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "500m", "memory": "1Gi"}},
                "ports": [{"containerPort": 80, "hostPort": 80}]})
        );
        let mut deployment = json!({"spec": {"template": {"spec": {"containers": [
            {"image": "a", "resources": {"limits": {"cpu": "1"}}}]}}}});
        default_template(&mut deployment);
        assert_eq!(
            deployment["spec"]["template"]["spec"]["containers"][0],
            json!({"image": "a", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "1"}}})
        );
    }
}
