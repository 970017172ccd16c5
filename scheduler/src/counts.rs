//! What the scheduler counts, under upstream's names.
//!
//! Entry points: [`attempt`] after each decision, [`waiting`] while pods come and go.

use std::sync::LazyLock;
use std::time::Duration;

use component_base::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::queue::Queue;
use crate::scheduler::NAME;

const LABELS: [&str; 2] = ["profile", "result"];

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("scheduler_schedule_attempts_total", "Decisions by their result.", &LABELS)
});
static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Time to decide, without the binding, in seconds.";
    let bounds = metrics::exponential(0.001, 2.0, 15);
    metrics::histogram("scheduler_scheduling_attempt_duration_seconds", help, &LABELS, &bounds)
});
static PENDING: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::gauge("scheduler_pending_pods", "Pods that wait, by queue.", &["queue"]));

/// Counts a decision: `scheduled` or `unschedulable`.
pub(crate) fn attempt(result: &str, took: Duration) {
    ATTEMPTS.with_label_values(&[NAME, result]).inc();
    SECONDS.with_label_values(&[NAME, result]).observe(took.as_secs_f64());
}

/// Tells how many pods wait.
pub(crate) fn waiting(queue: &Queue) {
    for (name, count) in queue.waiting() {
        PENDING.with_label_values(&[name]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
