//! How far and how fast a size may change. Pure.
//!
//! Without `behavior`: at most doubling (or to four) per step, and downwards only to the highest
//! recommendation of the last five minutes. With it: its windows and policies.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
};

/// Window over which a decrease must have been recommended.
const DOWNSCALE_WINDOW: i32 = 300;
/// Longest window the API allows, so how long anything is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(3600);

/// Recent decisions about one autoscaler.
#[derive(Debug, Clone, Default)]
pub struct History {
    recommendations: Vec<(Timestamp, i32)>,
    changes: Vec<(Timestamp, i32)>,
    initial: Option<i32>,
}

impl History {
    /// A target seen for the first time counts as recommended at its present size, so that a restarted
    /// controller does not shrink it at once.
    pub fn begin(&mut self, replicas: i32) {
        self.initial.get_or_insert(replicas);
    }

    /// Remembers a decision.
    pub fn record(&mut self, recommendation: Option<i32>, change: i32, now: Timestamp) {
        if let Some(initial) = self.initial
            && self.recommendations.is_empty()
        {
            self.recommendations.push((now, initial));
        }
        self.recommendations.extend(recommendation.map(|replicas| (now, replicas)));
        if change != 0 {
            self.changes.push((now, change));
        }
        self.recommendations.retain(|(at, _)| now.duration_since(*at) <= REMEMBERED);
        self.changes.retain(|(at, _)| now.duration_since(*at) <= REMEMBERED);
    }

    fn recommended(&self, window: i32, now: Timestamp) -> impl Iterator<Item = i32> + '_ {
        let initial = self.initial.filter(|_| self.recommendations.is_empty() && window > 0);
        let recent = self.recommendations.iter().filter(move |(at, _)| within(*at, window, now));
        recent.map(|(_, replicas)| *replicas).chain(initial)
    }

    /// Pods added (positive) and removed (negative) in the last `seconds`, net.
    fn changed(&self, seconds: i32, now: Timestamp) -> i32 {
        self.changes.iter().filter(|(at, _)| within(*at, seconds, now)).map(|(_, change)| change).sum()
    }
}

fn within(at: Timestamp, seconds: i32, now: Timestamp) -> bool {
    now.duration_since(at) < SignedDuration::from_secs(i64::from(seconds))
}

/// Sizes a decision lies between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) current: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

/// The allowed size, and why it is that one.
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// Reason and message of `AbleToScale`.
    pub(super) able: (&'static str, &'static str),
    /// Status, reason and message of `ScalingLimited`.
    pub(super) limited: (&'static str, &'static str, &'static str),
}

const MATCHES: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FAST_UP: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

/// Applies windows, rates and bounds to what the metrics ask for.
pub(super) fn limit(
    spec: &HorizontalPodAutoscalerSpec,
    history: &History,
    bounds: &Bounds,
    proposed: i32,
    now: Timestamp,
) -> Limited {
    let (stabilized, able, (replicas, why)) = match &spec.behavior {
        None => {
            let highest = history.recommended(DOWNSCALE_WINDOW, now).fold(proposed, i32::max);
            let able = if highest == proposed { MATCHES } else { DOWN_STABILIZED };
            (highest, able, plain_bounds(bounds, highest))
        }
        Some(behavior) => {
            let (stabilized, able) = stabilize(behavior, history, bounds.current, proposed, now);
            (stabilized, able, rated_bounds(behavior, history, bounds, stabilized, now))
        }
    };
    let status = if replicas == stabilized { "False" } else { "True" };
    Limited { replicas, able, limited: (status, why.0, why.1) }
}

fn plain_bounds(bounds: &Bounds, wanted: i32) -> (i32, (&'static str, &'static str)) {
    let fastest = bounds.current.saturating_mul(2).max(4);
    let (most, why) = if bounds.max > fastest { (fastest, TOO_FAST_UP) } else { (bounds.max, TOO_MANY) };
    if wanted < bounds.min {
        (bounds.min, TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, WITHIN)
    }
}

fn stabilize(
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    current: i32,
    proposed: i32,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let window = |rules: &Option<HPAScalingRules>, default| {
        rules.as_ref().and_then(|rules| rules.stabilization_window_seconds).unwrap_or(default)
    };
    let lowest = history.recommended(window(&behavior.scale_up, 0), now).fold(proposed, i32::min);
    let highest =
        history.recommended(window(&behavior.scale_down, DOWNSCALE_WINDOW), now).fold(proposed, i32::max);
    let stabilized = if current < lowest {
        lowest
    } else if current > highest {
        highest
    } else {
        current
    };
    let able = match stabilized {
        _ if stabilized == proposed => MATCHES,
        _ if proposed >= current => UP_STABILIZED,
        _ => DOWN_STABILIZED,
    };
    (stabilized, able)
}

fn rated_bounds(
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    bounds: &Bounds,
    wanted: i32,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let Bounds { current, min, max } = *bounds;
    if wanted > current {
        let fastest = up_limit(behavior.scale_up.as_ref(), history, current, now).max(current);
        let (most, why) = if max > fastest { (fastest, TOO_FAST_UP) } else { (max, TOO_MANY) };
        if wanted > most {
            return (most, why);
        }
    } else if wanted < current {
        let fastest = down_limit(behavior.scale_down.as_ref(), history, current, now).min(current);
        let (fewest, why) = if min < fastest { (fastest, TOO_FAST_DOWN) } else { (min, TOO_FEW) };
        if wanted < fewest {
            return (fewest, why);
        }
    }
    (wanted, WITHIN)
}

fn policy(kind: &str, value: i32, period_seconds: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds }
}

fn up_limit(rules: Option<&HPAScalingRules>, history: &History, current: i32, now: Timestamp) -> i32 {
    let select = rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max");
    let policies = rules
        .and_then(|rules| rules.policies.clone())
        .unwrap_or_else(|| vec![policy("Pods", 4, 15), policy("Percent", 100, 15)]);
    let reach = policies.iter().map(|policy| {
        let start = current - history.changed(policy.period_seconds, now);
        match policy.type_.as_str() {
            "Pods" => start.saturating_add(policy.value),
            _ => percent_up(start, policy.value),
        }
    });
    match select {
        "Disabled" => current,
        "Min" => reach.min().unwrap_or(current),
        _ => reach.max().unwrap_or(current),
    }
}

fn down_limit(rules: Option<&HPAScalingRules>, history: &History, current: i32, now: Timestamp) -> i32 {
    let select = rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max");
    let policies =
        rules.and_then(|rules| rules.policies.clone()).unwrap_or_else(|| vec![policy("Percent", 100, 15)]);
    let reach = policies.iter().map(|policy| {
        let start = current - history.changed(policy.period_seconds, now);
        match policy.type_.as_str() {
            "Pods" => start.saturating_sub(policy.value),
            _ => percent_down(start, policy.value),
        }
    });
    match select {
        "Disabled" => current,
        // The policy that allows the smallest change leaves the most pods.
        "Min" => reach.max().unwrap_or(current),
        _ => reach.min().unwrap_or(current),
    }
}

/// `start` and `percent` of it, rounded up.
fn percent_up(start: i32, percent: i32) -> i32 {
    let scaled = i64::from(start) * (100 + i64::from(percent));
    i32::try_from((scaled + 99).div_euclid(100)).unwrap_or(i32::MAX)
}

/// `start` less `percent` of it, rounded down.
fn percent_down(start: i32, percent: i32) -> i32 {
    i32::try_from(i64::from(start) * (100 - i64::from(percent)) / 100).unwrap_or(0)
}
