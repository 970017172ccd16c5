//! The loop of every controller, written once: watch → key → observe → reconcile → execute.
//!
//! Entry point: [`run`]. A key is not reconciled again until every informer of a kind it wrote shows
//! that write (store revisions are one counter), so a reconcile never decides on a view older than its
//! own last decision. Start-up is no special case: every object present arrives as a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use component_base::shutdown::Shutdown;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::execute::{Executor, Failure};
use crate::informer::{Change, Informer, Informers, Mark, Watched};
use crate::key::Key;
use crate::plan::Plan;
use crate::workqueue::WorkQueue;

/// How long a key waits for its own writes to show before it goes on regardless.
const VIEW_PATIENCE: Duration = Duration::from_secs(30);

/// What one controller adds to the loop.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Everything a decision depends on.
    type Observed: Send + Sync;

    /// As events name it, such as `replicaset-controller`.
    fn name(&self) -> &'static str;

    /// How many keys may be worked on at once.
    fn workers(&self) -> usize {
        5
    }

    /// Says which changes wake which keys. Called once, before anything else.
    fn watch(&self, wake: &mut Wake);

    /// Collects what concerns `key`; `None` when there is nothing to decide. `last` is why the previous
    /// plan for this key failed.
    ///
    /// # Errors
    /// When something that must be read live cannot be; the key backs off.
    async fn observe(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Self::Observed>, Failure>;

    /// Decides. Pure.
    fn reconcile(&self, observed: &Self::Observed, now: Timestamp) -> Plan;
}

/// Connects informers to a controller's queue.
pub struct Wake {
    queue: Arc<WorkQueue<Key>>,
    syncs: Vec<futures::future::BoxFuture<'static, ()>>,
}

impl Wake {
    /// Each change of `informer` wakes the keys that `keys` names.
    pub fn on<K, F, I>(&mut self, informer: &Informer<K>, keys: F)
    where
        K: Watched,
        F: Fn(&Change<K>) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = Key>,
    {
        let queue = self.queue.clone();
        informer.on_change(move |change| {
            keys(change).into_iter().for_each(|key| queue.add(key));
            true
        });
        self.reads(informer);
    }

    /// Each change of an object wakes the key of that object.
    pub fn on_each<K: Watched>(&mut self, informer: &Informer<K>) {
        self.on(informer, |change| [change.key()]);
    }

    /// Reconciling starts only once `informer` is in sync, but its changes wake nothing.
    pub fn reads<K: Watched>(&mut self, informer: &Informer<K>) {
        let informer = informer.clone();
        self.syncs.push(Box::pin(async move { informer.synced().await }));
    }

    /// Reconciling starts only after this, too.
    pub fn after(&mut self, ready: impl Future<Output = ()> + Send + 'static) {
        self.syncs.push(Box::pin(ready));
    }

    /// Wakes `key` once at the start, or from a callback of one's own through the queue.
    pub fn queue(&self) -> Arc<WorkQueue<Key>> {
        self.queue.clone()
    }
}

/// What the loop needs besides the controller.
#[derive(Clone)]
pub struct Harness {
    /// Where the controller's views come from.
    pub informers: Informers,
    /// Performs its plans.
    pub executor: Executor,
    /// Time.
    pub clock: SharedClock,
    /// Ends the loop.
    pub shutdown: Shutdown,
}

struct Loop<C> {
    controller: C,
    harness: Harness,
    queue: Arc<WorkQueue<Key>>,
    failures: Mutex<BTreeMap<Key, Failure>>,
}

/// Starts a controller; it runs until shutdown. Work in progress at shutdown ends where it stands.
pub fn run<C: Controller>(controller: C, harness: Harness) {
    let queue = Arc::new(WorkQueue::new(harness.clock.clone(), controller.name()));
    let mut wake = Wake { queue: queue.clone(), syncs: Vec::new() };
    controller.watch(&mut wake);
    let workers = controller.workers();
    let shutdown = harness.shutdown.clone();
    let state = Arc::new(Loop { controller, harness, queue, failures: Mutex::default() });
    shutdown.clone().spawn_until(async move {
        futures::future::join_all(wake.syncs).await;
        tracing::debug!(controller = state.controller.name(), "in sync");
        for _ in 0..workers {
            let state = state.clone();
            shutdown.spawn_until(async move { state.work().await });
        }
    });
}

impl<C: Controller> Loop<C> {
    async fn work(&self) {
        loop {
            let key = self.queue.next().await;
            self.process(&key).await;
            self.queue.done(&key);
        }
    }

    async fn process(&self, key: &Key) {
        let last = self.failures.lock().get(key).cloned();
        let observed = match self.controller.observe(key, last.as_ref()).await {
            Ok(Some(observed)) => observed,
            Ok(None) => return self.succeeded(key),
            Err(failure) => return self.failed(key, failure),
        };
        let plan = self.controller.reconcile(&observed, self.harness.clock.now());
        drop(observed);
        if let Some(delay) = plan.requeue_after {
            self.queue.add_after(key.clone(), delay);
        }
        let outcome = self.harness.executor.execute(plan).await;
        self.wait_for_view(key, &outcome.marks).await;
        match outcome.failure {
            None => self.succeeded(key),
            Some(failure) => self.failed(key, failure),
        }
    }

    async fn wait_for_view(&self, key: &Key, marks: &[Mark]) {
        if marks.is_empty() {
            return;
        }
        tokio::select! {
            () = self.harness.informers.shows(marks) => {}
            () = self.harness.clock.sleep(VIEW_PATIENCE) => {
                tracing::warn!(controller = self.controller.name(), %key, "own writes not seen for 30 s");
            }
        }
    }

    fn succeeded(&self, key: &Key) {
        self.failures.lock().remove(key);
        self.queue.forget(key);
    }

    fn failed(&self, key: &Key, failure: Failure) {
        let controller = self.controller.name();
        if failure.is_stale() {
            // What the last real failure was stays known: this one says nothing about it.
            tracing::debug!(controller, %key, %failure, "stale, trying again");
        } else {
            tracing::warn!(controller, %key, %failure, "failed, backing off");
            self.failures.lock().insert(key.clone(), failure);
        }
        self.queue.add_backing_off(key.clone());
    }
}

/// Keys of both the old and the new state of a changed object, each once: moving from one owner, node
/// or selector to another concerns both.
pub fn before_and_after<K: kube::Resource>(
    change: &Change<K>,
    keys: impl Fn(&K) -> Vec<Key>,
) -> BTreeSet<Key> {
    let states = change.old().into_iter().chain(change.current());
    states.flat_map(|object| keys(object)).collect()
}

#[cfg(test)]
mod tests;
