//! What the cluster looks like, kept current by watching: one shared, indexed reflector per kind per
//! process.
//!
//! Entry point: [`Informers`]. Objects are typed, immutable and shared (`Arc`); `managedFields` are
//! dropped. [`Informer::seen_revision`] tells how far in the store's history this view has come, which
//! is how a controller knows that it sees its own writes.

mod reflector;
mod store;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use kube::core::ApiResource;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::key::Key;
use crate::request;
use store::Store;

/// What an informer can hold: any object with metadata that can be decoded.
pub trait Watched: kube::Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static {}

impl<K: kube::Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static> Watched for K {}

/// What happened to one object of the view.
#[derive(Debug)]
pub enum Change<K> {
    /// It was not there before (also once for everything present when a subscription begins).
    Added(Arc<K>),
    /// It has another resourceVersion.
    Updated {
        /// Before.
        old: Arc<K>,
        /// Now.
        new: Arc<K>,
    },
    /// It is gone, or no longer matches the selector. The last known state.
    Removed(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(new) => Self::Added(new.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Removed(old) => Self::Removed(old.clone()),
        }
    }
}

impl<K: kube::Resource> Change<K> {
    /// The newest known state: the new object, or the last one before removal.
    pub fn latest(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Removed(object) => object,
        }
    }

    /// The state before, if there was one in this view.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(_) => None,
            Self::Updated { old, .. } | Self::Removed(old) => Some(old),
        }
    }

    /// The state now, if there still is one.
    pub fn current(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(new) | Self::Updated { new, .. } => Some(new),
            Self::Removed(_) => None,
        }
    }

    /// Which object.
    pub fn key(&self) -> Key {
        Key::of(self.latest().meta())
    }
}

type Callback<K> = Box<dyn Fn(&Change<K>) -> bool + Send + Sync>;

/// What one informer watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Which kind.
    pub resource: ApiResource,
    /// Only objects matching this field selector, such as `spec.nodeName=n1`.
    pub fields: Option<String>,
    /// Ask the server for `PartialObjectMetadata`; the type must then be `PartialObjectMeta`.
    pub metadata_only: bool,
}

impl Interest {
    /// The one namespace the field selector allows: asked for by its path, so that no right beyond it is needed.
    fn namespace(&self) -> Option<&str> {
        let terms = self.fields.as_deref()?.split(',');
        terms.into_iter().find_map(|term| term.strip_prefix("metadata.namespace="))
    }
}

struct Inner<K> {
    interest: Interest,
    store: RwLock<Store<K>>,
    callbacks: Mutex<Vec<Callback<K>>>,
    revision: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    stop: CancellationToken,
}

/// A view of all objects of one kind. Clones share it.
pub struct Informer<K>(Arc<Inner<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Watched> Informer<K> {
    fn new(interest: Interest, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            interest,
            store: RwLock::new(Store::default()),
            callbacks: Mutex::new(Vec::new()),
            revision: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            stop,
        }))
    }

    /// The kind it watches.
    pub fn resource(&self) -> &ApiResource {
        &self.0.interest.resource
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.store.read().get(key)
    }

    /// Everything, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.read().list()
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.store.read().in_namespace(namespace)
    }

    /// The objects with an owner reference to this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.0.store.read().owned_by(uid)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.store.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `callback` for everything present now and then for every change, in order, from the
    /// watching task. It must be quick and must not subscribe to the same informer.
    /// It stays until it answers `false`.
    pub fn on_change(&self, callback: impl Fn(&Change<K>) -> bool + Send + Sync + 'static) {
        let mut callbacks = self.0.callbacks.lock();
        let present = self.list();
        if present.into_iter().all(|object| callback(&Change::Added(object))) {
            callbacks.push(Box::new(callback));
        }
    }

    /// The same as a stream. The receiver must keep up: the channel has no bound.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.on_change(move |change| sender.send(change.clone()).is_ok());
        receiver
    }

    /// The newest store revision whose effects this view is known to show; 0 before the first list.
    pub fn seen_revision(&self) -> u64 {
        *self.0.revision.borrow()
    }

    /// Completes when [`Self::seen_revision`] reaches `revision`.
    pub async fn wait_for_revision(&self, revision: u64) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ended = self.0.revision.subscribe().wait_for(|seen| *seen >= revision).await.is_err();
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Completes when the first list is in.
    pub async fn synced(&self) {
        let _ended = self.0.synced.subscribe().wait_for(|synced| *synced).await.is_err();
    }

    /// Ends the watch for everyone who shares this informer (a custom kind that is no longer served);
    /// what it showed is gone.
    pub fn stop(&self) {
        self.0.stop.cancel();
        self.dispatch(|store| store.replace(Vec::new()));
    }

    fn dispatch(&self, decide: impl FnOnce(&mut Store<K>) -> Vec<Change<K>>) {
        let mut callbacks = self.0.callbacks.lock();
        let changes = decide(&mut self.0.store.write());
        for change in &changes {
            callbacks.retain(|callback| callback(change));
        }
    }

    fn saw(&self, revision: Option<&str>) {
        let Some(revision) = revision.and_then(|r| r.parse::<u64>().ok()) else { return };
        // Also wakes waiters for removals, so every event counts, not only progress.
        self.0.revision.send_modify(|seen| *seen = (*seen).max(revision));
    }
}

/// The part of an informer that does not depend on the type.
trait View: Send + Sync {
    fn revision(&self) -> watch::Receiver<u64>;
    fn holds(&self, key: &Key, uid: &str) -> bool;
    fn stopped(&self) -> bool;
    fn synced(&self) -> watch::Receiver<bool>;
}

impl<K: Watched> View for Informer<K> {
    fn revision(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    fn holds(&self, key: &Key, uid: &str) -> bool {
        self.get(key).is_some_and(|object| {
            let meta = object.meta();
            meta.uid.as_deref() == Some(uid) && meta.deletion_timestamp.is_none()
        })
    }

    fn stopped(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    fn synced(&self) -> watch::Receiver<bool> {
        self.0.synced.subscribe()
    }
}

/// A write that views have yet to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Everything up to this revision of the store.
    Revision {
        /// The kind written.
        resource: ApiResource,
        /// Its new resourceVersion.
        revision: u64,
    },
    /// The absence, or terminating state, of one object.
    Gone {
        /// The kind deleted.
        resource: ApiResource,
        /// Which object.
        key: Key,
        /// The one that was deleted; a successor does not count.
        uid: String,
    },
}

type Identity = (TypeId, String, String, Option<String>);

/// Views of whole kinds by group and plural.
type Views = BTreeMap<(String, String), Vec<Arc<dyn View>>>;

struct Shared {
    client: kube::Client,
    clock: SharedClock,
    rng: Rng,
    shutdown: Shutdown,
    informers: Mutex<BTreeMap<Identity, Arc<dyn Any + Send + Sync>>>,
    views: Mutex<Views>,
}

/// All informers of a process. Clones share them.
#[derive(Clone)]
pub struct Informers(Arc<Shared>);

impl Informers {
    /// None yet; they start when first asked for and stop at shutdown.
    pub fn new(client: kube::Client, clock: SharedClock, rng: Rng, shutdown: Shutdown) -> Self {
        Self(Arc::new(Shared {
            client,
            clock,
            rng,
            shutdown,
            informers: Mutex::default(),
            views: Mutex::default(),
        }))
    }

    /// The view of all objects of a compiled kind.
    pub fn of<K: Watched + kube::Resource<DynamicType = ()>>(&self) -> Informer<K> {
        self.start(Interest { resource: request::resource::<K>(), fields: None, metadata_only: false })
    }

    /// The view of those objects that match a field selector.
    pub fn selected<K: Watched + kube::Resource<DynamicType = ()>>(&self, fields: &str) -> Informer<K> {
        let fields = Some(fields.to_owned());
        self.start(Interest { resource: request::resource::<K>(), fields, metadata_only: false })
    }

    /// The view of any kind; asking twice for the same interest and type gives the same view, unless it
    /// has been stopped.
    pub fn start<K: Watched>(&self, interest: Interest) -> Informer<K> {
        let identity = (
            TypeId::of::<K>(),
            interest.resource.api_version.clone(),
            interest.resource.plural.clone(),
            interest.fields.clone(),
        );
        let mut informers = self.0.informers.lock();
        if let Some(known) = informers.get(&identity).and_then(|any| any.downcast_ref::<Informer<K>>())
            && !known.stopped()
        {
            return known.clone();
        }
        let informer = Informer::<K>::new(interest, self.0.shutdown.token().child_token());
        informers.insert(identity, Arc::new(informer.clone()));
        drop(informers);
        self.register(&informer);
        let reflector = reflector::Reflector::new(
            informer.clone(),
            self.0.client.clone(),
            self.0.clock.clone(),
            self.0.rng.clone(),
        );
        let stop = informer.0.stop.clone();
        self.0.shutdown.spawn(async move { stop.run_until_cancelled(reflector.run()).await });
        informer
    }

    /// Only views of whole objects of whole kinds vouch for a revision: a filtered one may never see it,
    /// and nobody decides about an object's content on its metadata.
    fn register<K: Watched>(&self, informer: &Informer<K>) {
        let interest = &informer.0.interest;
        if interest.fields.is_some() || interest.metadata_only {
            return;
        }
        let resource = informer.resource();
        let mut views = self.0.views.lock();
        let views = views.entry((resource.group.clone(), resource.plural.clone())).or_default();
        views.retain(|view| !view.stopped());
        views.push(Arc::new(informer.clone()));
    }

    fn views_of(&self, resource: &ApiResource) -> Vec<Arc<dyn View>> {
        let views = self.0.views.lock();
        views.get(&(resource.group.clone(), resource.plural.clone())).cloned().unwrap_or_default()
    }

    /// Completes when every view of the written kinds shows the writes. Kinds nobody watches here do
    /// not hold it up.
    pub async fn shows(&self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Revision { resource, revision } => {
                    for view in self.views_of(resource) {
                        wait_for(&*view, &mut |_, seen| seen >= *revision).await;
                    }
                }
                Mark::Gone { resource, key, uid } => {
                    for view in self.views_of(resource) {
                        wait_for(&*view, &mut |view, _| !view.holds(key, uid)).await;
                    }
                }
            }
        }
    }

    /// Completes when every informer started so far has its first list.
    pub async fn all_synced(&self) {
        let views: Vec<_> = self.0.views.lock().values().flatten().cloned().collect();
        for view in views {
            let _ended = view.synced().wait_for(|synced| *synced).await.is_err();
        }
    }

    /// The client they watch with.
    pub fn client(&self) -> &kube::Client {
        &self.0.client
    }
}

async fn wait_for(view: &dyn View, done: &mut (dyn FnMut(&dyn View, u64) -> bool + Send)) {
    let mut revision = view.revision();
    loop {
        let seen = *revision.borrow_and_update();
        if view.stopped() || done(view, seen) || revision.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
