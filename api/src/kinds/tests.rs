//! The table as a whole.

use serde_json::json;

use super::*;

#[test]
fn every_row_is_complete_and_names_do_not_clash() {
    let table = builtin();
    let mut short = std::collections::BTreeSet::new();
    for kind in table.iter() {
        assert!(!kind.definition.is_empty() && !kind.verbs.is_empty(), "{}", kind.kind);
        assert!(kind.verbs.is_sorted(), "{}", kind.kind);
        assert!(kind.subresources.iter().map(|s| &s.name).is_sorted(), "{}", kind.kind);
        for name in &kind.short_names {
            let known = short.insert((name.to_string(), kind.plural.to_string()));
            assert!(known || kind.converted().is_some() || kind.version == "v2", "{name} twice");
        }
        for (_, path) in &kind.field_aliases {
            assert!(
                path == "metadata.name"
                    || path.split('|').all(|path| kind.selectable_fields.iter().any(|field| *field == path)),
                "{path}"
            );
        }
    }
}

#[test]
fn finds_what_people_type() {
    let table = builtin();
    for (word, expect) in [
        ("po", "v1 Pod"),
        ("pods", "v1 Pod"),
        ("Pod", "v1 Pod"),
        ("ev", "v1 Event"),
        ("events.events.k8s.io", "events.k8s.io/v1 Event"),
        ("deploy", "apps/v1 Deployment"),
        ("deploy.apps", "apps/v1 Deployment"),
        ("deployments.v1.apps", "apps/v1 Deployment"),
        ("hpa", "autoscaling/v2 HorizontalPodAutoscaler"),
        ("hpa.v1.autoscaling", "autoscaling/v1 HorizontalPodAutoscaler"),
        ("pods.metrics.k8s.io", "metrics.k8s.io/v1beta1 PodMetrics"),
        ("jobs", "batch/v1 Job"),
        ("cj", "batch/v1 CronJob"),
        ("rc", "v1 ReplicationController"),
        ("pvc", "v1 PersistentVolumeClaim"),
        ("pdb", "policy/v1 PodDisruptionBudget"),
        ("nothing", ""),
    ] {
        let found = table.find(word).map(|k| format!("{} {}", k.api_version(), k.kind)).unwrap_or_default();
        assert_eq!(found, expect, "{word}");
    }
    let all: Vec<_> = table.category("all").iter().map(|k| k.plural.to_string()).collect();
    let expect = [
        "pods",
        "replicationcontrollers",
        "services",
        "daemonsets",
        "deployments",
        "replicasets",
        "statefulsets",
        "horizontalpodautoscalers",
        "cronjobs",
        "jobs",
    ];
    assert_eq!(all, expect);
}

#[test]
fn discovery_lists_core_first_and_preferred_versions_first() {
    let groups = builtin().discovery_order();
    let names: Vec<_> = groups.iter().map(|g| g.group.as_str()).collect();
    let expect = [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "resource.k8s.io",
        "metrics.k8s.io",
    ];
    assert_eq!(names, expect);
    let versions: Vec<_> = groups[6].versions.iter().map(|v| v.version.as_str()).collect();
    assert_eq!(versions, ["v2", "v1"]);
}

#[test]
fn paths_and_keys() {
    let table = builtin();
    let event = table.find("events.events.k8s.io").unwrap();
    assert_eq!(event.key(Some("a"), "b"), "/registry/core/events/a/b");
    assert_eq!(event.path(Some("a"), Some("b")), "/apis/events.k8s.io/v1/namespaces/a/events/b");
    assert_eq!(event.field_path("regarding.kind"), Some("involvedObject.kind"));
    assert_eq!(event.field_path("nope"), None);
    let node = table.find("no").unwrap();
    assert_eq!(node.path(Some("ignored"), Some("n")), "/api/v1/nodes/n");
    assert_eq!(node.definition, "io.k8s.api.core.v1.Node");
    assert_eq!(node.field_path("metadata.namespace"), None);
}

#[test]
fn events_convert_both_ways() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "m",
        "involvedObject": {"kind": "Pod"}, "count": 2, "reportingComponent": "r", "reportingInstance": "i"});
    let mut other = core.clone();
    events::from_core(&mut other);
    assert_eq!(
        other,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "m",
            "regarding": {"kind": "Pod"}, "deprecatedCount": 2, "reportingController": "r",
            "reportingInstance": "i"})
    );
    events::to_core(&mut other);
    assert_eq!(other, core);
}

#[test]
fn autoscalers_convert_both_ways() {
    let v1 = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"}, "spec": {"maxReplicas": 4, "targetCPUUtilizationPercentage": 50},
        "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 7}});
    let mut v2 = v1.clone();
    autoscaling::v1_to_v2(&mut v2);
    assert_eq!(
        v2["spec"]["metrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}])
    );
    v2["spec"]["metrics"].as_array_mut().unwrap().push(json!({"type": "Pods", "pods": {}}));
    v2["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 1}});
    v2["status"]["conditions"] = json!([{"type": "AbleToScale", "status": "True"}]);
    let mut back = v2.clone();
    autoscaling::v2_to_v1(&mut back);
    assert_eq!(back["spec"], v1["spec"]);
    assert_eq!(back["status"], v1["status"]);
    autoscaling::v1_to_v2(&mut back);
    back["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(back, v2);
}
