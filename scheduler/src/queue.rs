//! Pods that wait for a node: ready, backing off, or until something changes that could help.
//!
//! Entry points: [`Queue::upsert`], [`Queue::pop`], [`Queue::failed`], [`Queue::wake`]. Time is passed
//! in (since an arbitrary point), nothing here waits. Invariant: a pod is in exactly one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::plugins;
use crate::pod::Pod;

/// Wait after the first failure; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that nothing woke is tried again after this long all the same, as upstream does: the last
/// resort against a change that should have woken it and did not.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A pod that waits, and how it fared so far.
#[derive(Debug, Clone)]
pub struct Queued {
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// How often it was tried.
    pub attempts: u32,
    /// The plugins that refused nodes in the last try, and in looks at single nodes since.
    pub rejected_by: BTreeSet<&'static str>,
    failed_at: Duration,
}

/// Rank, time of arrival, number of arrival.
type Order = (i64, Duration, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Kept out by a plugin before the queue.
    Gated,
    Active(Order),
    /// Until then; after an error nothing shortens it.
    BackingOff {
        until: Duration,
        error: bool,
    },
    /// Until something changes.
    Unschedulable,
    /// Being bound.
    InFlight,
}

#[derive(Debug)]
struct Item {
    queued: Queued,
    place: Place,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<Arc<str>, Item>,
    active: BTreeMap<Order, Arc<str>>,
    backing_off: BTreeSet<(Duration, Arc<str>)>,
    unschedulable: BTreeSet<(Duration, Arc<str>)>,
    /// How many are kept out.
    gated: usize,
    arrivals: u64,
}

impl Queue {
    /// A pod without a node appeared or changed.
    pub fn upsert(&mut self, pod: Arc<Pod>, now: Duration) {
        let Some(item) = self.items.get_mut(&pod.uid) else {
            let queued =
                Queued { pod: Arc::clone(&pod), attempts: 0, rejected_by: BTreeSet::new(), failed_at: now };
            self.items.insert(Arc::clone(&pod.uid), Item { queued, place: Place::Gated });
            self.gated += 1;
            if plugins::admits(&pod) {
                self.activate(&pod.uid, now);
            }
            return;
        };
        let changed = item.queued.pod.needs != pod.needs;
        item.queued.pod = Arc::clone(&pod);
        // What it needs may have become less; its conditions, which we write, tell nothing.
        match item.place {
            Place::Gated if plugins::admits(&pod) => self.activate(&pod.uid, now),
            Place::Unschedulable if changed => self.move_on(&pod.uid, now),
            _ => {}
        }
    }

    /// A pod is gone, or has a node.
    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.items.remove(uid);
    }

    /// Takes the pod to try next. It must come back through [`Queue::failed`], [`Queue::retry`] or
    /// [`Queue::remove`].
    pub fn pop(&mut self, now: Duration) -> Option<Queued> {
        self.due(now);
        let uid = self.active.first_key_value().map(|(_, uid)| Arc::clone(uid)).or_else(|| self.early())?;
        self.leave(&uid);
        let item = self.items.get_mut(&uid)?;
        item.place = Place::InFlight;
        item.queued.attempts += 1;
        Some(item.queued.clone())
    }

    /// No node fits: the pod waits until something changes for these plugins.
    pub fn failed(&mut self, uid: &str, rejected_by: BTreeSet<&'static str>, now: Duration) {
        let Some((uid, item)) = self.in_flight(uid) else { return };
        item.queued.rejected_by = rejected_by;
        item.queued.failed_at = now;
        item.place = Place::Unschedulable;
        self.unschedulable.insert((now, uid));
    }

    /// Something went wrong that is not the pod's fault: it is tried again after its back-off.
    pub fn retry(&mut self, uid: &str, now: Duration) {
        let Some((uid, item)) = self.in_flight(uid) else { return };
        item.queued.failed_at = now;
        let until = now + backoff(item.queued.attempts);
        item.place = Place::BackingOff { until, error: true };
        self.backing_off.insert((until, uid));
    }

    /// Moves on those unschedulable pods that `helps` says a change may help.
    pub fn wake(&mut self, now: Duration, mut helps: impl FnMut(&mut Queued) -> bool) {
        let waiting: Vec<Arc<str>> = self.unschedulable.iter().map(|(_, uid)| Arc::clone(uid)).collect();
        for uid in waiting {
            if self.items.get_mut(&uid).is_some_and(|item| helps(&mut item.queued)) {
                self.move_on(&uid, now);
            }
        }
    }

    /// How long until [`Queue::pop`] may give something that it does not give now.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        let backing_off = self.backing_off.first().map(|(until, _)| *until);
        let unschedulable = self.unschedulable.first().map(|(since, _)| *since + LONGEST_WAIT);
        [backing_off, unschedulable].into_iter().flatten().min().map(|at| at.saturating_sub(now))
    }

    /// Whether the pod is being bound.
    pub fn is_in_flight(&self, uid: &str) -> bool {
        self.items.get(uid).is_some_and(|item| item.place == Place::InFlight)
    }

    /// The pod as it waits.
    pub fn get(&self, uid: &str) -> Option<&Queued> {
        self.items.get(uid).map(|item| &item.queued)
    }

    /// How many pods wait in each of upstream's queues, by its name there.
    pub fn waiting(&self) -> [(&'static str, usize); 4] {
        [
            ("active", self.active.len()),
            ("backoff", self.backing_off.len()),
            ("unschedulable", self.unschedulable.len()),
            ("gated", self.gated),
        ]
    }

    /// How many pods wait, are tried or are bound.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no pod waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn in_flight(&mut self, uid: &str) -> Option<(Arc<str>, &mut Item)> {
        let (uid, _) = self.items.get_key_value(uid)?;
        let uid = Arc::clone(uid);
        let item = self.items.get_mut(&uid).filter(|item| item.place == Place::InFlight)?;
        Some((uid, item))
    }

    /// What is due becomes ready.
    fn due(&mut self, now: Duration) {
        while let Some((until, uid)) = self.backing_off.first().cloned()
            && until <= now
        {
            self.activate(&uid, now);
        }
        while let Some((since, uid)) = self.unschedulable.first().cloned()
            && since + LONGEST_WAIT <= now
        {
            self.activate(&uid, now);
        }
    }

    /// With nothing else to do, a pod that was woken need not sit out its back-off.
    fn early(&self) -> Option<Arc<str>> {
        let woken = |uid: &&Arc<str>| {
            let place = self.items.get(*uid).map(|item| item.place);
            matches!(place, Some(Place::BackingOff { error: false, .. }))
        };
        self.backing_off.iter().map(|(_, uid)| uid).find(woken).cloned()
    }

    fn activate(&mut self, uid: &str, now: Duration) {
        self.leave(uid);
        let Some((uid, _)) = self.items.get_key_value(uid) else { return };
        let uid = Arc::clone(uid);
        let Some(item) = self.items.get_mut(&uid) else { return };
        self.arrivals += 1;
        let order = (plugins::rank(&item.queued.pod), now, self.arrivals);
        item.place = Place::Active(order);
        self.active.insert(order, uid);
    }

    /// An unschedulable pod may fit now: it is ready, or sits out the rest of its back-off.
    fn move_on(&mut self, uid: &str, now: Duration) {
        let Some(item) = self.items.get(uid) else { return };
        let until = item.queued.failed_at + backoff(item.queued.attempts);
        if until <= now {
            return self.activate(uid, now);
        }
        self.leave(uid);
        let Some((uid, _)) = self.items.get_key_value(uid) else { return };
        let uid = Arc::clone(uid);
        if let Some(item) = self.items.get_mut(&uid) {
            item.place = Place::BackingOff { until, error: false };
            self.backing_off.insert((until, uid));
        }
    }

    /// Takes a pod out of whatever place it is in.
    fn leave(&mut self, uid: &str) {
        let Some((uid, item)) = self.items.get_key_value(uid) else { return };
        match item.place {
            Place::Active(order) => {
                self.active.remove(&order);
            }
            Place::BackingOff { until, .. } => {
                self.backing_off.remove(&(until, Arc::clone(uid)));
            }
            Place::Unschedulable => {
                self.unschedulable.remove(&(item.queued.failed_at, Arc::clone(uid)));
            }
            Place::Gated => self.gated -= 1,
            Place::InFlight => {}
        }
    }
}

/// The wait after the nth try.
fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        let needs = crate::pod::Needs { priority, ..Default::default() };
        Arc::new(Pod {
            key: client::key::Key::new("default", name),
            uid: name.into(),
            generation: 1,
            created: jiff::Timestamp::UNIX_EPOCH,
            node: None,
            ended: false,
            deleting: false,
            needs,
            condition: None,
        })
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pop(queue: &mut Queue, now: u64) -> Option<String> {
        queue.pop(seconds(now)).map(|queued| queued.pod.uid.to_string())
    }

    #[test]
    fn priority_first_then_age() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)] {
            queue.upsert(pod(name, priority), seconds(0));
        }
        let order: Vec<String> = std::iter::from_fn(|| pop(&mut queue, 1)).collect();
        assert_eq!(order, ["b", "d", "a", "c", "e"]);
    }

    #[test]
    fn unschedulable_pods_wait_for_what_helps() {
        let mut queue = Queue::default();
        queue.upsert(pod("a", 0), seconds(0));
        queue.upsert(pod("b", 0), seconds(0));
        while let Some(uid) = pop(&mut queue, 0) {
            queue.failed(&uid, BTreeSet::from(["NodeResourcesFit"]), seconds(0));
        }
        assert_eq!(pop(&mut queue, 60), None);
        queue.wake(seconds(60), |queued| &*queued.pod.uid == "b");
        assert_eq!(pop(&mut queue, 60).as_deref(), Some("b"));
        assert_eq!(pop(&mut queue, 60), None);
        assert_eq!(pop(&mut queue, 300).as_deref(), Some("a"), "the last resort");
    }

    #[test]
    fn a_change_of_needs_wakes_but_a_condition_does_not() {
        let mut queue = Queue::default();
        queue.upsert(pod("a", 0), seconds(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.failed("a", BTreeSet::new(), seconds(0));
        queue.upsert(
            Arc::new(Pod { condition: Some(Default::default()), ..(*pod("a", 0)).clone() }),
            seconds(5),
        );
        assert_eq!(pop(&mut queue, 5), None);
        queue.upsert(pod("a", 1), seconds(5));
        assert_eq!(pop(&mut queue, 5).as_deref(), Some("a"));
    }

    #[test]
    fn errors_back_off_and_woken_pods_do_not_wait_for_nothing() {
        let mut queue = Queue::default();
        queue.upsert(pod("error", 0), seconds(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.retry("error", seconds(0));
        queue.upsert(pod("woken", 0), seconds(0));
        assert_eq!(pop(&mut queue, 0).as_deref(), Some("woken"));
        queue.failed("woken", BTreeSet::new(), seconds(0));
        queue.wake(seconds(0), |_| true);
        assert_eq!(queue.next_due(seconds(0)), Some(seconds(1)));
        assert_eq!(pop(&mut queue, 0).as_deref(), Some("woken"), "nothing else to do");
        assert_eq!(pop(&mut queue, 0), None);
        assert_eq!(pop(&mut queue, 1).as_deref(), Some("error"));
        for (attempts, wait) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)] {
            assert_eq!(backoff(attempts), seconds(wait));
        }
    }

    #[test]
    fn gated_pods_stay_out() {
        let mut queue = Queue::default();
        let mut gated = (*pod("a", 0)).clone();
        gated.needs.gated = true;
        queue.upsert(Arc::new(gated), seconds(0));
        assert_eq!(queue.waiting().map(|(_, count)| count), [0, 0, 0, 1]);
        assert_eq!(pop(&mut queue, 400), None);
        assert_eq!(queue.next_due(seconds(0)), None);
        queue.upsert(pod("a", 0), seconds(1));
        assert_eq!(pop(&mut queue, 1).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_removed_while_bound_does_not_come_back() {
        let mut queue = Queue::default();
        queue.upsert(pod("a", 0), seconds(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.remove("a");
        queue.retry("a", seconds(0));
        queue.failed("a", BTreeSet::new(), seconds(0));
        assert!(queue.is_empty());
        assert_eq!(pop(&mut queue, 400), None);
    }
}
