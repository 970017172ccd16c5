//! What this process counts, in Prometheus' form and under upstream's names. A cluster's parts share a
//! process here, so they share one list, as upstream's share `legacyregistry` in each of theirs.
//!
//! Entry points: [`counter`], [`gauge`], [`histogram`] (for `static`s, so that a count costs no search for
//! its metric) and [`render`].

use std::fmt::Write as _;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder};

pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Content type of [`render`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of upstream's histograms of requests, in seconds.
pub const REQUEST_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// Clock ticks in a second, as Linux shows them to processes on every architecture.
const TICKS: f64 = 100.0;

/// A number that only grows, by labels.
#[expect(clippy::expect_used, reason = "names are constants of this program: a wrong one fails every start")]
pub fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    listed(IntCounterVec::new(Opts::new(name, help), labels).expect("a name"))
}

/// A number that goes up and down, by labels.
#[expect(clippy::expect_used, reason = "as for counters")]
pub fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    listed(IntGaugeVec::new(Opts::new(name, help), labels).expect("a name"))
}

/// How many measured values were below each bound, by labels.
#[expect(clippy::expect_used, reason = "as for counters")]
pub fn histogram(name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    listed(HistogramVec::new(options, labels).expect("a name"))
}

fn listed<M: Collector + Clone + 'static>(metric: M) -> M {
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::error!(%error, "a metric is counted and not shown");
    }
    metric
}

/// Bounds that grow by a factor, as upstream's `ExponentialBuckets`.
pub fn exponential(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

/// Everything there is, as Prometheus reads it ([`MEDIA_TYPE`]).
pub fn render() -> String {
    let mut out = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&prometheus::gather(), &mut out) {
        tracing::error!(%error, "metrics cannot be written");
    }
    process(&mut out);
    out
}

/// What the kernel knows of this process, under the names every client library uses. What cannot be read is
/// left out.
fn process(out: &mut String) {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    // The second field, a name in brackets, may hold anything.
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|word| word.parse::<u64>().ok());
    let ticks = |number| field(number).map(|ticks| ticks as f64 / TICKS);
    let after = |text: &str, head: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(head))?.split_whitespace().next()?.parse().ok()
    };
    let cpu = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
    let start = after(&read("/proc/stat"), "btime ").zip(ticks(22)).map(|(boot, since)| boot + since);
    let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    for (name, kind, help, value) in [
        ("process_cpu_seconds_total", "counter", "User and system CPU time, in seconds.", cpu),
        ("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.", start),
        ("process_open_fds", "gauge", "Open file descriptors.", descriptors),
        (
            "process_max_fds",
            "gauge",
            "Most file descriptors there may be.",
            after(&read("/proc/self/limits"), "Max open files"),
        ),
        (
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory, in bytes.",
            field(23).map(|bytes| bytes as f64),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory in use, in bytes.",
            after(&read("/proc/self/status"), "VmRSS:").map(|kibibytes| kibibytes * 1024.0),
        ),
    ] {
        let Some(value) = value else { continue };
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let asked = counter("test_asked_total", "Asked.", &["who"]);
        asked.with_label_values(&["a\"b\n"]).inc_by(2);
        let took = histogram("test_seconds", "Took.", &["who"], &exponential(0.5, 2.0, 2));
        took.with_label_values(&["x"]).observe(0.7);
        gauge("test_waiting", "Waiting.", &[]).with_label_values(&[] as &[&str]).set(-3);
        let all = render();
        for line in [
            "# TYPE test_asked_total counter",
            r#"test_asked_total{who="a\"b\n"} 2"#,
            r#"test_seconds_bucket{who="x",le="0.5"} 0"#,
            r#"test_seconds_bucket{who="x",le="1"} 1"#,
            r#"test_seconds_bucket{who="x",le="+Inf"} 1"#,
            "test_waiting -3",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(all.lines().any(|other| other == line), "{line} is not in\n{all}");
        }
        let value = |name: &str| -> f64 {
            let line = all.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes ") < value("process_virtual_memory_bytes "));
        assert!(value("process_open_fds ") < value("process_max_fds "));
        assert!(value("process_start_time_seconds ") > 1.7e9);
    }
}
