//! Which container, and on which node.

use api::Status;
use api::object;
use serde_json::Value;

use super::dial::{Backend, Wire};
use crate::call::Call;

/// What the container is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Its output; of its predecessor, maybe.
    Log {
        /// The one before the present one.
        previous: bool,
    },
    /// Streams.
    Stream,
}

/// Where a node's API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Node name, which its certificate carries.
    pub(crate) node: String,
    /// Internal address.
    pub(crate) address: String,
    /// Port of the node's API.
    pub(crate) port: u16,
}

impl Target {
    /// Where the pod's node is; `None` while the pod has none.
    pub(super) async fn of(call: &Call, pod: &Value) -> Result<Option<Self>, Status> {
        let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        let key = api::names::storage_key("", "nodes", None, name);
        let node = call.server.stored(&key).await?.ok_or_else(|| Status::not_found("", "nodes", name))?;
        Self::of_node(&node).map(Some)
    }

    /// As something to call.
    pub(super) fn backend(&self) -> Backend {
        Backend { host: self.address.clone(), port: self.port, wire: Wire::Node }
    }

    /// Where a node is.
    pub(crate) fn of_node(node: &Value) -> Result<Self, Status> {
        let name = object::name(node);
        let addresses = node["status"]["addresses"].as_array();
        let address = ["InternalIP", "ExternalIP"].iter().find_map(|kind| {
            addresses.into_iter().flatten().find(|a| a["type"] == *kind).and_then(|a| a["address"].as_str())
        });
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
        match (address, port) {
            (Some(address), Some(port)) => {
                Ok(Self { node: name.to_owned(), address: address.to_owned(), port })
            }
            (None, _) => Err(Status::internal(format!("node {name:?} has no address"))),
            (_, None) => Err(Status::unavailable(format!("node {name:?} does not serve its API"))),
        }
    }
}

/// The container a request means, checked to be one of the pod's.
pub(super) fn container(pod: &Value, wanted: &str, need: Need) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let items = pod["spec"][list].as_array();
        items.into_iter().flatten().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let pod_name = object::name(pod);
    let chosen = if wanted.is_empty() {
        let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        match (main.as_slice(), annotated) {
            (_, Some(name)) if main.iter().any(|c| c == name) => name.to_owned(),
            ([only], _) => only.clone(),
            _ => return Err(ambiguous(pod_name, &main, &init)),
        }
    } else if [&main, &init, &ephemeral].iter().any(|list| list.iter().any(|c| c == wanted)) {
        wanted.to_owned()
    } else {
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}")));
    };
    if let Need::Log { previous } = need {
        ready_to_log(pod, &chosen, previous)?;
    }
    Ok(chosen)
}

fn ambiguous(pod: &str, main: &[String], init: &[String]) -> Status {
    let mut text =
        format!("a container name must be specified for pod {pod}, choose one of: [{}]", main.join(" "));
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Status::bad_request(text)
}

/// A container that has not started has no log; saying why helps more than an empty answer.
fn ready_to_log(pod: &Value, container: &str, previous: bool) -> Result<(), Status> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let status = lists.iter().find_map(|list| {
        pod["status"][*list].as_array().into_iter().flatten().find(|s| s["name"] == container)
    });
    let pod_name = object::name(pod);
    let Some(status) = status else { return Ok(()) };
    let last = &status["lastState"]["terminated"];
    if previous {
        if last.is_object() {
            return Ok(());
        }
        return Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {pod_name:?} not found"
        )));
    }
    let waiting = &status["state"]["waiting"];
    if waiting.is_object() && !last.is_object() {
        let reason = waiting["reason"].as_str().unwrap_or_default();
        let text = match reason {
            "ErrImagePull" => format!(
                "container {container:?} in pod {pod_name:?} is waiting to start: image can't be pulled"
            ),
            "ImagePullBackOff" => format!(
                "container {container:?} in pod {pod_name:?} is waiting to start: trying and failing to pull image"
            ),
            reason => {
                format!("container {container:?} in pod {pod_name:?} is waiting to start: {reason}")
            }
        };
        return Err(Status::bad_request(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(containers: &[&str], wanted: &str, expect: &str) {
        let list: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": list}});
        let got = container(&pod, wanted, Need::Stream).unwrap_or_else(|status| status.message);
        assert_eq!(got, expect);
    }

    #[test]
    fn which_container() {
        check(&["a"], "", "a");
        check(&["a", "b"], "b", "b");
        check(&["a", "b"], "", "a container name must be specified for pod web, choose one of: [a b]");
        check(&["a"], "c", "container c is not valid for pod web");
    }

    #[test]
    fn a_waiting_container_has_no_log() {
        let pod = json!({
            "metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"containerStatuses": [
                {"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
        });
        let log = |previous| container(&pod, "", Need::Log { previous }).map_err(|status| status.message);
        assert_eq!(
            log(false).expect_err("waiting"),
            "container \"a\" in pod \"web\" is waiting to start: ContainerCreating"
        );
        assert_eq!(
            log(true).expect_err("never ran"),
            "previous terminated container \"a\" in pod \"web\" not found"
        );
    }

    #[test]
    fn where_a_node_is() {
        let node = json!({"metadata": {"name": "n"}, "status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        let target = Target::of_node(&node).expect("a target");
        assert_eq!((target.address.as_str(), target.port), ("10.0.0.1", 10250));
        assert!(Target::of_node(&json!({"metadata": {"name": "n"}})).is_err());
    }
}
