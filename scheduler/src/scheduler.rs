//! The one task that decides: takes in what changed, wakes pods, decides, hands writes over.
//!
//! Entry point: [`Scheduler::run`]. It owns the snapshot and the queue, so nothing is locked. A decision
//! takes effect in the snapshot at once (the pod is assumed to be on its node) and the next decision is
//! made while the API server still works on the binding; if that fails, the assumption is undone and
//! the pod tried again.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::events::Recorder;
use client::informer::{Change, Informers};
use client::plan::{EventDraft, EventType};
use client::request;
use component_base::clock::SharedClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod as ApiPod};
use serde_json::json;
use tokio::sync::mpsc;

use crate::bind::{Bound, Write, Writer};
use crate::counts;
use crate::cycle::{self, Diagnosis, Outcome};
use crate::explain::{self, Explanation, Explanations};
use crate::plugins;
use crate::pod::Pod;
use crate::queue::{Queue, Queued};
use crate::snapshot::Snapshot;

/// Pods that name another scheduler are not ours.
pub(crate) const NAME: &str = "default-scheduler";

/// What the task takes in.
enum Input {
    Pod(Change<ApiPod>),
    Node(Change<Node>),
    Namespace(Change<Namespace>),
    Bound(Bound),
}

/// The state of the scheduler.
pub(crate) struct Scheduler {
    snapshot: Snapshot,
    queue: Queue,
    explanations: Explanations,
    inputs: mpsc::UnboundedReceiver<Input>,
    writer: Writer,
    recorder: Recorder,
    clock: SharedClock,
    rng: Rng,
    /// Where the next decision begins to look.
    start: usize,
}

impl Scheduler {
    /// Starts watching, and waits until everything present is known.
    pub(crate) async fn new(
        client: kube::Client,
        informers: &Informers,
        clock: SharedClock,
        rng: Rng,
        shutdown: &Shutdown,
        explanations: Explanations,
    ) -> Self {
        // Without a bound: a change is one pointer, and the views these changes come from hold as much.
        let (sender, inputs) = mpsc::unbounded_channel();
        let (pods, nodes, namespaces) =
            (informers.of::<ApiPod>(), informers.of::<Node>(), informers.of::<Namespace>());
        let (to_pods, to_nodes, to_namespaces) = (sender.clone(), sender.clone(), sender.clone());
        // Nodes first: a pod that is placed finds its node.
        nodes.on_change(move |change| to_nodes.send(Input::Node(change.clone())).is_ok());
        nodes.synced().await;
        namespaces.on_change(move |change| to_namespaces.send(Input::Namespace(change.clone())).is_ok());
        namespaces.synced().await;
        pods.on_change(move |change| to_pods.send(Input::Pod(change.clone())).is_ok());
        pods.synced().await;
        let recorder = Recorder::new(client.clone(), clock.clone(), NAME, "", shutdown);
        let writer = Writer::start(client, clock.clone(), shutdown, move |bound| {
            // Nobody listens any more at shutdown.
            let _ended = sender.send(Input::Bound(bound));
        });
        let (snapshot, queue) = (Snapshot::default(), Queue::default());
        Self { snapshot, queue, explanations, inputs, writer, recorder, clock, rng, start: 0 }
    }

    /// Decides until shutdown.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) {
        while !shutdown.is_triggered() {
            while let Ok(input) = self.inputs.try_recv() {
                self.take_in(input);
            }
            let now = self.clock.monotonic();
            counts::waiting(&self.queue);
            if let Some(queued) = self.queue.pop(now) {
                self.attempt(&queued);
                // Others share the thread, and new facts may have come.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.queue.next_due(now);
            let timer = async {
                match due {
                    Some(due) => self.clock.sleep(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.triggered() => return,
                input = self.inputs.recv() => match input {
                    Some(input) => self.take_in(input),
                    None => return,
                },
                () = timer => {}
            }
        }
    }

    fn attempt(&mut self, queued: &Queued) {
        let pod = &queued.pod;
        let _span = tracing::debug_span!("schedule", pod = %pod.key).entered();
        let began = self.clock.monotonic();
        let decision = cycle::schedule(pod, &self.snapshot, self.start, self.rng.below(u64::MAX));
        let result = match &decision.outcome {
            Outcome::Placed(_) => "scheduled",
            Outcome::Unschedulable(_) => "unschedulable",
        };
        counts::attempt(result, self.clock.monotonic().saturating_sub(began));
        self.start = decision.next_start;
        match decision.outcome {
            Outcome::Placed(slot) => {
                let node = self.snapshot.nodes[slot].name.to_string();
                self.snapshot.place(Arc::clone(pod), &node, true);
                self.explanations.forget(&pod.key);
                self.writer.submit(Write::Bind { pod: Arc::clone(pod), node });
            }
            Outcome::Unschedulable(diagnosis) => self.give_up(pod, &diagnosis),
        }
    }

    /// No node fits: say so, and wait for a change.
    fn give_up(&mut self, pod: &Arc<Pod>, diagnosis: &Diagnosis) {
        let message = explain::message(pod, diagnosis, &self.snapshot);
        let rejected_by: BTreeSet<&'static str> = diagnosis.verdicts.iter().map(|v| v.plugin).collect();
        tracing::debug!(message, "unschedulable");
        self.explanations.keep(&pod.key, Explanation::new(diagnosis, message.clone(), self.clock.now()));
        self.queue.failed(&pod.uid, rejected_by, self.clock.monotonic());
        self.report(pod, "Unschedulable", message);
    }

    /// Sets the pod's condition, unless it says so already, and records the event.
    fn report(&mut self, pod: &Arc<Pod>, reason: &'static str, message: String) {
        self.record(pod, EventType::Warning, "FailedScheduling", message.clone());
        let said = pod.condition.as_ref().is_some_and(|condition| {
            condition.status == "False"
                && condition.reason.as_deref() == Some(reason)
                && condition.message.as_deref() == Some(&message)
        });
        if !said {
            self.writer.submit(Write::Condition { pod: Arc::clone(pod), reason, message });
        }
    }

    fn record(&self, pod: &Pod, event_type: EventType, reason: &'static str, message: String) {
        let regarding = json!({
            "apiVersion": "v1", "kind": "Pod",
            "namespace": pod.key.namespace, "name": pod.key.name, "uid": &*pod.uid,
        });
        self.recorder.record(EventDraft { regarding, event_type, reason, message });
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Pod(change) => self.pod_changed(&change),
            Input::Node(change) => self.node_changed(&change),
            Input::Namespace(change) => self.namespace_changed(&change),
            Input::Bound(bound) => self.bound(bound),
        }
    }

    fn pod_changed(&mut self, change: &Change<ApiPod>) {
        // A pod may have been replaced by another of its name between two looks.
        if let (Some(old), Some(new)) = (change.old(), change.current())
            && old.metadata.uid != new.metadata.uid
        {
            self.pod_gone(&Pod::read(old));
        }
        let pod = Arc::new(Pod::read(change.latest()));
        if change.current().is_none() || pod.ended {
            return self.pod_gone(&pod);
        }
        if let Some(node) = &pod.node {
            self.queue.remove(&pod.uid);
            self.explanations.forget(&pod.key);
            let before = self.snapshot.pod(&pod.uid).cloned();
            let slot = self.snapshot.place(Arc::clone(&pod), node, false);
            return self.placed_pod_changed(before, &pod, slot);
        }
        let ours = pod.needs.scheduler_name == NAME && !pod.deleting;
        if !ours {
            self.queue.remove(&pod.uid);
        } else if !self.snapshot.is_assumed(&pod.uid) || self.queue.is_in_flight(&pod.uid) {
            // Bound but not yet seen to be: what still looks unplaced is old news.
            self.queue.upsert(pod, self.clock.monotonic());
        }
    }

    fn pod_gone(&mut self, pod: &Pod) {
        self.queue.remove(&pod.uid);
        self.explanations.forget(&pod.key);
        if let Some((slot, gone)) = self.snapshot.remove_pod(&pod.uid) {
            self.wake(Some(slot), Some(&gone));
        }
    }

    fn placed_pod_changed(&mut self, before: Option<Arc<Pod>>, pod: &Arc<Pod>, slot: usize) {
        match before {
            // Confirmed as assumed, or placed by someone else: others may want to be near it.
            None => self.wake(None, Some(pod)),
            Some(before) if before.node.is_none() => self.wake(None, Some(pod)),
            Some(before) if before.needs != pod.needs || before.deleting != pod.deleting => {
                self.wake(Some(slot), Some(&before));
                self.wake(None, Some(pod));
            }
            Some(_) => {}
        }
    }

    fn node_changed(&mut self, change: &Change<Node>) {
        match change.current() {
            Some(node) => {
                if let Some(slot) = self.snapshot.set_node(node) {
                    self.wake(Some(slot), None);
                }
            }
            None => {
                self.snapshot.remove_node(change.latest().metadata.name.as_deref().unwrap_or_default());
                self.wake(None, None);
            }
        }
    }

    fn namespace_changed(&mut self, change: &Change<Namespace>) {
        let name = change.key().name;
        match change.current() {
            Some(namespace) => {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                if self.snapshot.namespaces.get(&name) != Some(&labels) {
                    self.snapshot.namespaces.insert(name, labels);
                    self.wake(None, None);
                }
            }
            None => {
                self.snapshot.namespaces.remove(&name);
            }
        }
    }

    /// Wakes pods that a change may help: a change on one node (`slot`), or of one pod (`other`), or of
    /// the places there are (neither).
    fn wake(&mut self, slot: Option<usize>, other: Option<&Pod>) {
        let snapshot = &self.snapshot;
        self.queue.wake(self.clock.monotonic(), |queued| {
            let pod = Arc::clone(&queued.pod);
            let beyond = plugins::filters()
                .filter(|(name, filter)| queued.rejected_by.contains(name) && filter.looks_beyond_the_node())
                .any(|(_, filter)| other.is_none_or(|other| filter.concerns(&pod, other, snapshot)));
            let mut there = || {
                let slot = slot.filter(|slot| snapshot.nodes[*slot].known)?;
                match cycle::judge(&pod, snapshot, slot) {
                    None => Some(true),
                    Some((plugin, _)) => {
                        queued.rejected_by.insert(plugin);
                        Some(false)
                    }
                }
            };
            beyond || there().unwrap_or_default()
        });
    }

    fn bound(&mut self, bound: Bound) {
        let Bound { pod, node, result } = bound;
        let Err(error) = result else {
            tracing::debug!(pod = %pod.key, node, "bound");
            self.queue.remove(&pod.uid);
            let message = format!("Successfully assigned {} to {node}", pod.key);
            return self.record(&pod, EventType::Normal, "Scheduled", message);
        };
        if self.snapshot.is_assumed(&pod.uid)
            && let Some((slot, gone)) = self.snapshot.remove_pod(&pod.uid)
        {
            self.wake(Some(slot), Some(&gone));
        }
        if request::code(&error) == Some(404) && self.queue.get(&pod.uid).is_none() {
            return;
        }
        tracing::info!(pod = %pod.key, node, %error, "binding failed");
        if self.queue.is_in_flight(&pod.uid) {
            self.queue.retry(&pod.uid, self.clock.monotonic());
            self.report(&pod, "SchedulerError", format!("binding rejected: {error}"));
        }
    }
}
