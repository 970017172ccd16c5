//! The pod and the container a user means: `web`, `deploy/web`, with `-c` or without.

use serde_json::Value;

use super::connection::{Connection, query};
use super::describe::format_selector;
use super::resources::{Resource, Resources};
use super::{Failure, Outcome};

/// The pod a target means: itself, or the first running pod that the named workload selects.
pub async fn pod_of(connection: &Connection, target: &str) -> Outcome<Value> {
    let namespace = connection.default_namespace();
    let path = |name: &str| format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let Some((kind, name)) = target.split_once('/') else { return connection.get(&path(target)).await };
    let resources = Resources::discover(connection).await?;
    let resource = resources.named(kind)?;
    let object = connection.get(&resource.object(&namespace, name)).await?;
    if resource.kind == "Pod" {
        return Ok(object);
    }
    let mut pods = pods_of(connection, resource, &object).await?;
    // Those that run and are ready come first, the youngest last.
    pods.sort_by_key(|pod| (pod["status"]["phase"] != "Running", !is_ready(pod)));
    pods.into_iter().next().ok_or_else(|| {
        Failure::new(format!(
            "error finding pods for {target}: no pods match its selector in namespace {namespace:?}"
        ))
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The pods a workload or service selects.
pub async fn pods_of(connection: &Connection, resource: &Resource, object: &Value) -> Outcome<Vec<Value>> {
    let selector = &object["spec"]["selector"];
    let text = match resource.kind.as_str() {
        "Service" | "ReplicationController" => super::get::joined_labels(selector),
        _ if selector.is_object() => format_selector(selector),
        _ => {
            return Err(Failure::new(format!(
                "cannot attach to *{}: selector for {} not implemented",
                resource.kind, resource.kind
            )));
        }
    };
    if text == "<none>" {
        return Err(Failure::new(format!(
            "invalid {} '{}': Selector is empty",
            resource.singular,
            api::object::name(object)
        )));
    }
    let namespace = api::object::namespace(object);
    let suffix = query(&[("labelSelector", &text)]);
    let mut list = connection.get(&format!("/api/v1/namespaces/{namespace}/pods{suffix}")).await?;
    Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

/// Every container of a pod: those that run first, the ones that go on, those added later.
pub fn containers(pod: &Value) -> Vec<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = lists.iter().filter_map(|list| pod["spec"][*list].as_array()).flatten();
    all.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
}

/// The container a user means: the one named, the annotated one, or the first.
///
/// # Errors
/// When the pod has no such container.
pub fn choose_container(pod: &Value, wanted: Option<&str>, tell: bool) -> Outcome<String> {
    let name = api::object::name(pod);
    let all = containers(pod);
    if let Some(wanted) = wanted {
        return match all.iter().any(|container| container == wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(Failure::new(format!("container {wanted} not found in pod {name}"))),
        };
    }
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    if let Some(annotated) = annotated.filter(|annotated| all.iter().any(|container| container == annotated))
    {
        return Ok(annotated.to_owned());
    }
    let first = pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
    if all.len() > 1 && tell {
        eprintln!("Defaulted container {first:?} out of: {}", listed(pod));
    }
    Ok(first.to_owned())
}

/// `a, b, c (init), d (ephem)`.
pub fn listed(pod: &Value) -> String {
    let lists = [("containers", ""), ("initContainers", " (init)"), ("ephemeralContainers", " (ephem)")];
    let names = lists.iter().flat_map(|(list, note)| {
        let all = pod["spec"][*list].as_array().into_iter().flatten();
        all.map(move |container| format!("{}{note}", container["name"].as_str().unwrap_or_default()))
    });
    names.collect::<Vec<_>>().join(", ")
}
