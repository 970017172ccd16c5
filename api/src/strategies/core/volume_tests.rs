//! Tables for volumes and claims.

use serde_json::{Value, json};

use super::super::trial::Trial;

fn volume() -> Trial {
    Trial::of(
        "pv",
        json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"],
            "nfs": {"server": "s", "path": "/p"}}}),
    )
}

fn claim() -> Trial {
    Trial::of(
        "pvc",
        json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
    )
}

fn spec(fields: Value) -> Value {
    json!({ "spec": fields })
}

#[test]
fn volumes() {
    let volume = volume();
    let created = volume.created(json!({}));
    assert_eq!(created["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(
        created["status"],
        json!({"phase": "Pending", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"})
    );
    volume.refuses(
        spec(json!({"accessModes": [], "capacity": null, "nfs": null})),
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec: Required value: must specify a volume type",
        ],
    );
    volume.refuses(
        spec(json!({"accessModes": ["ReadWriteOncePod", "ReadOnlyMany", "Never"], "capacity": {"storage": "0"},
            "volumeMode": "Tape", "persistentVolumeReclaimPolicy": "Burn", "hostPath": {"path": "/a/../b"}})),
        &[
            "spec.accessModes: Unsupported value: \"Never\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
            "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        ],
    );
    volume.refuses(
        spec(json!({"nfs": null, "local": {"path": "/d"}})),
        &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
    );
    volume.refuses(
        spec(json!({"nfs": null, "csi": {"driver": "Up", "controllerPublishSecretRef": {"name": "s"}}})),
        &[
            "spec.csi.driver: Invalid value: \"Up\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
             for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.csi.volumeHandle: Required value",
            "spec.csi.controllerPublishSecretRef.namespace: Required value",
        ],
    );
    volume.refuses_update(
        spec(json!({"nfs": {"path": "/q"}, "capacity": {"storage": "6Gi"}, "claimRef": {"name": "c"}})),
        &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
    );
    volume.refuses_update(
        spec(json!({"volumeMode": "Block"})),
        &["volumeMode: Invalid value: \"Block\": field is immutable"],
    );
}

#[test]
fn claims() {
    let claim = claim();
    let created =
        claim.created(spec(json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}})));
    assert_eq!(created["spec"]["dataSourceRef"], created["spec"]["dataSource"]);
    assert_eq!(created["spec"]["volumeMode"], "Filesystem");
    claim.refuses(
        spec(json!({"accessModes": [], "resources": null, "storageClassName": "No"})),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
            "spec.storageClassName: Invalid value: \"No\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    claim.refuses(
        spec(json!({"resources": {"requests": {"storage": "-1Gi"}}, "dataSourceRef": {"kind": "Thing", "name": ""}})),
        &[
            "spec.resources[storage]: Invalid value: \"-1Gi\": must be greater than zero",
            "spec.dataSource.name: Required value",
            "spec.dataSource: Invalid value: \"Thing\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            "spec.dataSourceRef.name: Required value",
            "spec.dataSourceRef: Invalid value: \"Thing\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ],
    );
}

#[test]
fn claims_hardly_change() {
    let claim = claim();
    let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let refused = "spec: Forbidden: spec is immutable after creation except resources.requests and \
        volumeAttributesClassName for bound claims";
    claim.refuses_update(spec(json!({"volumeName": "v"})), &[]);
    claim.refuses_update(spec(json!({"storageClassName": "late", "volumeAttributesClassName": "gold"})), &[]);
    claim.refuses_update(size("2Gi"), &[refused]);
    claim.refuses_update(spec(json!({"accessModes": ["ReadWriteMany"]})), &[refused]);
    let bound = json!({"spec": {"volumeName": "v", "storageClassName": "fast",
        "resources": {"requests": {"storage": "3Gi"}}}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    claim.refuses_change(bound.clone(), size("4Gi"), "", &[]);
    claim.refuses_change(bound.clone(), size("2Gi"), "", &[]);
    claim.refuses_change(
        bound.clone(),
        size("1Gi"),
        "",
        &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
    );
    claim.refuses_change(bound.clone(), spec(json!({"volumeName": "w"})), "", &[refused]);
    claim.refuses_change(bound, spec(json!({"storageClassName": "slow"})), "", &[refused]);
    claim.refuses_change(
        spec(json!({"volumeAttributesClassName": "gold"})),
        spec(json!({"volumeAttributesClassName": null})),
        "",
        &["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
    );
}
