//! Tables for pods.

use serde_json::{Value, json};

use super::*;
use crate::patch::merge;

/// A valid specification, as it stands after the facts table's defaults.
pub(in crate::strategies) fn spec() -> Value {
    json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [container(json!({}))]})
}

fn container(changes: Value) -> Value {
    let base = json!({"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File", "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    merge::apply(&base, &changes).unwrap()
}

fn check(changes: Value, expect: &[&str]) {
    let spec = merge::apply(&spec(), &changes).unwrap();
    let texts: Vec<_> = Pod.validate(&json!({"spec": spec})).iter().map(Cause::to_string).collect();
    assert_eq!(texts, expect, "{changes}");
}

fn check_container(changes: Value, expect: &[&str]) {
    check(json!({"containers": [container(changes)]}), expect);
}

#[test]
fn specifications() {
    check(json!({}), &[]);
    check(json!({"containers": []}), &["spec.containers: Required value"]);
    check(
        json!({"restartPolicy": "Sometimes"}),
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    check(
        json!({"volumes": [{"name": "data", "emptyDir": {}, "hostPath": {"path": "/x"}}, {"name": "data", "emptyDir": {}}]}),
        &[
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[1].name: Duplicate value: \"data\"",
        ],
    );
    check(
        json!({"volumes": [{"name": "data", "configMap": {"items": [{"key": "k", "path": "../x"}]}}]}),
        &[
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ],
    );
    check(
        json!({"activeDeadlineSeconds": 0, "terminationGracePeriodSeconds": -1}),
        &[
            "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ],
    );
    check(
        json!({"containers": [container(json!({})), container(json!({}))]}),
        &["spec.containers[1].name: Duplicate value: \"web\""],
    );
    check(
        json!({"tolerations": [{"operator": "Equal"}]}),
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, \
           which means \"match all values and all keys\"",
        ],
    );
}

#[test]
fn containers() {
    check_container(json!({"image": ""}), &["spec.containers[0].image: Required value"]);
    check_container(
        json!({"name": "Web"}),
        &[
            "spec.containers[0].name: Invalid value: \"Web\": a lowercase RFC 1123 label must consist of lower case \
           alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
           or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check_container(
        json!({"volumeMounts": [{"name": "nope", "mountPath": "/a"}]}),
        &["spec.containers[0].volumeMounts[0].name: Not found: \"nope\""],
    );
    check_container(
        json!({"ports": [{"containerPort": 70000, "protocol": "TCP"}, {"protocol": "X"}]}),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[1].containerPort: Required value",
            "spec.containers[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    check_container(
        json!({"resources": {"requests": {"cpu": "2", "memory": "-1"}, "limits": {"cpu": "1"}}}),
        &[
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check_container(
        json!({"env": [{"name": ""}, {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}]}),
        &[
            "spec.containers[0].env[0].name: Required value",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ],
    );
}

#[test]
fn probes_do_one_thing() {
    check_container(
        json!({"livenessProbe": {"periodSeconds": 1}}),
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    check_container(
        json!({"readinessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}),
        &["spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    );
    check_container(
        json!({"livenessProbe": {"httpGet": {"path": "/", "scheme": "HTTP", "port": "a--b"}, "successThreshold": 2}}),
        &[
            "spec.containers[0].livenessProbe.httpGet.port: Invalid value: \"a--b\": must not contain consecutive hyphens",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
}

#[test]
fn updates() {
    let old = json!({"spec": spec(), "status": {"qosClass": "BestEffort"}});
    let changed = |changes: Value| merge::apply(&old, &changes).unwrap();
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = "web:2".into();
    image["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    image["spec"]["activeDeadlineSeconds"] = 5.into();
    assert_eq!(Pod.validate_update(&image, &old), []);
    let host = changed(json!({"spec": {"hostname": "x"}}));
    let text = Pod.validate_update(&host, &old)[0].to_string();
    assert!(text.starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    ));
    assert!(text.contains("hostname: null -> \"x\""), "{text}");
    let more =
        changed(json!({"spec": {"containers": [container(json!({})), container(json!({"name": "b"}))]}}));
    assert_eq!(
        Pod.validate_update(&more, &old)[0].to_string(),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
    assert_eq!(Pod.validate_change(&changed(json!({"spec": {"nodeName": "n"}})), &old, "binding"), []);
    let class = changed(json!({"status": {"qosClass": "Burstable"}}));
    assert_eq!(Pod.validate_change(&class, &old, "status").len(), 1);
}

#[test]
fn creation_and_deletion() {
    let context = Context { now: String::new(), subresource: String::new() };
    let mut pod = json!({"spec": spec(), "status": {"phase": "Running"}});
    Pod.prepare_for_create(&mut pod, &context);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(Pod.default_grace_period_seconds(&pod), Some(30));
    assert!(Pod.deletes_at_once(&pod));
    pod["spec"]["nodeName"] = "n".into();
    assert!(!Pod.deletes_at_once(&pod));
    pod["status"]["phase"] = "Failed".into();
    assert!(Pod.deletes_at_once(&pod));
}

#[test]
fn classes() {
    let class = |resources: Value| qos_class(&json!({"spec": {"containers": [{"resources": resources}]}}));
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    let both = json!({"cpu": "1", "memory": "1Gi"});
    assert_eq!(class(json!({"requests": both, "limits": both})), "Guaranteed");
    assert_eq!(class(json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": both})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})), "Burstable");
}

#[test]
fn resizes() {
    let amounts = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": "2"}});
    let with = |resources: Value| {
        let spec =
            merge::apply(&spec(), &json!({"containers": [container(json!({"resources": resources}))]}));
        json!({"metadata": {"labels": {"a": "b"}}, "spec": spec.unwrap(), "status": {"phase": "Running"}})
    };
    let check = |old: &Value, new: &Value, expect: &[&str]| {
        let mut new = new.clone();
        let context = Context { now: String::new(), subresource: "resize".to_owned() };
        Pod.prepare_for_update(&mut new, old, &context);
        let texts: Vec<_> = Pod.validate_change(&new, old, "resize").iter().map(Cause::to_string).collect();
        assert_eq!(texts, expect);
        new
    };
    let old = with(amounts("1"));
    let mut more = with(amounts("1500m"));
    more["metadata"]["labels"] = json!({});
    more["spec"]["hostname"] = "lost".into();
    let kept = check(&old, &more, &[]);
    assert_eq!((&kept["metadata"], &kept["spec"]["hostname"]), (&old["metadata"], &Value::Null));
    assert_eq!(kept["spec"]["containers"][0]["resources"], amounts("1500m"));
    check(
        &old,
        &with(
            json!({"requests": {"cpu": "1", "memory": "1Gi", "x.io/y": "1"}, "limits": {"cpu": "2", "x.io/y": "1"}}),
        ),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    check(
        &old,
        &with(json!({"requests": {"cpu": "1"}})),
        &[
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ],
    );
    let both = json!({"cpu": "2", "memory": "1Gi"});
    let mut guaranteed = with(json!({"requests": both, "limits": both}));
    guaranteed["status"]["qosClass"] = "Guaranteed".into();
    let less = with(json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": both}));
    check(
        &guaranteed,
        &less,
        &["spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"],
    );
    let mut named = more.clone();
    named["spec"]["containers"][0]["name"] = "other".into();
    check(
        &old,
        &named,
        &["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
    );
    let mut silent = old.clone();
    silent["status"]["containerStatuses"] = json!([{"name": "web", "state": {"running": {}}}]);
    check(&silent, &more, &["spec: Forbidden: Pod running on node without support for resize"]);
    let init = |changes: Value| {
        let mut pod = old.clone();
        let mut one = json!({"name": "i", "image": "i:1", "resources": {"requests": {"cpu": "1"}}});
        for (key, value) in changes.as_object().into_iter().flatten() {
            one[key] = value.clone();
        }
        pod["spec"]["initContainers"] = json!([one]);
        pod
    };
    let bigger = json!({"resources": {"requests": {"cpu": "2"}}});
    check(&init(json!({})), &init(bigger.clone()), &[]);
    check(
        &init(json!({})),
        &init(json!({"resources": {"requests": {"cpu": "1", "x.io/y": "1"}}})),
        &[
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ],
    );
    let restarts = json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]});
    let mut both = bigger;
    both["resizePolicy"] = restarts["resizePolicy"].clone();
    check(
        &init(restarts),
        &init(both),
        &[
            "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
        ],
    );
    let mut own = old.clone();
    own["spec"]["resources"] = json!({"limits": {"cpu": "4"}});
    check(&own, &more, &[": Forbidden: pods with pod-level resources cannot be resized"]);
}

#[test]
fn ephemeral_containers() {
    let look = json!({"name": "look", "image": "i:1", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File"});
    check(json!({"ephemeralContainers": [look]}), &[]);
    let mut bad = look.clone();
    bad["targetContainerName"] = "nobody".into();
    bad["ports"] = json!([{"containerPort": 1, "protocol": "TCP"}]);
    bad["volumeMounts"] = json!([{"name": "data", "mountPath": "/d", "subPath": "x"}]);
    let path = "spec.ephemeralContainers[0]";
    let refused = "Forbidden: cannot be set for an Ephemeral Container";
    check(
        json!({"ephemeralContainers": [bad]}),
        &[
            &format!("{path}.targetContainerName: Not found: \"nobody\""),
            &format!("{path}.ports: {refused}"),
            &format!("{path}.volumeMounts[0].subPath: {refused}"),
        ],
    );
    let mut old = json!({"spec": spec()});
    old["spec"]["ephemeralContainers"] = json!([look]);
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"][0]["name"] = "other".into();
    assert_eq!(
        Pod.validate_change(&new, &old, "ephemeralcontainers")[0].to_string(),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"look\" may not be removed\n"
    );
}
