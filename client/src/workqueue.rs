//! Keys waiting to be reconciled: each at most once, never two at a time, delayed or backing off.
//!
//! A key added while it is being worked on comes again afterwards. Entry point: [`WorkQueue`]. Queues are
//! counted by name, as upstream's `workqueue_*`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use component_base::clock::SharedClock;
use component_base::metrics::{
    self, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// First wait after a failure (client-go's default rate limiter).
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
/// Longest wait after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1000);

const NAME: [&str; 1] = ["name"];
static DEPTH: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::gauge("workqueue_depth", "Keys that are ready.", &NAME));
static ADDS: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("workqueue_adds_total", "Keys that were added.", &NAME));
static RETRIES: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("workqueue_retries_total", "Keys added after a failure.", &NAME));
static QUEUE_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    seconds("workqueue_queue_duration_seconds", "How long keys were ready before work on them.")
});
static WORK_SECONDS: LazyLock<HistogramVec> =
    LazyLock::new(|| seconds("workqueue_work_duration_seconds", "How long work on a key took."));

fn seconds(name: &str, help: &str) -> HistogramVec {
    metrics::histogram(name, help, &NAME, &metrics::exponential(1e-8, 10.0, 10))
}

/// What is counted of one queue.
struct Counts {
    depth: IntGauge,
    adds: IntCounter,
    retries: IntCounter,
    queue_seconds: Histogram,
    work_seconds: Histogram,
}

impl Counts {
    fn of(name: &str) -> Self {
        let labels = [name];
        Self {
            depth: DEPTH.with_label_values(&labels),
            adds: ADDS.with_label_values(&labels),
            retries: RETRIES.with_label_values(&labels),
            queue_seconds: QUEUE_SECONDS.with_label_values(&labels),
            work_seconds: WORK_SECONDS.with_label_values(&labels),
        }
    }
}

struct State<K> {
    /// With the time since when.
    ready: VecDeque<(K, Duration)>,
    /// Wanted: in `ready`, or to come again when the current work on it ends.
    dirty: BTreeSet<K>,
    /// With the time the work began.
    working: BTreeMap<K, Duration>,
    /// When each delayed key is due, and the same the other way round.
    due: BTreeMap<K, Duration>,
    by_due: BTreeSet<(Duration, K)>,
    failures: BTreeMap<K, u32>,
}

/// A deduplicating, delaying queue. Share it by reference or `Arc`.
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    clock: SharedClock,
    counts: Counts,
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// An empty queue, counted under a name.
    pub fn new(clock: SharedClock, name: &str) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: BTreeSet::new(),
            working: BTreeMap::new(),
            due: BTreeMap::new(),
            by_due: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new(), clock, counts: Counts::of(name) }
    }

    /// Work on `key` as soon as possible.
    pub fn add(&self, key: K) {
        if self.state.lock().add(key, self.clock.monotonic(), &self.counts) {
            self.changed.notify_one();
        }
    }

    /// Work on `key` after `delay`, or earlier if it was already due earlier.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = self.clock.monotonic() + delay;
        let mut state = self.state.lock();
        match state.due.get(&key).copied() {
            Some(earlier) if earlier <= at => return,
            Some(later) => {
                state.by_due.remove(&(later, key.clone()));
            }
            None => {}
        }
        state.due.insert(key.clone(), at);
        state.by_due.insert((at, key));
        drop(state);
        self.changed.notify_one();
    }

    /// Work on `key` again after its back-off, which doubles with each failure.
    pub fn add_backing_off(&self, key: K) {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        self.counts.retries.inc();
        self.add_after(key, backoff(failures));
    }

    /// The key succeeded: its next failure starts at the shortest back-off.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// Waits for a key to work on. The caller must give it back with [`Self::done`].
    pub async fn next(&self) -> K {
        loop {
            let wait = {
                let mut state = self.state.lock();
                let now = self.clock.monotonic();
                state.wake(now, &self.counts);
                if let Some(key) = state.take(now, &self.counts) {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.by_due.first().map(|(at, _)| at.saturating_sub(now))
            };
            match wait {
                Some(wait) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = self.clock.sleep(wait) => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Work on `key` has ended; it comes again if it was added meanwhile.
    pub fn done(&self, key: &K) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        if let Some(began) = state.working.remove(key) {
            self.counts.work_seconds.observe(now.saturating_sub(began).as_secs_f64());
        }
        if state.dirty.contains(key) {
            state.ready.push_back((key.clone(), now));
            self.counts.depth.inc();
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Keys ready now, not counting delayed ones.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether no key is ready now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord + Clone> State<K> {
    /// Whether there is something new to take.
    fn add(&mut self, key: K, now: Duration, counts: &Counts) -> bool {
        if !self.dirty.insert(key.clone()) {
            return false;
        }
        counts.adds.inc();
        if self.working.contains_key(&key) {
            return false;
        }
        self.ready.push_back((key, now));
        counts.depth.inc();
        true
    }

    fn wake(&mut self, now: Duration, counts: &Counts) {
        while self.by_due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.by_due.pop_first() {
                self.due.remove(&key);
                self.add(key, now, counts);
            }
        }
    }

    fn take(&mut self, now: Duration, counts: &Counts) -> Option<K> {
        let (key, since) = self.ready.pop_front()?;
        counts.depth.dec();
        counts.queue_seconds.observe(now.saturating_sub(since).as_secs_f64());
        self.dirty.remove(&key);
        self.working.insert(key.clone(), now);
        Some(key)
    }
}

/// The wait after the nth failure in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use component_base::clock::FakeClock;
    use futures::FutureExt as _;

    use super::*;

    fn queue() -> (Arc<FakeClock>, WorkQueue<&'static str>) {
        let clock = FakeClock::at(jiff::Timestamp::UNIX_EPOCH);
        (clock.clone(), WorkQueue::new(clock, "test"))
    }

    fn take(queue: &WorkQueue<&'static str>) -> Option<&'static str> {
        queue.next().now_or_never()
    }

    #[test]
    fn dedupes_and_never_runs_a_key_twice_at_once() {
        let (_, queue) = queue();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(take(&queue), Some("a"));
        queue.add("a");
        assert_eq!(take(&queue), Some("b"));
        assert_eq!(take(&queue), None);
        queue.done(&"a");
        assert_eq!(take(&queue), Some("a"));
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!(take(&queue), None);
    }

    #[test]
    fn delays_and_keeps_the_earlier_time() {
        let (clock, queue) = queue();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(20));
        assert_eq!(take(&queue), None);
        clock.advance(Duration::from_secs(5));
        assert_eq!(take(&queue), Some("a"));
        queue.done(&"a");
        clock.advance(Duration::from_secs(60));
        assert_eq!(take(&queue), None);
    }

    #[tokio::test]
    async fn a_sleeping_worker_wakes() {
        let (clock, queue) = queue();
        queue.add_after("late", Duration::from_secs(5));
        let (next, ()) = futures::join!(queue.next(), async { clock.advance(Duration::from_secs(5)) });
        assert_eq!(next, "late");
    }

    #[test]
    fn backs_off() {
        let table = [(1, 5), (2, 10), (3, 20), (10, 2560), (18, 655_360), (19, 1_000_000), (400, 1_000_000)];
        for (failures, millis) in table {
            assert_eq!(backoff(failures), Duration::from_millis(millis), "{failures} failures");
        }
    }
}
