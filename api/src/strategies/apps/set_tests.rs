//! Tables for daemon sets and stateful sets.

use serde_json::{Value, json};

use super::super::trial::Trial;

fn base(more: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn daemon_set() -> Trial {
    Trial::of("ds", base(json!({})))
}

fn stateful_set() -> Trial {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    Trial::of("sts", base(json!({"serviceName": "s", "volumeClaimTemplates": [claim]})))
}

fn spec(fields: Value) -> Value {
    json!({ "spec": fields })
}

#[test]
fn daemon_sets_are_filled_in_and_count_templates() {
    let set = daemon_set().created(json!({}));
    assert_eq!(
        set["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
    let key = "deprecated.daemonset.template.generation";
    assert_eq!(set["metadata"]["annotations"][key], "1");
    let context = super::super::trial::context("");
    let mut new = set.clone();
    new["metadata"]["annotations"] = json!({});
    crate::strategy::Strategy::prepare_for_update(&super::DaemonSet, &mut new, &set, &context);
    assert_eq!(new["metadata"]["annotations"][key], "1");
    new["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    crate::strategy::Strategy::prepare_for_update(&super::DaemonSet, &mut new, &set, &context);
    assert_eq!(new["metadata"]["annotations"][key], "2");
}

#[test]
fn daemon_sets() {
    let set = daemon_set();
    let rolling = |rolling: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": rolling}}});
    let path = "spec.updateStrategy";
    set.refuses(rolling(json!({"maxSurge": "10%", "maxUnavailable": 0})), &[]);
    set.refuses(
        rolling(json!({"maxSurge": 1})),
        &[&format!(
            "{path}.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
        )],
    );
    set.refuses(
        rolling(json!({"maxUnavailable": 0})),
        &[&format!("{path}.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")],
    );
    set.refuses(
        rolling(json!({"maxUnavailable": "101%"})),
        &[&format!(
            "{path}.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
        )],
    );
    set.refuses(
        spec(json!({"updateStrategy": {"type": "Never"}, "minReadySeconds": -1})),
        &[
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy: Unsupported value: {\"RollingUpdate\":null,\"Type\":\"Never\"}: supported values: \
             \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    set.refuses(
        json!({"spec": {"template": {"metadata": {"labels": {"a": "c"}},
            "spec": {"restartPolicy": "OnFailure", "activeDeadlineSeconds": 5}}}}),
        &[
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
            "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ],
    );
    set.refuses_update(
        json!({"spec": {"selector": {"matchLabels": {"c": "d"}}}}),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable"],
    );
    set.refuses_status(
        json!({"collisionCount": 2}),
        json!({"numberReady": -1, "collisionCount": 1}),
        &[
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ],
    );
}

#[test]
fn stateful_sets_are_filled_in() {
    let spec = stateful_set().created(json!({}))["spec"].clone();
    assert_eq!((&spec["podManagementPolicy"], &spec["replicas"]), (&json!("OrderedReady"), &json!(1)));
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    let claim = &spec["volumeClaimTemplates"][0];
    assert_eq!((&claim["kind"], &claim["apiVersion"]), (&json!("PersistentVolumeClaim"), &json!("v1")));
    assert_eq!(
        (&claim["status"]["phase"], &claim["spec"]["volumeMode"]),
        (&json!("Pending"), &json!("Filesystem"))
    );
}

#[test]
fn stateful_sets() {
    let set = stateful_set();
    set.refuses(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [
            {"name": "data", "mountPath": "/a"}, {"name": "other", "mountPath": "/b"}]}]}}}}),
        &["spec.template.spec.containers[0].volumeMounts[1].name: Not found: \"other\""],
    );
    set.refuses(
        spec(json!({"podManagementPolicy": "Random", "serviceName": "No", "ordinals": {"start": -1}})),
        &[
            "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            "spec.serviceName: Invalid value: \"No\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
             characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
             used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    set.refuses(
        spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})),
        &[
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
        ],
    );
    set.refuses(
        spec(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1, "maxUnavailable": 0}}})),
        &[
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
        ],
    );
    set.refuses(
        spec(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Keep"}})),
        &[
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"Keep\": supported values: \
             \"Retain\", \"Delete\"",
        ],
    );
    set.refuses(
        spec(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]})),
        &[
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
        ],
    );
}

#[test]
fn few_things_of_a_stateful_set_change() {
    let set = stateful_set();
    set.refuses_update(
        json!({"spec": {"replicas": 3, "minReadySeconds": 5, "revisionHistoryLimit": 2, "ordinals": {"start": 1},
            "updateStrategy": {"rollingUpdate": {"partition": 1}}, "template": {"spec": {"hostname": "x"}},
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}}),
        &[],
    );
    let refused = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
        'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    let names = crate::strategy::Strategy::name_errors(&super::StatefulSet, "a.b");
    assert_eq!(names, ["must not contain dots"]);
    set.refuses_update(spec(json!({"serviceName": "t"})), &[refused]);
    set.refuses_update(spec(json!({"volumeClaimTemplates": null})), &[refused]);
    set.refuses_status(
        json!({}),
        json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}),
        &[
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.readyReplicas",
        ],
    );
}
