//! Every served kind's row, as kubectl prints it.

use serde_json::json;

use super::*;
use crate::kinds::builtin;

mod cluster;

const V1: &str = "meta.k8s.io/v1";
const NOW: &str = "2026-01-01T01:00:00Z";
const CREATED: &str = "2026-01-01T00:55:00Z";

/// Cells of one object joined by ` | `, wide ones after `||`.
fn check(word: &str, mut object: Value, expect: &str) {
    let table = builtin();
    let kind = table.find(word).unwrap();
    if object["metadata"].is_null() {
        object["metadata"] = json!({"name": "x", "creationTimestamp": CREATED});
    }
    object["kind"] = kind.kind.as_ref().into();
    object["apiVersion"] = kind.api_version().into();
    let tables = Tables::of(&kind, V1, NOW.parse().unwrap(), IncludeObject::None);
    let rendered = tables.table([&object], Value::Null);
    let shaped = Shape::of(kind.printed_from).read(object.to_string().as_bytes()).unwrap();
    assert_eq!(tables.row(&shaped), rendered["rows"][0], "{word}: printed_from lacks a field of {object}");
    let cells = rendered["rows"][0]["cells"].as_array().unwrap();
    let definitions = rendered["columnDefinitions"].as_array().unwrap();
    assert_eq!(cells.len(), definitions.len());
    let part = |priority: i64| {
        let chosen = cells.iter().zip(definitions).filter(|(_, d)| d["priority"] == priority);
        chosen
            .map(|(cell, _)| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" | ")
    };
    let (narrow, wide) = (part(0), part(1));
    let all = if wide.is_empty() { narrow } else { format!("{narrow} || {wide}") };
    assert_eq!(all, expect, "{word} {object}");
}

fn pod(status: Value, expect: &str) {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    check(
        "po",
        json!({"spec": spec, "status": status}),
        &format!("x | {expect} | 5m || <none> | <none> | <none> | <none>"),
    );
}

#[test]
fn pods() {
    let running =
        |name: &str| json!({"name": name, "ready": true, "restartCount": 0, "state": {"running": {}}});
    pod(json!({"phase": "Pending"}), "0/2 | Pending | 0");
    pod(json!({"phase": "Running", "containerStatuses": [running("a"), running("b")]}), "2/2 | Running | 0");
    pod(
        json!({"phase": "Running", "containerStatuses": [running("a"),
            {"name": "b", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:55Z"}}}]}),
        "1/2 | CrashLoopBackOff | 2 (5s ago)",
    );
    pod(
        json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"terminated": {"exitCode": 0}}},
            {"name": "j", "state": {"running": {}}}]}),
        "0/2 | Init:1/2 | 0",
    );
    pod(
        json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        "0/2 | Init:CrashLoopBackOff | 1",
    );
    pod(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 3}}}]}),
        "0/2 | Init:ExitCode:3 | 0",
    );
    pod(
        json!({"phase": "Failed", "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}},
            {"name": "b", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
        "0/2 | Signal:9 | 0",
    );
    pod(
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, running("b")]}),
        "1/2 | NotReady | 0",
    );
    pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
        "0/2 | SchedulingGated | 0",
    );
    pod(json!({"phase": "Failed", "reason": "Evicted"}), "0/2 | Evicted | 0");
}

#[test]
fn deleted_and_wide_pods() {
    let meta = json!({"name": "x", "creationTimestamp": CREATED, "deletionTimestamp": NOW});
    check(
        "po",
        json!({"metadata": meta, "spec": {"nodeName": "n", "containers": [{}],
            "readinessGates": [{"conditionType": "g"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}}),
        "x | 0/1 | Terminating | 0 | 5m || 10.0.0.1 | n | <none> | 0/1",
    );
}

#[test]
fn workloads() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:1"}]}}});
    let status = json!({"replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
    check(
        "deploy",
        json!({"spec": spec, "status": status}),
        "x | 2/3 | 1 | 2 | 5m || a,b | i:1,j:1 | app=web",
    );
    check("rs", json!({"spec": spec, "status": status}), "x | 3 | 4 | 2 | 5m || a,b | i:1,j:1 | app=web");
    check("sts", json!({"spec": spec, "status": status}), "x | 2/3 | 5m || a,b | i:1,j:1");
    let mut rc = spec.clone();
    rc["selector"] = json!({"app": "web", "b": "c"});
    check("rc", json!({"spec": rc, "status": status}), "x | 3 | 4 | 2 | 5m || a,b | i:1,j:1 | app=web,b=c");
    check("podtemplates", json!({"template": spec["template"]}), "x | a,b | i:1,j:1 | <none>");
    let mut ds = spec;
    ds["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    check(
        "ds",
        json!({"spec": ds, "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
            "updatedNumberScheduled": 2, "numberAvailable": 1}}),
        "x | 5 | 4 | 3 | 2 | 1 | disk=ssd | 5m || a,b | i:1,j:1 | app=web",
    );
    check("ds", json!({}), "x | 0 | 0 | 0 | 0 | 0 | <none> | 5m ||  |  | <none>");
}

#[test]
fn jobs() {
    let spec = json!({"completions": 3, "parallelism": 2, "selector": {"matchLabels": {"u": "1"}},
        "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}});
    let tail = "5m || a | i:1 | u=1";
    let with = |status: Value| json!({"spec": spec, "status": status});
    check("jobs", with(json!({})), &format!("x | Running | 0/3 |  | {tail}"));
    check(
        "jobs",
        with(json!({"succeeded": 3, "startTime": CREATED, "completionTime": "2026-01-01T00:56:30Z",
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]})),
        &format!("x | Complete | 3/3 | 90s | {tail}"),
    );
    for (condition, expect) in [
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ] {
        let status = json!({"startTime": CREATED, "conditions": [{"type": condition, "status": "True"}]});
        check("jobs", with(status), &format!("x | {expect} | 0/3 | 5m | {tail}"));
    }
    check("jobs", json!({"spec": {"parallelism": 2}}), "x | Running | 0/1 of 2 |  | 5m ||  |  | <none>");
    check("jobs", json!({"spec": {"parallelism": 1}}), "x | Running | 0/1 |  | 5m ||  |  | <none>");
    check(
        "cj",
        json!({"spec": {"schedule": "*/5 * * * *", "suspend": false, "jobTemplate": {"spec": spec}},
            "status": {"active": [{}, {}], "lastScheduleTime": CREATED}}),
        "x | */5 * * * * | <none> | False | 2 | 5m | 5m || a | i:1 | u=1",
    );
    check(
        "cj",
        json!({"spec": {"schedule": "@daily", "timeZone": "Europe/Berlin"}}),
        "x | @daily | Europe/Berlin | <unset> | 0 | <none> | 5m ||  |  | <none>",
    );
}

#[test]
fn volumes() {
    let modes = json!(["ReadWriteOncePod", "ReadOnlyMany", "ReadWriteOnce"]);
    check(
        "pv",
        json!({"spec": {"capacity": {"storage": "5120Mi"}, "accessModes": modes, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"},
            "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}),
        "x | 5Gi | RWO,ROX,RWOP | Retain | Bound | n/c | fast | <unset> |  | 5m || Filesystem",
    );
    check("pv", json!({}), "x | 0 |  |  |  |  |  | <unset> |  | 5m || <unset>");
    check(
        "pvc",
        json!({"spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Block",
            "volumeAttributesClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteMany"]}}),
        "x | Bound | v | 2Gi | RWX | fast | gold | 5m || Block",
    );
    let meta = json!({"name": "x", "creationTimestamp": CREATED, "deletionTimestamp": NOW,
        "annotations": {"volume.beta.kubernetes.io/storage-class": "old"}});
    check(
        "pvc",
        json!({"metadata": meta, "spec": {"storageClassName": "new"}, "status": {"phase": "Pending"}}),
        "x | Terminating |  |  |  | old | <unset> | 5m || <unset>",
    );
}

#[test]
fn budgets_and_bounds() {
    check(
        "pdb",
        json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
        "x | 50% | N/A | 1 | 5m",
    );
    check("pdb", json!({"spec": {"maxUnavailable": 1}}), "x | N/A | 1 | 0 | 5m");
    check(
        "quota",
        json!({"status": {"hard": {"requests.cpu": "2", "limits.memory": "2048Mi", "pods": "10"},
            "used": {"requests.cpu": "500m", "limits.memory": "1Gi"}}}),
        "x | pods: 0/10, requests.cpu: 500m/2 | limits.memory: 1Gi/2Gi | 5m",
    );
    check("limits", json!({}), &format!("x | {CREATED}"));
    check(
        "controllerrevisions",
        json!({"revision": 3, "metadata": {"name": "x", "creationTimestamp": CREATED, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}}),
        "x | daemonset.apps/d | 3 | 5m",
    );
    check("controllerrevisions", json!({}), "x | <none> | 0 | 5m");
    check(
        "cs",
        json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]}),
        "x | Healthy | ok | ",
    );
}

#[test]
fn network() {
    check(
        "svc",
        json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "selector": {"a": "b"}, "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"},
                {"port": 53, "protocol": "UDP"}]}}),
        "x | NodePort | 10.0.0.1 | <none> | 80:30000/TCP,53/UDP | 5m || a=b",
    );
    check(
        "svc",
        json!({"spec": {"type": "LoadBalancer"}}),
        "x | LoadBalancer | <none> | <pending> | <none> | 5m || <none>",
    );
    let addresses = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
    check(
        "ep",
        json!({"subsets": [{"addresses": addresses, "ports": [{"port": 1}, {"port": 2}]}]}),
        "x | 10.0.0.1:1,10.0.0.2:1,10.0.0.1:2 + 1 more... | 5m",
    );
    check("ep", json!({}), "x | <none> | 5m");
    check(
        "endpointslices",
        json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        "x | IPv4 | 80 | 10.0.0.1 | 5m",
    );
    check("endpointslices", json!({"addressType": "IPv4"}), "x | IPv4 | <unset> | <unset> | 5m");
}

#[test]
fn nodes() {
    let meta = json!({"name": "n", "creationTimestamp": CREATED,
        "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "agent"}});
    check(
        "no",
        json!({"metadata": meta, "spec": {"unschedulable": true}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"}}}),
        "n | Ready,SchedulingDisabled | agent,worker | 5m | v1.36.0 || 10.0.0.9 | <none> | Debian | <unknown> | <unknown>",
    );
    let bare = "x | Unknown | <none> | 5m |  || <none> | <none> | <unknown> | <unknown> | <unknown>";
    check("no", json!({}), bare);
}

#[test]
fn small_kinds() {
    check("ns", json!({"status": {"phase": "Active"}}), "x | Active | 5m");
    check("cm", json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}), "x | 3 | 5m");
    check("secret", json!({"type": "Opaque", "data": {"a": ""}}), "x | Opaque | 1 | 5m");
    check("sa", json!({}), "x | 0 | 5m");
    check("lease", json!({"spec": {"holderIdentity": "me"}}), "x | me | 5m");
    check("lease", json!({"metadata": {"name": "y"}}), "y |  | <unknown>");
}

#[test]
fn events() {
    let core = json!({"type": "Warning", "reason": "BackOff", "message": " m \n", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": CREATED, "lastTimestamp": "2026-01-01T00:59:00Z"});
    let expect = "60s | Warning | BackOff | pod/p | m || spec.containers{a} | kubelet, n | 5m | 3 | x";
    check("ev", core.clone(), expect);
    let mut other = core;
    crate::kinds::event_to_v1(&mut other);
    check("events.events.k8s.io", other, expect);
    check(
        "ev",
        json!({"eventTime": CREATED, "reportingComponent": "c", "involvedObject": {"kind": "Node"},
            "series": {"count": 7, "lastObservedTime": "2026-01-01T00:59:59Z"}}),
        "1s |  |  | node |  ||  | c | 5m | 7 | x",
    );
}

#[test]
fn autoscalers() {
    let cpu = |percent: i64| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": percent}}});
    let target = json!({"kind": "Deployment", "name": "web"});
    check(
        "hpa",
        json!({"spec": {"minReplicas": 1, "maxReplicas": 4, "scaleTargetRef": target, "metrics": [cpu(50)]},
            "status": {"currentReplicas": 2, "currentMetrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10}}}]}}),
        "x | Deployment/web | cpu: 10%/50% | 1 | 4 | 2 | 5m",
    );
    let memory =
        json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1024Mi"}}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
    check(
        "hpa",
        json!({"spec": {"maxReplicas": 4, "scaleTargetRef": target, "metrics": [cpu(50), memory, pods]}}),
        "x | Deployment/web | cpu: <unknown>/50%, memory: <unknown>/1Gi + 1 more... | <unset> | 4 | 0 | 5m",
    );
    check(
        "hpa.v1.autoscaling",
        json!({"spec": {"maxReplicas": 4, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 80},
            "status": {"currentCPUUtilizationPercentage": 5}}),
        "x | Deployment/web | cpu: 5%/80% | <unset> | 4 | 0 | 5m",
    );
}

#[test]
fn the_table_itself() {
    let table = builtin();
    let kind = table.find("pods.metrics.k8s.io").unwrap();
    let object = json!({"kind": "PodMetrics", "metadata": {"name": "x", "namespace": "n"}, "containers": []});
    let metadata = json!({"resourceVersion": "7"});
    let now = NOW.parse().unwrap();
    let mut rendered = Tables::of(&kind, V1, now, IncludeObject::Metadata).table([&object], metadata);
    assert_eq!((&rendered["kind"], &rendered["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(rendered["metadata"]["resourceVersion"], "7");
    assert_eq!(rendered["columnDefinitions"][0]["format"], "name");
    assert_eq!(rendered["rows"][0]["cells"], json!(["x", "<unknown>"]));
    assert_eq!(
        rendered["rows"][0]["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "x", "namespace": "n"}})
    );
    without_headers(&mut rendered);
    assert_eq!(rendered["columnDefinitions"], Value::Null);
    let whole = Tables::of(&kind, V1, now, IncludeObject::Object).table([&object], Value::Null);
    assert_eq!(whole["rows"][0]["object"], object);
    assert_eq!(IncludeObject::parse("Everything"), None);
}
