//! From requests and limits to cgroups: QoS class, cgroup names, limits, OOM scores. Pure.
//!
//! Entry points: [`qos_class`], [`pod_cgroup`], [`pod_resources`], [`container_resources`], [`oom_score_adj`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::container_runtime::Resources;

/// CFS period, microseconds (upstream's default).
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel refuses fewer shares than this.
const MIN_SHARES: u64 = 2;
/// The kernel refuses more shares than this.
const MAX_SHARES: u64 = 262_144;
/// The kernel refuses a shorter quota, microseconds.
const MIN_QUOTA_US: i64 = 1_000;

/// A quantity in thousandths, rounded up; `None` when it is not a quantity.
pub fn milli_value(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let digits_end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let product = mantissa.checked_mul(multiplier)?.checked_mul(1_000)?;
    let rounded_up = product / divisor + i128::from(product % divisor != 0);
    Some(if negative { -(product / divisor) } else { rounded_up })
}

/// A quantity in whole units, rounded up.
pub fn value(quantity: &Quantity) -> Option<i128> {
    milli_value(quantity).map(|milli| milli / 1_000 + i128::from(milli % 1_000 > 0))
}

/// Multiplier and divisor of a quantity's suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has cpu and memory limits equal to its requests.
    Guaranteed,
    /// Some container has a request or limit.
    Burstable,
    /// No container has any.
    BestEffort,
}

impl QosClass {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

type ResourceList = BTreeMap<String, Quantity>;

fn limit(container: &Container, resource: &str) -> Option<i128> {
    positive(container.resources.as_ref()?.limits.as_ref()?, resource)
}

/// The request, or the limit when there is no request (as the API server defaults it).
fn request(container: &Container, resource: &str) -> Option<i128> {
    let resources = container.resources.as_ref()?;
    match resources.requests.as_ref().and_then(|list| list.get(resource)) {
        Some(quantity) => milli_value(quantity).filter(|milli| *milli > 0),
        None => positive(resources.limits.as_ref()?, resource),
    }
}

fn positive(list: &ResourceList, resource: &str) -> Option<i128> {
    milli_value(list.get(resource)?).filter(|milli| *milli > 0)
}

fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The pod's quality of service, as upstream's `ComputePodQOS` defines it.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let mut any = false;
    let mut guaranteed = true;
    for container in all_containers(spec) {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (request(container, resource), limit(container, resource));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The pod's cgroup below `root`, such as `/gantry/burstable/pod<uid>`.
pub fn pod_cgroup(root: &str, qos: QosClass, uid: &str) -> String {
    let root = root.trim_end_matches('/');
    match qos {
        QosClass::Guaranteed => format!("{root}/pod{uid}"),
        QosClass::Burstable => format!("{root}/burstable/pod{uid}"),
        QosClass::BestEffort => format!("{root}/besteffort/pod{uid}"),
    }
}

fn shares(milli_cpu: i128) -> u64 {
    // 250m -> 250 * 1024 / 1000 = 256 shares.
    u64::try_from(milli_cpu * 1_024 / 1_000).unwrap_or(0).clamp(MIN_SHARES, MAX_SHARES)
}

fn quota(milli_cpu: i128) -> i64 {
    // 200m -> 200 * 100,000 / 1000 = 20,000 us in each 100,000 us.
    i64::try_from(milli_cpu * i128::from(CPU_PERIOD_US) / 1_000).unwrap_or(i64::MAX).max(MIN_QUOTA_US)
}

fn bytes(milli: i128) -> i64 {
    i64::try_from(milli / 1_000 + i128::from(milli % 1_000 > 0)).unwrap_or(i64::MAX)
}

/// Limits of one container.
pub fn container_resources(container: &Container) -> Resources {
    let cpu_limit = limit(container, "cpu");
    Resources {
        cpu_shares: Some(shares(request(container, "cpu").unwrap_or(0))),
        cpu_quota_us: cpu_limit.map(quota),
        cpu_period_us: cpu_limit.map(|_| CPU_PERIOD_US),
        memory_limit_bytes: limit(container, "memory").map(bytes),
        pids_limit: None,
    }
}

/// Sum over the containers that run together, or the largest init container if that is more (KEP-753 order
/// of restartable init containers included).
fn effective(spec: &PodSpec, of: impl Fn(&Container) -> Option<i128>) -> (i128, bool) {
    let mut complete = true;
    let mut amount = |container: &Container| match of(container) {
        Some(milli) => milli,
        None => {
            complete = false;
            0
        }
    };
    let mut sidecars = 0;
    let mut init_peak = 0;
    for container in spec.init_containers.iter().flatten() {
        let milli = amount(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += milli;
            init_peak = init_peak.max(sidecars);
        } else {
            init_peak = init_peak.max(sidecars + milli);
        }
    }
    let running: i128 = spec.containers.iter().map(&mut amount).sum();
    ((running + sidecars).max(init_peak), complete)
}

/// Limits of the pod's cgroup: limits apply only when every container has one.
pub fn pod_resources(spec: &PodSpec, qos: QosClass) -> Resources {
    let (cpu_request, _) = effective(spec, |container| request(container, "cpu"));
    if qos == QosClass::BestEffort {
        return Resources { cpu_shares: Some(MIN_SHARES), ..Resources::default() };
    }
    let (cpu_limit, cpu_limited) = effective(spec, |container| limit(container, "cpu"));
    let (memory_limit, memory_limited) = effective(spec, |container| limit(container, "memory"));
    Resources {
        cpu_shares: Some(shares(cpu_request)),
        cpu_quota_us: cpu_limited.then(|| quota(cpu_limit)),
        cpu_period_us: cpu_limited.then_some(CPU_PERIOD_US),
        memory_limit_bytes: memory_limited.then(|| bytes(memory_limit)),
        pids_limit: None,
    }
}

/// Who the OOM killer takes first: guaranteed -997, best effort 1000, burstable by its share of the
/// node's memory (`1000 - 1000 * request / capacity`, kept within 3..=999).
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: u64) -> i32 {
    let Some(spec) = &pod.spec else { return 1_000 };
    // system-node-critical, upstream's `SystemCriticalPriority` + 1000.
    if spec.priority.is_some_and(|priority| priority >= 2_000_001_000) {
        return -997;
    }
    match qos_class(spec) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1_000,
        QosClass::Burstable => {
            let request = request(container, "memory").unwrap_or(0) / 1_000;
            let capacity = i128::from(node_memory_bytes.max(1));
            let score = 1_000 - (1_000 * request) / capacity;
            i32::try_from(score.clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> PodSpec {
        serde_yaml::from_str(yaml).expect("a pod spec")
    }

    #[test]
    fn quantities() {
        for (text, milli) in [
            ("1", Some(1_000)),
            ("100m", Some(100)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("1n", Some(1)),
            ("", None),
            ("1Zi", None),
        ] {
            assert_eq!(milli_value(&Quantity(text.to_owned())), milli, "{text}");
        }
        assert_eq!(value(&Quantity("100m".to_owned())), Some(1));
    }

    #[test]
    fn qos_and_cgroup() {
        for (resources, class, cgroup) in [
            ("{}", QosClass::BestEffort, "/gantry/besteffort/podu"),
            ("{requests: {cpu: 10m}}", QosClass::Burstable, "/gantry/burstable/podu"),
            ("{limits: {cpu: '1', memory: 1Gi}}", QosClass::Guaranteed, "/gantry/podu"),
            (
                "{limits: {cpu: 1000m, memory: 1Gi}, requests: {cpu: '1', memory: 1024Mi}}",
                QosClass::Guaranteed,
                "/gantry/podu",
            ),
            ("{limits: {cpu: '1'}}", QosClass::Burstable, "/gantry/burstable/podu"),
        ] {
            let spec = spec(&format!("containers: [{{name: a, resources: {resources}}}]"));
            assert_eq!(qos_class(&spec), class, "{resources}");
            assert_eq!(pod_cgroup("/gantry", class, "u"), cgroup);
        }
    }

    #[test]
    fn limits_of_pod_and_container() {
        let spec = spec(
            "containers: [{name: a, resources: {requests: {cpu: 250m}, limits: {cpu: 500m, memory: 64Mi}}},
                          {name: b, resources: {limits: {memory: 64Mi}}}]",
        );
        let first = container_resources(&spec.containers[0]);
        assert_eq!((first.cpu_shares, first.cpu_quota_us), (Some(256), Some(50_000)));
        assert_eq!(first.memory_limit_bytes, Some(64 << 20));
        let pod = pod_resources(&spec, qos_class(&spec));
        assert_eq!(pod.memory_limit_bytes, Some(128 << 20));
        assert_eq!(pod.cpu_quota_us, None, "one container has no cpu limit");
        assert_eq!(pod.cpu_shares, Some(256));
    }

    #[test]
    fn oom_scores() {
        for (resources, score) in [
            ("{}", 1_000),
            ("{requests: {memory: 100Mi}}", 903),
            ("{limits: {cpu: '1', memory: 1Gi}}", -997),
            ("{requests: {cpu: 1m}}", 999),
        ] {
            let spec = spec(&format!("containers: [{{name: a, resources: {resources}}}]"));
            let container = spec.containers[0].clone();
            let pod = Pod { spec: Some(spec), ..Pod::default() };
            assert_eq!(oom_score_adj(&pod, &container, 1 << 30), score, "{resources}");
        }
    }
}
