//! Loads and the sizes they lead to.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn pod(name: &str, phase: &str) -> Arc<Pod> {
    let text = at(-3600).to_string();
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": phase, "startTime": text,
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text}]},
        }))
        .expect("a pod"),
    )
}

fn usage(milli: i64) -> Measured {
    let usage = BTreeMap::from([("cpu".to_owned(), milli)]);
    Measured {
        at: at(0),
        window: jiff::SignedDuration::from_secs(15),
        containers: BTreeMap::from([("c".to_owned(), usage)]),
    }
}

/// `loads`: a pod each; `None` was not measured, a negative one is still pending.
fn observed(spec: Value, current: i32, loads: &[Option<i64>]) -> Observed {
    let autoscaler = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": spec});
    let names: Vec<String> = (0..loads.len()).map(|i| format!("p{i}")).collect();
    let phase = |load: &Option<i64>| if load.is_some_and(|l| l < 0) { "Pending" } else { "Running" };
    let pods = names.iter().zip(loads).map(|(name, load)| pod(name, phase(load))).collect();
    let measured =
        names.iter().zip(loads).filter_map(|(n, l)| Some((n.clone(), usage((*l).filter(|l| *l >= 0)?))));
    Observed {
        autoscaler: Arc::new(serde_json::from_value(autoscaler).expect("an autoscaler")),
        scale: Ok(Scale {
            resource: request::resource::<k8s_openapi::api::apps::v1::Deployment>(),
            resource_version: Some("7".into()),
            spec_replicas: current,
            status_replicas: current,
            selector: "app=web".into(),
        }),
        pods,
        measured: Ok(measured.collect()),
        history: History::default(),
    }
}

fn spec(utilization: i32) -> Value {
    json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 2, "maxReplicas": 10, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": utilization}}}]})
}

fn conditions(plan: &Plan) -> Vec<String> {
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"].clone()),
        _ => None,
    });
    let conditions = status.map(|status| status["conditions"].clone()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = conditions.as_array().into_iter().flatten();
    each.map(|c| format!("{}={} {}", text(&c["type"]), text(&c["status"]), text(&c["reason"]))).collect()
}

fn check(current: i32, loads: &[Option<i64>], expect: i32, expect_conditions: &[&str]) {
    let decision = decide(&observed(spec(50), current, loads), at(0));
    assert_eq!(current + decision.change, expect, "{loads:?}");
    assert_eq!(conditions(&decision.plan), expect_conditions, "{loads:?}");
    assert_eq!(decision.plan.requeue_after, Some(PERIOD));
}

#[test]
fn load_decides() {
    let all = |load, count| vec![Some(load); count];
    let able = |reason: &str, limited: &str| {
        [
            format!("AbleToScale=True {reason}"),
            "ScalingActive=True ValidMetricFound".into(),
            format!("ScalingLimited={limited}"),
        ]
    };
    let go = |current, loads: &[Option<i64>], expect, able: [String; 3]| {
        check(current, loads, expect, &able.each_ref().map(String::as_str));
    };
    go(3, &all(50, 3), 3, able("ReadyForNewScale", "False DesiredWithinRange"));
    go(3, &all(54, 3), 3, able("ReadyForNewScale", "False DesiredWithinRange"));
    go(3, &all(100, 3), 6, able("SucceededRescale", "False DesiredWithinRange"));
    go(3, &all(400, 3), 6, able("SucceededRescale", "True ScaleUpLimit"));
    go(8, &all(100, 8), 10, able("SucceededRescale", "True TooManyReplicas"));
    go(4, &all(5, 4), 2, able("SucceededRescale", "True TooFewReplicas"));
    // Not measured: counts as busy when shrinking, as idle when growing.
    go(4, &[Some(5), Some(5), Some(5), None], 3, able("SucceededRescale", "False DesiredWithinRange"));
    go(4, &[Some(60), Some(60), Some(60), None], 4, able("ReadyForNewScale", "False DesiredWithinRange"));
    // Pending pods count as idle when growing.
    go(
        4,
        &[Some(150), Some(150), Some(-1), Some(-1)],
        6,
        able("SucceededRescale", "False DesiredWithinRange"),
    );
}

#[test]
fn bounds_apply_without_metrics_and_failures_are_told() {
    let decision = decide(&observed(spec(50), 12, &[]), at(0));
    assert_eq!(decision.change, -2);
    let message = &decision.plan.reports[&0].success.as_ref().expect("an event").message;
    assert_eq!(message, "New size: 10; reason: Current number of replicas above Spec.MaxReplicas");
    let decision = decide(&observed(spec(50), 3, &[None, None, None]), at(0));
    assert_eq!(decision.change, 0);
    assert_eq!(
        conditions(&decision.plan),
        ["AbleToScale=True SucceededGetScale", "ScalingActive=False FailedGetResourceMetric"]
    );
    assert_eq!(
        decision.plan.events[0].message,
        "failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for \
         resource cpu: no metrics returned from resource metrics API"
    );
}

#[test]
fn decreases_wait_for_the_window() {
    let mut history = History::default();
    history.begin(6);
    let mut observe = |seconds: i64, load: i64, current: i32| {
        let mut observed =
            observed(spec(50), current, &vec![Some(load); usize::try_from(current).expect("few")]);
        observed.history = history.clone();
        let decision = decide(&observed, at(seconds));
        history.record(decision.recommendation, decision.change, at(seconds));
        current + decision.change
    };
    assert_eq!(observe(0, 10, 6), 6);
    assert_eq!(observe(299, 10, 6), 6);
    assert_eq!(observe(301, 10, 6), 2);
}

#[test]
fn behavior_limits_the_rate() {
    let mut spec = spec(50);
    spec["behavior"] = json!({
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
    });
    let up = decide(&observed(spec.clone(), 3, &[Some(200); 3]), at(0));
    assert_eq!(up.change, 1);
    let mut again = observed(spec.clone(), 4, &[Some(200); 4]);
    again.history.record(Some(10), 1, at(0));
    assert_eq!(decide(&again, at(30)).change, 0);
    assert_eq!(decide(&again, at(61)).change, 1);
    assert_eq!(decide(&observed(spec, 8, &[Some(1); 8]), at(0)).change, -4);
}
