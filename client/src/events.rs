//! Records core `v1` Events, without flooding the server.
//!
//! Entry point: [`Recorder::record`]. The same event again becomes a higher `count`; more than ten
//! alike that differ only in their message within ten minutes are combined; one object may cause
//! 25 events at once and then one every five minutes, as client-go limits them.

mod correlate;

use component_base::clock::SharedClock;
use component_base::shutdown::Shutdown;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

use crate::plan::EventDraft;
use crate::request;
use correlate::{Correlator, Write};

/// Events waiting to be written; more are dropped, since nobody may be held up by them.
const WAITING: usize = 1024;

/// Takes events from one component. Clones share the limits.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<EventDraft>);

impl Recorder {
    /// Starts recording as `component`, on `host` (a node's name, or empty), until shutdown.
    pub fn new(
        client: kube::Client,
        clock: SharedClock,
        component: &str,
        host: &str,
        shutdown: &Shutdown,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel::<EventDraft>(WAITING);
        let mut correlator = Correlator::new(component, host);
        shutdown.spawn_until(async move {
            while let Some(draft) = receiver.recv().await {
                if let Some(write) = correlator.correlate(draft, clock.now()) {
                    send(&client, write).await;
                }
            }
        });
        Self(sender)
    }

    /// Records an event. Never waits.
    pub fn record(&self, draft: EventDraft) {
        if let Err(error) = self.0.try_send(draft) {
            tracing::debug!(%error, "event dropped");
        }
    }
}

/// Events are best effort: what the server refuses is dropped.
async fn send(client: &kube::Client, write: Write) {
    let requests = request::requests(&request::resource::<Event>(), Some(&write.namespace));
    if let Some(patch) = &write.patch {
        let request = requests.patch(&write.name, &PatchParams::default(), &Patch::Merge(patch));
        let Ok(request) = request else { return };
        match client.request::<serde_json::Value>(request).await {
            // Expired meanwhile: write it anew.
            Err(error) if request::code(&error) == Some(404) => {}
            Err(error) => return tracing::debug!(%error, "event not counted"),
            Ok(_) => return,
        }
    }
    let Ok(request) = requests.create(&PostParams::default(), write.whole.to_string().into_bytes()) else {
        return;
    };
    if let Err(error) = client.request::<serde_json::Value>(request).await {
        tracing::debug!(%error, "event not recorded");
    }
}
