//! From measurements to a number of replicas. Pure.
//!
//! Pods without measurements count so that they can only dampen a change: as idle when there would be
//! more pods, as fully busy when there would be fewer. Pods that are not ready count as idle when there
//! would be more. Changes of up to a tenth are ignored.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscalerSpec, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;

use super::Scale;
use crate::pods;

/// Relative change that is not worth acting on.
const TOLERANCE: f64 = 0.1;
/// How long after its start a pod's CPU says little.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod not ready within this time of its start was never ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What one pod was measured to use.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// End of the measured window.
    pub at: Timestamp,
    /// Its length.
    pub window: SignedDuration,
    /// Thousandths per container and resource.
    pub containers: BTreeMap<String, BTreeMap<String, i64>>,
}

impl Measured {
    /// From one item of a `metrics.k8s.io` list, with the pod's name.
    pub fn from_json(item: &Value) -> Option<(String, Self)> {
        let name = item["metadata"]["name"].as_str()?.to_owned();
        let at = item["timestamp"].as_str()?.parse().ok()?;
        let window =
            item["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or(SignedDuration::ZERO);
        let containers = item["containers"].as_array()?.iter().filter_map(|container| {
            let usage = container["usage"].as_object()?.iter();
            let usage = usage.filter_map(|(name, text)| {
                Some((name.clone(), Quantity::from_json(text).ok()?.milli_value()))
            });
            Some((container["name"].as_str()?.to_owned(), usage.collect()))
        });
        Some((name, Self { at, window, containers: containers.collect() }))
    }

    /// Thousandths of one resource, of one container or all; `None` if any of them lacks it.
    fn total(&self, resource: &str, container: Option<&str>) -> Option<i64> {
        match container {
            Some(container) => self.containers.get(container)?.get(resource).copied(),
            None => self.containers.values().map(|usage| usage.get(resource).copied()).sum(),
        }
    }
}

/// A size the metrics ask for.
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// The metric that asked for it, in words.
    pub(super) metric: String,
    pub(super) statuses: Vec<MetricStatus>,
    /// Events about metrics that could not be used.
    pub(super) warnings: Vec<(&'static str, String)>,
}

/// Why no size could be computed.
pub(super) struct NoProposal {
    pub(super) reason: &'static str,
    message: String,
    /// Events of single metrics.
    warnings: Vec<(&'static str, String)>,
    pub(super) metrics: Vec<MetricStatus>,
}

impl NoProposal {
    pub(super) fn condition_message(&self) -> String {
        if self.reason == "InvalidSelector" {
            return "the HPA target's scale is missing a selector".to_owned();
        }
        format!("the HPA was unable to compute the replica count: {}", self.first())
    }

    fn first(&self) -> &str {
        self.warnings.first().map_or(&self.message, |(_, message)| message)
    }

    pub(super) fn events(&self) -> Vec<(&'static str, String)> {
        let mut events = self.warnings.clone();
        if self.reason == "InvalidSelector" {
            events.push(("SelectorRequired", "selector is required".to_owned()));
        }
        events.push(("FailedComputeMetricsReplicas", self.message.clone()));
        events
    }
}

/// What one metric asks for.
struct Wanted {
    replicas: i32,
    metric: String,
    status: MetricStatus,
}

/// What all metrics together ask for: the largest.
pub(super) fn propose(
    spec: &HorizontalPodAutoscalerSpec,
    scale: &Scale,
    pods: &[Arc<Pod>],
    measured: &Result<BTreeMap<String, Measured>, String>,
    now: Timestamp,
) -> Result<Proposal, NoProposal> {
    if scale.selector.is_empty() {
        let message = "selector is required".to_owned();
        return Err(NoProposal { reason: "InvalidSelector", message, warnings: vec![], metrics: vec![] });
    }
    let metrics = spec.metrics.clone().unwrap_or_default();
    let world = World { spec, current: scale.spec_replicas, pods, measured, now };
    let (mut best, mut statuses, mut warnings): (Option<Wanted>, _, Vec<(&'static str, String)>) =
        (None, Vec::new(), Vec::new());
    for metric in &metrics {
        match world.metric(metric) {
            Ok(wanted) => {
                statuses.push(wanted.status.clone());
                if best.as_ref().is_none_or(|best| wanted.replicas > best.replicas) {
                    best = Some(wanted);
                }
            }
            Err((reason, message)) => warnings.push((reason, message)),
        }
    }
    // A metric that cannot be read may have asked for more: no decrease without all of them.
    let usable = best.filter(|best| warnings.is_empty() || best.replicas >= scale.spec_replicas);
    match usable {
        Some(best) => Ok(Proposal { replicas: best.replicas, metric: best.metric, statuses, warnings }),
        None => {
            let first = warnings.first().map(|(_, message)| message.clone()).unwrap_or_default();
            let (invalid, all) = (warnings.len(), metrics.len());
            let message =
                format!("invalid metrics ({invalid} invalid out of {all}), first error is: {first}");
            let reason = warnings.first().map_or("InvalidMetricSourceType", |(reason, _)| reason);
            Err(NoProposal { reason, message, warnings, metrics: statuses })
        }
    }
}

struct World<'a> {
    spec: &'a HorizontalPodAutoscalerSpec,
    current: i32,
    pods: &'a [Arc<Pod>],
    measured: &'a Result<BTreeMap<String, Measured>, String>,
    now: Timestamp,
}

/// Pods sorted by what their measurements are worth.
#[derive(Default)]
struct Groups {
    ready: i32,
    unready: Vec<String>,
    missing: Vec<String>,
    ignored: Vec<String>,
}

/// The ratio of use to target, from use by pod.
type RatioOf<'a> = dyn Fn(&BTreeMap<String, i64>) -> Result<f64, String> + 'a;

/// A resource of all containers or one.
struct Subject<'a> {
    resource: &'a str,
    container: Option<&'a str>,
}

impl World<'_> {
    fn metric(&self, metric: &MetricSpec) -> Result<Wanted, (&'static str, String)> {
        let (subject, target, reason) =
            match (metric.type_.as_str(), &metric.resource, &metric.container_resource) {
                ("Resource", Some(source), _) => (
                    Subject { resource: &source.name, container: None },
                    &source.target,
                    "FailedGetResourceMetric",
                ),
                ("ContainerResource", _, Some(source)) => (
                    Subject { resource: &source.name, container: Some(&source.container) },
                    &source.target,
                    "FailedGetContainerResourceMetric",
                ),
                (kind, ..) => {
                    let message = format!("unknown metric source type \"{kind}\"");
                    return Err(("InvalidMetricSourceType", message));
                }
            };
        let name = subject.resource;
        let outcome = if let Some(average) = &target.average_value {
            self.by_value(&subject, average).map_err(|error| format!("failed to get {name} usage: {error}"))
        } else {
            self.by_utilization(&subject, target)
                .map_err(|error| format!("failed to get {name} utilization: {error}"))
        };
        let (replicas, current) = outcome
            .map_err(|error| (reason, format!("failed to get {name} resource metric value: {error}")))?;
        let metric_name = match (target.average_value.is_some(), subject.container) {
            (true, None) => format!("{name} resource"),
            (true, Some(container)) => format!("{name} container resource of container {container}"),
            (false, None) => format!("{name} resource utilization (percentage of request)"),
            (false, Some(_)) => format!("{name} container resource utilization (percentage of request)"),
        };
        Ok(Wanted { replicas, metric: metric_name, status: status(metric, &subject, current) })
    }

    fn usages(&self, subject: &Subject<'_>) -> Result<BTreeMap<String, i64>, String> {
        let name = subject.resource;
        let measured = self
            .measured
            .as_ref()
            .map_err(|error| format!("unable to get metrics for resource {name}: unable to fetch metrics from resource metrics API: {error}"))?;
        let usages: BTreeMap<String, i64> = measured
            .iter()
            .filter_map(|(pod, measured)| Some((pod.clone(), measured.total(name, subject.container)?)))
            .collect();
        if usages.is_empty() {
            return Err(format!(
                "unable to get metrics for resource {name}: no metrics returned from resource metrics API"
            ));
        }
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        Ok(usages)
    }

    fn groups(&self, usages: &BTreeMap<String, i64>, resource: &str) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() || pods::is_terminal(pod) {
                groups.ignored.push(name);
            } else if pods::phase(pod) == "Pending" {
                groups.unready.push(name);
            } else if !usages.contains_key(&name) {
                groups.missing.push(name);
            } else if resource == "cpu" && self.cpu_says_little(pod, &name) {
                groups.unready.push(name);
            } else {
                groups.ready += 1;
            }
        }
        groups
    }

    /// Whether the pod is still starting: its CPU use is that of starting, not of serving.
    fn cpu_says_little(&self, pod: &Pod, name: &str) -> bool {
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else { return true };
        let changed = ready.last_transition_time.as_ref().map_or(started, |time| time.0);
        if started + CPU_INITIALIZATION > self.now {
            let measured = self.measured.as_ref().ok().and_then(|measured| measured.get(name));
            ready.status == "False" || measured.is_none_or(|measured| measured.at < changed + measured.window)
        } else {
            ready.status == "False" && started + INITIAL_READINESS > changed
        }
    }

    fn is_tolerable(&self, ratio: f64) -> bool {
        let rules = |rules: Option<&HPAScalingRules>| {
            let text = rules.and_then(|rules| rules.tolerance.as_ref());
            text.and_then(|text| text.0.parse::<Quantity>().ok()).map_or(TOLERANCE, Quantity::as_f64)
        };
        let behavior = self.spec.behavior.as_ref();
        let up = rules(behavior.and_then(|behavior| behavior.scale_up.as_ref()));
        let down = rules(behavior.and_then(|behavior| behavior.scale_down.as_ref()));
        (1.0 - down..=1.0 + up).contains(&ratio)
    }

    fn by_utilization(
        &self,
        subject: &Subject<'_>,
        target: &MetricTarget,
    ) -> Result<(i32, MetricValueStatus), String> {
        let percent = i64::from(target.average_utilization.ok_or("no target")?).max(1);
        let mut usages = self.usages(subject)?;
        let groups = self.groups(&usages, subject.resource);
        groups.ignored.iter().chain(&groups.unready).for_each(|name| {
            usages.remove(name);
        });
        if usages.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let requests = self.requests(subject)?;
        let (utilization, average) = utilization(&usages, &requests)?;
        let ratio_of = |utilization: i64| utilization as f64 / percent as f64;
        let fallback = |name: &String, busy: bool| {
            let request = requests.get(name).copied().unwrap_or(0);
            if busy { request * percent.max(100) / 100 } else { 0 }
        };
        let replicas = self.damped(usages, &groups, ratio_of(utilization), &fallback, &|usages| {
            self::utilization(usages, &requests).map(|(utilization, _)| ratio_of(utilization))
        })?;
        let current = MetricValueStatus {
            average_utilization: i32::try_from(utilization).ok(),
            average_value: Some(milli(average)),
            value: None,
        };
        Ok((replicas, current))
    }

    fn by_value(
        &self,
        subject: &Subject<'_>,
        target: &ApiQuantity,
    ) -> Result<(i32, MetricValueStatus), String> {
        let target = target.0.parse::<Quantity>().map_err(|error| error.to_string())?.milli_value().max(1);
        let mut usages = self.usages(subject)?;
        let groups = self.groups(&usages, subject.resource);
        groups.ignored.iter().chain(&groups.unready).for_each(|name| {
            usages.remove(name);
        });
        if usages.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let average_of = |usages: &BTreeMap<String, i64>| {
            usages.values().sum::<i64>() / i64::try_from(usages.len()).unwrap_or(1).max(1)
        };
        let average = average_of(&usages);
        let ratio_of = |average: i64| average as f64 / target as f64;
        let fallback = |_: &String, busy: bool| if busy { target } else { 0 };
        let replicas = self.damped(usages, &groups, ratio_of(average), &fallback, &|usages| {
            Ok(ratio_of(average_of(usages)))
        })?;
        Ok((replicas, MetricValueStatus { average_value: Some(milli(average)), ..Default::default() }))
    }

    /// The size a ratio of use to target asks for, with pods that were not measured counted in.
    fn damped(
        &self,
        mut usages: BTreeMap<String, i64>,
        groups: &Groups,
        ratio: f64,
        fallback: &dyn Fn(&String, bool) -> i64,
        ratio_of: &RatioOf<'_>,
    ) -> Result<i32, String> {
        let rises_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !rises_with_unready && groups.missing.is_empty() {
            return Ok(if self.is_tolerable(ratio) {
                self.current
            } else {
                ceil(ratio * f64::from(groups.ready))
            });
        }
        for name in &groups.missing {
            if ratio < 1.0 {
                usages.insert(name.clone(), fallback(name, true));
            } else if ratio > 1.0 {
                usages.insert(name.clone(), fallback(name, false));
            }
        }
        if rises_with_unready {
            usages.extend(groups.unready.iter().map(|name| (name.clone(), 0)));
        }
        let new = ratio_of(&usages)?;
        if self.is_tolerable(new) || (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0) {
            return Ok(self.current);
        }
        let replicas = ceil(new * usages.len() as f64);
        let backwards = (new < 1.0 && replicas > self.current) || (new > 1.0 && replicas < self.current);
        Ok(if backwards { self.current } else { replicas })
    }

    /// Requested thousandths by pod.
    fn requests(&self, subject: &Subject<'_>) -> Result<BTreeMap<String, i64>, String> {
        let mut requests = BTreeMap::new();
        for pod in self.pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let spec = pod.spec.as_ref();
            let sidecars = spec
                .iter()
                .flat_map(|spec| spec.init_containers.iter().flatten())
                .filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let containers = spec.iter().flat_map(|spec| &spec.containers).chain(sidecars);
            let chosen = containers.filter(|c| subject.container.is_none_or(|wanted| wanted == c.name));
            let mut sum = 0;
            for container in chosen {
                sum += requested(container, subject.resource).ok_or_else(|| {
                    format!(
                        "missing request for {} in container {} of Pod {name}",
                        subject.resource, container.name
                    )
                })?;
            }
            requests.insert(name, sum);
        }
        Ok(requests)
    }
}

fn requested(container: &Container, resource: &str) -> Option<i64> {
    let quantity = container.resources.as_ref()?.requests.as_ref()?.get(resource)?;
    quantity.0.parse::<Quantity>().ok().map(Quantity::milli_value)
}

/// Percentage of the requests in use, and the average use, over pods both measured and known.
fn utilization(
    usages: &BTreeMap<String, i64>,
    requests: &BTreeMap<String, i64>,
) -> Result<(i64, i64), String> {
    let known = usages.iter().filter_map(|(name, usage)| Some((usage, requests.get(name)?)));
    let (used, wanted, count) = known.fold((0, 0, 0), |(used, wanted, count), (usage, request)| {
        (used + usage, wanted + request, count + 1)
    });
    if wanted == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    Ok((used * 100 / wanted, used / count))
}

fn ceil(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates")]
    let whole = value.ceil() as i32;
    whole
}

fn milli(value: i64) -> ApiQuantity {
    ApiQuantity(Quantity::from_milli(value).to_string())
}

fn status(metric: &MetricSpec, subject: &Subject<'_>, current: MetricValueStatus) -> MetricStatus {
    let name = subject.resource.to_owned();
    let mut status = MetricStatus { type_: metric.type_.clone(), ..MetricStatus::default() };
    match subject.container {
        None => status.resource = Some(ResourceMetricStatus { name, current }),
        Some(container) => {
            let container = container.to_owned();
            status.container_resource = Some(ContainerResourceMetricStatus { name, container, current });
        }
    }
    status
}
