//! Tables for quotas, limit ranges, replication controllers and pod templates.

use serde_json::{Value, json};

use super::super::trial::Trial;

fn spec(fields: Value) -> Value {
    json!({ "spec": fields })
}

#[test]
fn quotas() {
    let quota = Trial::of(
        "quota",
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2", "count/jobs.batch": "1", "requests.cpu": "500m",
            "requests.nvidia.com/gpu": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}}}),
    );
    quota.refuses(
        spec(json!({"hard": {"pods": "1.5", "people": "3", "cpu": "-1"}})),
        &[
            "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[people]: Invalid value: \"people\": must be a standard resource type or fully qualified",
            "spec.hard[people]: Invalid value: \"people\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ],
    );
    quota.refuses(
        spec(json!({"scopes": ["BestEffort", "NotBestEffort", "Rich"]})),
        &[
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Rich\"]: unsupported scope applied to resource",
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Rich\"]: unsupported scope",
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Rich\"]: conflicting scopes",
        ],
    );
    quota.refuses(
        spec(json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
            {"scopeName": "PriorityClass", "operator": "In"},
            {"scopeName": "Terminating", "operator": "Exists", "values": ["x"]}]}})),
        &[
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is \
             'In' or 'NotIn' for scope selector",
            "spec.scopeSelector.matchExpressions.values: Invalid value: [\"x\"]: must be no value when `operator` is \
             'Exist' or 'DoesNotExist' for scope selector",
        ],
    );
    quota.refuses_update(
        spec(json!({"scopes": ["Terminating"]})),
        &["spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"],
    );
    quota.refuses_status(
        json!({}),
        json!({"hard": {"pods": "2"}, "used": {"pods": "-1"}}),
        &["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
}

#[test]
fn limit_ranges() {
    let range = Trial::of(
        "limits",
        json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"},
            "min": {"memory": "1Mi"}}]}}),
    );
    let filled = range.created(json!({}))["spec"]["limits"][0].clone();
    assert_eq!(filled["default"], json!({"cpu": "2"}));
    assert_eq!(filled["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    let limits = |limits: Value| json!({"spec": {"limits": limits}});
    range.refuses(
        limits(json!([{"type": "Pod", "default": {"cpu": "1"}}, {"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}},
            {"type": "Node"}, {"type": "PersistentVolumeClaim"}])),
        &[
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[1].type: Duplicate value: \"Pod\"",
            "spec.limits[1].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[2].type: Invalid value: \"Node\": must be a standard limit type or fully qualified",
            "spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
    range.refuses(
        limits(json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "default": {"cpu": "3"},
            "defaultRequest": {"cpu": "500m"}, "maxLimitRequestRatio": {"cpu": "3"}}])),
        &[
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"500m\": min value 1 is greater than default request value 500m",
            "spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2",
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
        ],
    );
    range.refuses(
        limits(json!([{"type": "Container", "max": {"disk": "1"}}])),
        &[
            "spec.limits[0].max[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.limits[0].max[disk]: Invalid value: \"disk\": must be a standard resource for containers",
            "spec.limits[0].default[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.limits[0].default[disk]: Invalid value: \"disk\": must be a standard resource for containers",
            "spec.limits[0].defaultRequest[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.limits[0].defaultRequest[disk]: Invalid value: \"disk\": must be a standard resource for containers",
        ],
    );
}

#[test]
fn replication_controllers() {
    let controller = Trial::of(
        "rc",
        json!({"metadata": {"name": "r"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    );
    let created = controller.created(json!({}));
    assert_eq!(
        (&created["spec"]["selector"], &created["metadata"]["labels"]),
        (&json!({"a": "b"}), &json!({"a": "b"}))
    );
    assert_eq!((&created["spec"]["replicas"], &created["status"]), (&json!(1), &json!({"replicas": 0})));
    controller.refuses(
        spec(json!({"selector": {"a": "c"}, "replicas": -1})),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ],
    );
    controller.refuses(
        spec(json!({"template": null})),
        &["spec.selector: Required value", "spec.template: Required value"],
    );
    controller.refuses(
        json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}}),
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
        ],
    );
    controller.refuses_status(
        json!({}),
        json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": -1}),
        &[
            "status.availableReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        ],
    );
}

#[test]
fn pod_templates() {
    let template = Trial::of(
        "podtemplates",
        json!({"metadata": {"name": "t"}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}),
    );
    let pod = template.created(json!({}))["template"]["spec"].clone();
    assert_eq!(
        (&pod["restartPolicy"], &pod["containers"][0]["imagePullPolicy"]),
        (&json!("Always"), &json!("Always"))
    );
    template.refuses(
        json!({"template": {"spec": {"containers": [{"name": "c"}]}}}),
        &["template.spec.containers[0].image: Required value"],
    );
}
