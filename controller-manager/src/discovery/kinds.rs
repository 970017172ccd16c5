//! The live set of kinds and the views of their metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::informer::{Change, Informer, Informers, Interest};
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::definition::Definition;
use super::{Served, deletable};

/// Metadata of an object of any kind.
pub type Metadata = PartialObjectMeta<DynamicObject>;

/// Hears of every change of every object.
type Listener = Arc<dyn Fn(&Arc<ApiResource>, &Change<Metadata>) + Send + Sync>;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// All kinds that can be listed and deleted. Clones share the set.
#[derive(Clone)]
pub struct Kinds(Arc<Shared>);

struct Shared {
    informers: Informers,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// By group and plural: what is said about kinds must be said in the same order twice.
    kinds: BTreeMap<(String, String), Kind>,
    listeners: Vec<Listener>,
}

#[derive(Clone)]
struct Kind {
    served: Served,
    view: Option<Informer<Metadata>>,
}

impl Kinds {
    /// An empty set that fills and follows in the background.
    pub fn start(informers: &Informers, clock: SharedClock, rng: Rng, shutdown: &Shutdown) -> Self {
        let shared = Shared {
            informers: informers.clone(),
            state: Mutex::default(),
            ready: watch::Sender::new(false),
        };
        let kinds = Self(Arc::new(shared));
        let definitions: Informer<Definition> = informers.of();
        shutdown.spawn_until(kinds.clone().follow(definitions, clock, rng));
        kinds
    }

    /// Completes when every kind known at the start is in view.
    pub async fn ready(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ended = self.0.ready.subscribe().wait_for(|ready| *ready).await.is_err();
    }

    /// All kinds, by group and plural.
    pub fn all(&self) -> Vec<Served> {
        self.0.state.lock().kinds.values().map(|kind| kind.served.clone()).collect()
    }

    /// The kind of this group and name, at its preferred version.
    pub fn find(&self, group: &str, kind: &str) -> Option<Served> {
        let state = self.0.state.lock();
        let mut all = state.kinds.values().map(|kind| &kind.served);
        all.find(|served| served.resource.group == group && served.resource.kind == kind).cloned()
    }

    /// What the views show in a namespace, by kind; kinds without any are absent.
    pub fn in_namespace(&self, namespace: &str) -> Vec<(ApiResource, Vec<ObjectMeta>)> {
        let state = self.0.state.lock();
        let views = state.kinds.values().filter(|kind| kind.served.namespaced);
        views
            .filter_map(|kind| {
                let objects = kind.view.as_ref()?.in_namespace(namespace);
                let objects: Vec<ObjectMeta> = objects.iter().map(|object| object.metadata.clone()).collect();
                (!objects.is_empty()).then(|| (kind.served.resource.clone(), objects))
            })
            .collect()
    }

    /// Calls `listener` for everything present and for every change of every kind, now or later served.
    pub fn on_change(&self, listener: impl Fn(&Arc<ApiResource>, &Change<Metadata>) + Send + Sync + 'static) {
        let listener: Listener = Arc::new(listener);
        // Listeners may ask for kinds themselves: none is called while the set is locked. Who is registered before
        // a kind comes is told of it by whoever brings it, all others find it here.
        let present: Vec<Kind> = {
            let mut state = self.0.state.lock();
            state.listeners.push(Arc::clone(&listener));
            state.kinds.values().cloned().collect()
        };
        present.iter().for_each(|kind| kind.tell(&listener));
    }

    async fn follow(self, definitions: Informer<Definition>, clock: SharedClock, rng: Rng) {
        let (wake, mut woken) = mpsc::channel(1);
        definitions.synced().await;
        definitions
            .on_change(move |_| !matches!(wake.try_send(()), Err(mpsc::error::TrySendError::Closed(()))));
        let mut builtin = self.discover(&clock, &rng).await;
        let custom = |definitions: &Informer<Definition>| -> Vec<Served> {
            definitions.list().iter().filter_map(|definition| definition.served()).collect()
        };
        let place = |served: &Served| (served.resource.group.clone(), served.resource.plural.clone());
        let defined: Vec<_> = custom(&definitions).iter().map(place).collect();
        builtin.retain(|served| !defined.contains(&place(served)));
        self.set(builtin.iter().cloned().chain(custom(&definitions)));
        let views: Vec<_> = self.0.state.lock().kinds.values().filter_map(|kind| kind.view.clone()).collect();
        for view in views {
            view.synced().await;
        }
        self.0.ready.send_replace(true);
        while woken.recv().await.is_some() {
            self.set(builtin.iter().cloned().chain(custom(&definitions)));
        }
    }

    async fn discover(&self, clock: &SharedClock, rng: &Rng) -> Vec<Served> {
        let mut wait = FIRST_WAIT;
        loop {
            match deletable(self.0.informers.client()).await {
                Ok(served) => return served,
                Err(error) => {
                    tracing::warn!(%error, "cannot discover which kinds there are");
                    clock.sleep(rng.jitter(wait, 0.5)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Makes the set what it should be: views of what is new begin, those of what is gone end.
    fn set(&self, wanted: impl Iterator<Item = Served>) {
        let mut state = self.0.state.lock();
        let mut before = std::mem::take(&mut state.kinds);
        let mut begun = Vec::new();
        for served in wanted {
            let place = (served.resource.group.clone(), served.resource.plural.clone());
            let known = before.remove(&place).filter(|kind| kind.served == served);
            let kind = known.unwrap_or_else(|| {
                let kind = Kind { view: self.view(&served), served };
                begun.push(kind.clone());
                kind
            });
            state.kinds.insert(place, kind);
        }
        let listeners = state.listeners.clone();
        drop(state);
        for kind in begun {
            listeners.iter().for_each(|listener| kind.tell(listener));
        }
        for kind in before.into_values() {
            if let Some(view) = kind.view {
                view.stop();
            }
        }
    }

    /// Events own nothing and nothing owns them for long; they would only fill memory.
    fn view(&self, served: &Served) -> Option<Informer<Metadata>> {
        let wanted = served.watchable && served.resource.plural != "events";
        let resource = served.resource.clone();
        wanted.then(|| self.0.informers.start(Interest { resource, fields: None, metadata_only: true }))
    }
}

impl Kind {
    fn tell(&self, listener: &Listener) {
        let Some(view) = &self.view else { return };
        let (listener, resource) = (Arc::clone(listener), Arc::new(self.served.resource.clone()));
        view.on_change(move |change| {
            listener(&resource, change);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use client::transport;
    use component_base::clock::FakeClock;
    use component_base::user::UserInfo;
    use serde_json::json;

    use super::*;

    /// Has one object, and nothing happens to it.
    fn server() -> kube::Client {
        let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            if request.uri().query().is_some_and(|query| query.contains("watch")) {
                return std::future::pending().await;
            }
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": "2"}, "items": [{"kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1", "metadata": {"namespace": "n", "name": "a", "resourceVersion": "1"}}]});
            Ok::<_, Infallible>(http::Response::new(kube::client::Body::from(list.to_string().into_bytes())))
        });
        transport::in_process(service, UserInfo::component("me", &[]))
    }

    #[tokio::test]
    async fn listeners_may_ask_for_kinds() {
        let (clock, shutdown) = (FakeClock::at(jiff::Timestamp::UNIX_EPOCH), Shutdown::new());
        let informers = Informers::new(server(), clock, Rng::seeded(1), shutdown.clone());
        let shared = Shared { informers, state: Mutex::default(), ready: watch::Sender::new(true) };
        let kinds = Kinds(Arc::new(shared));
        let served = |plural: &str| Served {
            resource: ApiResource {
                group: String::new(),
                version: "v1".to_owned(),
                api_version: "v1".to_owned(),
                kind: plural.to_owned(),
                plural: plural.to_owned(),
            },
            namespaced: true,
            watchable: true,
        };
        kinds.set([served("ones")].into_iter());
        let view = kinds.0.state.lock().kinds.values().find_map(|kind| kind.view.clone()).expect("a view");
        view.synced().await;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (telling, asked) = (Arc::clone(&heard), kinds.clone());
        kinds.on_change(move |resource, _| {
            telling.lock().push((resource.plural.clone(), asked.0.state.is_locked(), asked.all().len()));
        });
        assert_eq!(*heard.lock(), [("ones".to_owned(), false, 1)]);
        kinds.set([served("ones"), served("twos")].into_iter());
        let view = kinds.0.state.lock().kinds.values().filter_map(|kind| kind.view.clone()).next_back();
        view.expect("another view").synced().await;
        assert_eq!(*heard.lock(), [("ones".to_owned(), false, 1), ("twos".to_owned(), false, 2)]);
        shutdown.trigger();
    }
}
