//! What the scheduler writes: bindings, and the condition of pods that wait.
//!
//! Entry point: [`Writer::start`]. Decisions do not wait for writes: they are handed over, carried out
//! [`AT_ONCE`] at a time, and a binding's outcome comes back as an input of the scheduler.

use std::sync::Arc;

use client::key::Key;
use client::request;
use component_base::clock::{SharedClock, rfc3339_seconds};
use component_base::shutdown::Shutdown;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::pod::Pod;

/// Writes under way at once: enough to keep a server with group commit busy.
const AT_ONCE: usize = 64;

/// A write.
#[derive(Debug)]
pub(crate) enum Write {
    /// Put the pod on the node.
    Bind {
        /// The pod.
        pod: Arc<Pod>,
        /// The node's name.
        node: String,
    },
    /// Say why the pod waits.
    Condition {
        /// The pod.
        pod: Arc<Pod>,
        /// `Unschedulable` or `SchedulerError`.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// How a binding ended.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) pod: Arc<Pod>,
    pub(crate) node: String,
    pub(crate) result: Result<(), kube::Error>,
}

/// Takes writes. The queue has no bound of its own: there is at most one write per waiting pod.
pub(crate) struct Writer(mpsc::UnboundedSender<Write>);

impl Writer {
    /// Starts writing until shutdown; `bound` is told how each binding ended.
    pub(crate) fn start(
        client: kube::Client,
        clock: SharedClock,
        shutdown: &Shutdown,
        bound: impl Fn(Bound) + Send + Sync + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let writes =
            futures::stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<Write>| {
                receiver.recv().await.map(|write| (write, receiver))
            });
        shutdown.spawn_until(async move {
            let (client, clock, bound) = (&client, &clock, &bound);
            let perform = async |write| match write {
                Write::Bind { pod, node } => {
                    let result = bind(client, &pod, &node).await;
                    bound(Bound { pod, node, result });
                }
                Write::Condition { pod, reason, message } => {
                    let now = rfc3339_seconds(clock.now());
                    set_condition(client, &pod.key, condition(&pod, reason, &message, &now)).await;
                }
            };
            writes.for_each_concurrent(AT_ONCE, perform).await;
        });
        Self(sender)
    }

    /// Hands a write over.
    pub(crate) fn submit(&self, write: Write) {
        // Only shutdown ends the writer, and then nothing is to be written any more.
        let _ended = self.0.send(write);
    }
}

/// POST to `binding`; the server sets `spec.nodeName` and the condition `PodScheduled`.
async fn bind(client: &kube::Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": &*pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let resource = request::resource::<ApiPod>();
    let requests = request::requests(&resource, pod.key.namespace());
    let body = body.to_string().into_bytes();
    let request = requests
        .create_subresource("binding", &pod.key.name, &PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    client.request::<Value>(request).await.map(drop)
}

/// A strategic merge patch of the pod's `PodScheduled` condition.
fn condition(pod: &Pod, reason: &str, message: &str, now: &str) -> Value {
    let since = pod.condition.as_ref().filter(|known| known.status == "False");
    let since = since.and_then(|known| known.last_transition_time.as_ref());
    let since = since.map_or_else(|| now.to_owned(), |time| rfc3339_seconds(time.0));
    json!({"status": {"conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since,
        "observedGeneration": pod.generation,
    }]}})
}

async fn set_condition(client: &kube::Client, key: &Key, patch: Value) {
    let resource = request::resource::<ApiPod>();
    let requests = request::requests(&resource, key.namespace());
    let request =
        requests.patch_subresource("status", &key.name, &PatchParams::default(), &Patch::Strategic(patch));
    let Ok(request) = request else { return };
    if let Err(error) = client.request::<Value>(request).await {
        // The pod is gone, or the next try says it again.
        tracing::debug!(%error, pod = %key, "condition not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_is_that_of_the_change() {
        let pod: ApiPod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "c", "generation": 3},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .expect("a pod");
        let patch = condition(&Pod::read(&pod), "Unschedulable", "no", "2026-02-02T00:00:00Z");
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(
            (&condition["observedGeneration"], &condition["reason"]),
            (&json!(3), &json!("Unschedulable"))
        );
    }
}
