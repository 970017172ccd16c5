//! The loop, with a controller that keeps one label on every ConfigMap, against a tiny API server.

use std::convert::Infallible;

use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::user::UserInfo;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::*;
use crate::events::Recorder;
use crate::plan::{Action, Target};
use crate::{request, transport};

/// One ConfigMap; patches count up, and the first is refused with a conflict.
struct Server {
    object: Mutex<(u64, Value)>,
    events: broadcast::Sender<String>,
    patches: Mutex<u32>,
}

impl Server {
    fn answer(&self, request: &http::Request<Body>) -> (u16, kube::client::Body) {
        let (revision, object) = self.object.lock().clone();
        if request.method() == "PATCH" {
            *self.patches.lock() += 1;
            if *self.patches.lock() == 1 {
                let status =
                    json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "modified"});
                return (409, status.to_string().into_bytes().into());
            }
            let mut object = object;
            object["metadata"]["resourceVersion"] = json!((revision + 1).to_string());
            object["metadata"]["labels"] = json!({"kept": "yes"});
            *self.object.lock() = (revision + 1, object.clone());
            let _no_watcher =
                self.events.send(format!("{}\n", json!({"type": "MODIFIED", "object": object})));
            return (200, object.to_string().into_bytes().into());
        }
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"resourceVersion": revision.to_string()}, "items": [object]});
        (200, list.to_string().into_bytes().into())
    }
}

struct Keeper(Informers);

#[async_trait]
impl Controller for Keeper {
    type Observed = Arc<ConfigMap>;

    fn name(&self) -> &'static str {
        "keeper"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.0.of::<ConfigMap>());
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure> {
        Ok(self.0.of::<ConfigMap>().get(key))
    }

    fn reconcile(&self, observed: &Self::Observed, _now: Timestamp) -> Plan {
        if observed.metadata.labels.is_some() {
            return Plan::nothing();
        }
        let target = Target::same_version(&request::resource::<ConfigMap>(), &observed.metadata);
        let patch = json!({"metadata": {"labels": {"kept": "yes"}}});
        Plan { actions: vec![Action::Patch { target, subresource: None, patch }], ..Plan::default() }
    }
}

#[tokio::test]
async fn converges_through_a_conflict_and_sees_its_own_write() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "ns", "name": "c", "uid": "u", "resourceVersion": "3"}});
    let (events, _) = broadcast::channel(16);
    let server = Arc::new(Server { object: Mutex::new((3, object)), events, patches: Mutex::new(0) });
    let shared = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = shared.clone();
        async move {
            let body: BoxBody = if request.uri().query().is_some_and(|q| q.contains("watch=true")) {
                let events = server.events.subscribe();
                let frames = futures::stream::unfold(events, |mut events| async move {
                    let event = events.recv().await.ok()?;
                    Some((Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(event))), events))
                });
                BoxBody::new(http_body_util::StreamBody::new(frames.boxed()))
            } else {
                let (code, body) = server.answer(&request);
                let bytes = body.collect_bytes().await.unwrap_or_default();
                let full =
                    http_body_util::BodyExt::map_err(
                        http_body_util::Full::new(bytes),
                        |never| match never {},
                    );
                let mut response = http::Response::new(BoxBody::new(full));
                *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
                return Ok::<_, Infallible>(response);
            };
            Ok(http::Response::new(body))
        }
    });
    let client = transport::in_process(service, UserInfo::component("keeper", &[]));
    let (clock, shutdown) = (RealClock::shared(), Shutdown::new());
    let informers = Informers::new(client.clone(), clock.clone(), Rng::seeded(1), shutdown.clone());
    let recorder = Recorder::new(client.clone(), clock.clone(), "keeper", "", &shutdown);
    let executor = Executor::new(client, recorder);
    run(
        Keeper(informers.clone()),
        Harness { informers: informers.clone(), executor, clock, shutdown: shutdown.clone() },
    );
    informers.of::<ConfigMap>().wait_for_revision(4).await;
    shutdown.trigger();
    shutdown.drained().await;
    assert_eq!(*server.patches.lock(), 2);
}

type BoxBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::io::Error>;
