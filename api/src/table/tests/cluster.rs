//! Kinds around access, networking, storage, extension and flow control.

use serde_json::json;

use super::{CREATED, check};

fn named(annotation: &str) -> serde_json::Value {
    json!({"name": "x", "creationTimestamp": CREATED, "annotations": {annotation: "true"}})
}

#[test]
fn access() {
    check("role", json!({}), "x | 2026-01-01T00:55:00Z");
    check(
        "rolebinding",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
            {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
        "x | Role/r | 5m || u, v | g | n/s",
    );
    let csr =
        json!({"spec": {"signerName": "a/b", "username": "u", "expirationSeconds": 86400}, "status": {}});
    check("csr", csr, "x | 5m | a/b | u | 24h | Pending");
    check(
        "csr",
        json!({"spec": {}, "status": {"certificate": "eA==", "conditions": [{"type": "Approved"}, {"type": "Failed"}]}}),
        "x | 5m | <none> |  | <none> | Approved,Failed,Issued",
    );
}

#[test]
fn networking() {
    check(
        "ing",
        json!({"spec": {"ingressClassName": "c", "tls": [{}], "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "h"}]}}}),
        "x | c | a,b,c + 1 more... | 1.2.3.4,h | 80, 443 | 5m",
    );
    check("ing", json!({"spec": {"rules": [{}]}}), "x | <none> | * |  | 80 | 5m");
    check(
        "ingressclass",
        json!({"metadata": named("ingressclass.kubernetes.io/is-default-class"),
            "spec": {"controller": "c/d", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}}),
        "x (default) | c/d | K.g/n | 5m",
    );
    check("netpol", json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}), "x | a=b | 5m");
    check("netpol", json!({"spec": {"podSelector": {}}}), "x | <none> | 5m");
    check(
        "ip",
        json!({"spec": {"parentRef": {"group": "g", "resource": "services", "namespace": "n", "name": "s"}}}),
        "x | services.g/n/s",
    );
    check(
        "servicecidr",
        json!({"spec": {"cidrs": ["10.0.0.0/8", "fd00::/112"]}}),
        "x | 10.0.0.0/8,fd00::/112 | 5m",
    );
}

#[test]
fn storage_and_classes() {
    check(
        "sc",
        json!({"metadata": named("storageclass.kubernetes.io/is-default-class"), "provisioner": "p"}),
        "x (default) | p | Delete | Immediate | false | 5m",
    );
    check("vac", json!({"driverName": "d"}), "x | d | 5m");
    check(
        "csidriver",
        json!({"spec": {"podInfoOnMount": true, "tokenRequests": [{"audience": "a"}, {"audience": "b"}]}}),
        "x | true | true | false | a,b | false | <none> | 5m",
    );
    check("csinode", json!({"spec": {"drivers": [{}, {}]}}), "x | 2 | 5m");
    check("csistoragecapacity", json!({"storageClassName": "c"}), "x | c | <unset>");
    check(
        "volumeattachment",
        json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}, "status": {"attached": true}}),
        "x | a | v | n | true | 5m",
    );
    check("pc", json!({"value": 5, "preemptionPolicy": "Never"}), "x | 5 | false | 5m || Never");
    check("runtimeclass", json!({"handler": "h"}), "x | h | 5m");
}

#[test]
fn extensions_flow_control_and_devices() {
    check("validatingwebhookconfiguration", json!({"webhooks": [{}]}), "x | 1 | 5m");
    check(
        "validatingadmissionpolicy",
        json!({"spec": {"validations": [{}, {}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
        "x | 2 | v1/ConfigMap | 5m",
    );
    check("mutatingadmissionpolicy", json!({"spec": {}}), "x | 0 | <unset> | 5m");
    let binding = |reference| json!({"spec": {"policyName": "p", "paramRef": reference}});
    check("mutatingadmissionpolicybinding", binding(json!({"name": "n"})), "x | p | */n | 5m");
    check(
        "validatingadmissionpolicybinding",
        binding(json!({"name": "n", "namespace": "a"})),
        "x | p | a/n | 5m",
    );
    check(
        "apiservice",
        json!({"status": {"conditions": [{"type": "Available", "status": "True"}]}}),
        "x | Local | True | 5m",
    );
    check(
        "apiservice",
        json!({"spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Why"}]}}),
        "x | n/s | False (Why) | 5m",
    );
    check(
        "flowschema",
        json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 7}}),
        "x | p | 7 | <none> | 5m | ?",
    );
    check(
        "prioritylevelconfiguration",
        json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "limitResponse": {"type": "Reject"}}}}),
        "x | Limited | 30 | <none> | <none> | <none> | 5m",
    );
    check("resourceclaim", json!({"status": {}}), "x | pending | 5m");
    check(
        "resourceclaim",
        json!({"status": {"allocation": {}, "reservedFor": [{}]}}),
        "x | allocated,reserved | 5m",
    );
    check(
        "resourceslice",
        json!({"spec": {"nodeName": "n", "driver": "d", "pool": {"name": "p"}}}),
        "x | n | d | p | 5m",
    );
    check("deviceclass", json!({}), "x | 5m");
}
