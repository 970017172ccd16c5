//! An object of every kind that has all verbs, and a status for those that have one. `#` is the number of the
//! object: three are made of each.

use serde_json::{Value, json};

/// Self-signed, an authority.
const AUTHORITY: &str = include_str!("../../../api/testdata/authority.pem");

/// Resource (`GROUP/VERSION/PLURAL`, the core group is empty), object, status.
pub(crate) fn samples() -> Vec<(&'static str, Value, Value)> {
    let none = Value::Null;
    let mut all = core();
    all.extend(workloads());
    all.extend(extensions());
    all.extend(networking());
    all.extend(storage_and_devices());
    let subject = json!([{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}]);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view"});
    let flow = json!({"matchingPrecedence": 900, "priorityLevelConfiguration": {"name": "global-default"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]});
    let level = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 2,
        "limitResponse": {"type": "Reject"}}});
    let condition = json!({"conditions": [{"type": "T", "status": "False", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let event = json!({"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R",
        "message": "m", "type": "Normal", "firstTimestamp": "2026-01-01T00:00:00Z", "count": 1});
    let regarding = json!({"regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R",
        "action": "Do", "note": "n", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c", "reportingInstance": "i"});
    let lease = json!({"spec": {"holderIdentity": "h", "leaseDurationSeconds": 30}});
    let class = json!({"value": 7, "description": "d"});
    all.extend([
        ("/v1/events", event, none.clone()),
        ("events.k8s.io/v1/events", regarding, none.clone()),
        ("rbac.authorization.k8s.io/v1/roles", json!({"rules": rules}), none.clone()),
        ("rbac.authorization.k8s.io/v1/clusterroles", json!({"rules": rules}), none.clone()),
        (
            "rbac.authorization.k8s.io/v1/rolebindings",
            json!({"roleRef": role("Role"), "subjects": subject}),
            none.clone(),
        ),
        (
            "rbac.authorization.k8s.io/v1/clusterrolebindings",
            json!({"roleRef": role("ClusterRole"), "subjects": subject}),
            none.clone(),
        ),
        ("flowcontrol.apiserver.k8s.io/v1/flowschemas", json!({"spec": flow}), condition.clone()),
        ("flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", json!({"spec": level}), condition),
        ("coordination.k8s.io/v1/leases", lease, none.clone()),
        ("scheduling.k8s.io/v1/priorityclasses", class, none.clone()),
        ("node.k8s.io/v1/runtimeclasses", json!({"handler": "h"}), none),
    ]);
    all
}

/// What is between its lines is never read here.
const REQUEST: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

/// What pods are made of.
fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn core() -> Vec<(&'static str, Value, Value)> {
    let none = Value::Null;
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let volume = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/tmp"}});
    let controller = json!({"replicas": 1, "selector": {"a": "b"}, "template": template()});
    let quota = json!({"hard": {"pods": "5"}});
    let limits = json!({"limits": [{"type": "Container", "max": {"cpu": "2"}}]});
    let ports = json!([{"name": "p", "port": 80, "targetPort": "http"}]);
    let subsets = json!([{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}]);
    let condition = json!({"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "m"}]});
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}});
    vec![
        ("/v1/configmaps", json!({"data": {"a": "b"}}), none.clone()),
        ("/v1/endpoints", json!({"subsets": subsets}), none.clone()),
        ("/v1/limitranges", json!({"spec": limits}), none.clone()),
        ("/v1/namespaces", json!({}), json!({"conditions": [{"type": "T", "status": "True"}]})),
        ("/v1/nodes", json!({"spec": {"podCIDR": "10.42.#.0/24"}}), condition.clone()),
        ("/v1/persistentvolumeclaims", json!({"spec": claim}), json!({"phase": "Pending"})),
        ("/v1/persistentvolumes", json!({"spec": volume}), json!({"phase": "Available"})),
        ("/v1/pods", template(), json!({"message": "m"})),
        ("/v1/podtemplates", json!({"template": template()}), none.clone()),
        ("/v1/replicationcontrollers", json!({"spec": controller}), condition),
        ("/v1/resourcequotas", json!({"spec": quota}), json!({"hard": {"pods": "5"}, "used": {"pods": "1"}})),
        ("/v1/secrets", json!({"stringData": {"a": "b"}}), none.clone()),
        ("/v1/serviceaccounts", json!({"automountServiceAccountToken": false}), none),
        ("/v1/services", json!({"spec": {"selector": {"a": "b"}, "ports": ports}}), ingress),
    ]
}

fn workloads() -> Vec<(&'static str, Value, Value)> {
    let selector = json!({"matchLabels": {"a": "b"}});
    let workload = json!({"selector": selector, "template": template()});
    let set = json!({"serviceName": "s", "selector": selector, "template": template()});
    let job = json!({"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i:1"}]}}});
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    let condition = json!({"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "m"}]});
    let scaled = json!({"currentReplicas": 1, "desiredReplicas": 2});
    let disruption =
        json!({"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 2});
    vec![
        ("apps/v1/controllerrevisions", json!({"revision": 1, "data": {"a": 1}}), Value::Null),
        ("apps/v1/daemonsets", json!({"spec": workload}), condition.clone()),
        ("apps/v1/deployments", json!({"spec": workload}), condition.clone()),
        ("apps/v1/replicasets", json!({"spec": workload}), condition.clone()),
        ("apps/v1/statefulsets", json!({"spec": set}), condition),
        ("batch/v1/jobs", json!({"spec": job}), json!({"startTime": "2026-01-01T00:00:00Z"})),
        (
            "batch/v1/cronjobs",
            json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}}),
            json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
        ),
        (
            "autoscaling/v1/horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}),
            scaled.clone(),
        ),
        (
            "autoscaling/v2/horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}),
            scaled,
        ),
        (
            "policy/v1/poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1, "selector": selector}}),
            disruption,
        ),
    ]
}

fn extensions() -> Vec<(&'static str, Value, Value)> {
    let none = Value::Null;
    let condition = json!({"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    // Nothing here concerns what the test itself sends.
    let resources = json!({"resourceRules": [{"apiGroups": ["never.io"], "apiVersions": ["*"],
        "operations": ["*"], "resources": ["*"]}]});
    let hooks = json!([{"name": "h.never.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": resources["resourceRules"],
        "matchConditions": [{"name": "c", "expression": "object.metadata.namespace == 'x'"}]}]);
    let validating = json!({"matchConstraints": resources, "validations": [{"expression": "true"}]});
    let mutating = json!({"matchConstraints": resources, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/x'}]"}}]});
    let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
    let definition = json!({"group": "example.io", "scope": "Namespaced",
        "names": {"plural": "things#", "kind": "Thing#"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object"}}}]});
    let service = json!({"group": "other#.io", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10,
        "service": {"namespace": "default", "name": "s"}, "insecureSkipTLSVerify": true});
    vec![
        (
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
            json!({"spec": mutating}),
            none.clone(),
        ),
        (
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
            json!({"spec": {"policyName": "p"}}),
            none.clone(),
        ),
        (
            "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            json!({"webhooks": hooks}),
            none.clone(),
        ),
        (
            "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            json!({"spec": validating}),
            condition.clone(),
        ),
        (
            "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            json!({"spec": binding}),
            none.clone(),
        ),
        ("admissionregistration.k8s.io/v1/validatingwebhookconfigurations", json!({"webhooks": hooks}), none),
        (
            "apiextensions.k8s.io/v1/customresourcedefinitions",
            json!({"metadata": {"name": "things#.example.io"}, "spec": definition}),
            condition.clone(),
        ),
        (
            "apiregistration.k8s.io/v1/apiservices",
            json!({"metadata": {"name": "v1.other#.io"}, "spec": service}),
            condition,
        ),
    ]
}

fn networking() -> Vec<(&'static str, Value, Value)> {
    let none = Value::Null;
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}});
    let slice =
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": [{"port": 80}]});
    let address = json!({"parentRef": {"resource": "services", "namespace": "default", "name": "s"}});
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    vec![
        ("discovery.k8s.io/v1/endpointslices", slice, none.clone()),
        (
            "networking.k8s.io/v1/ipaddresses",
            json!({"metadata": {"name": "192.0.2.#"}, "spec": address}),
            none.clone(),
        ),
        (
            "networking.k8s.io/v1/ingressclasses",
            json!({"spec": {"controller": "example.io/c"}}),
            none.clone(),
        ),
        ("networking.k8s.io/v1/ingresses", json!({"spec": {"defaultBackend": backend}}), ingress),
        ("networking.k8s.io/v1/networkpolicies", json!({"spec": {"podSelector": {}}}), none),
        ("networking.k8s.io/v1/servicecidrs", json!({"spec": {"cidrs": ["10.9#.0.0/16"]}}), ready),
    ]
}

fn storage_and_devices() -> Vec<(&'static str, Value, Value)> {
    let none = Value::Null;
    let attachment =
        json!({"attacher": "d.example.io", "nodeName": "n", "source": {"persistentVolumeName": "v"}});
    let claim = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let slice = json!({"driver": "d.example.io", "nodeName": "n", "devices": [{"name": "d"}],
        "pool": {"name": "p", "resourceSliceCount": 1}});
    let signer = json!({"request": REQUEST, "signerName": "example.io/s", "usages": ["client auth"]});
    vec![
        (
            "certificates.k8s.io/v1/certificatesigningrequests",
            json!({"spec": signer}),
            json!({"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "m"}]}),
        ),
        (
            "certificates.k8s.io/v1beta1/clustertrustbundles",
            json!({"spec": {"trustBundle": AUTHORITY}}),
            none.clone(),
        ),
        ("resource.k8s.io/v1/deviceclasses", json!({"spec": {}}), none.clone()),
        (
            "resource.k8s.io/v1/resourceclaims",
            json!({"spec": claim}),
            json!({"allocation": {"devices": {}}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}),
        ),
        ("resource.k8s.io/v1/resourceclaimtemplates", json!({"spec": {"spec": claim}}), none.clone()),
        ("resource.k8s.io/v1/resourceslices", json!({"spec": slice}), none.clone()),
        ("storage.k8s.io/v1/csidrivers", json!({"spec": {"attachRequired": false}}), none.clone()),
        ("storage.k8s.io/v1/csinodes", json!({"spec": {"drivers": []}}), none.clone()),
        (
            "storage.k8s.io/v1/csistoragecapacities",
            json!({"storageClassName": "c", "capacity": "1Gi"}),
            none.clone(),
        ),
        ("storage.k8s.io/v1/storageclasses", json!({"provisioner": "d.example.io"}), none.clone()),
        (
            "storage.k8s.io/v1/volumeattachments",
            json!({"spec": attachment}),
            json!({"attached": true, "attachmentMetadata": {"a": "b"}}),
        ),
        (
            "storage.k8s.io/v1/volumeattributesclasses",
            json!({"driverName": "d.example.io", "parameters": {"a": "b"}}),
            none,
        ),
    ]
}
