//! The table.

use std::collections::BTreeMap;

use apiserver::{EventLimit, EventLimitType};
use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::{Row, Sent};

const PODS: &str = "/api/v1/namespaces/default/pods";
const NODES: &str = "/api/v1/nodes";
const DEFAULT: &str = "/api/v1/namespaces/default";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const BUNDLES: &str = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";

/// Plugins that would refuse first what another one is to refuse.
pub(crate) const IN_THE_WAY: [(&str, &str); 1] = [("NamespaceExists", "NamespaceLifecycle")];

pub(crate) fn event_limits() -> Vec<EventLimit> {
    vec![EventLimit { by: EventLimitType::Namespace, qps: 1, burst: 1, cache_size: 0 }]
}

pub(crate) fn node_selectors() -> BTreeMap<String, String> {
    BTreeMap::from([("clusterDefaultNodeSelector".to_owned(), "disk=ssd".to_owned())])
}

fn post(path: &'static str, body: Value) -> Sent {
    Sent { method: "POST", path, body, user: UserInfo::component("admin", &["system:masters"]) }
}

fn patch(path: &'static str, body: Value) -> Sent {
    Sent { method: "PATCH", ..post(path, body) }
}

impl Sent {
    fn by(mut self, user: &str, groups: &[&str]) -> Self {
        self.user = UserInfo::component(user, groups);
        self
    }
}

fn pod(name: &str, spec: Value) -> Value {
    let mut whole =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole["spec"][key] = value.clone();
    }
    whole
}

fn row(plugin: &'static str, scene: Vec<Sent>) -> Row {
    Row { plugin, scene, denied: None, filled: None }
}

impl Row {
    fn denies(mut self, sent: Sent, code: u16, message: &'static str) -> Self {
        self.denied = Some((sent, code, message));
        self
    }

    fn fills(mut self, sent: Sent, place: &'static str, value: Value) -> Self {
        self.filled = Some((sent, place, value));
        self
    }
}

fn role(name: &str, rules: Value) -> Sent {
    post(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        json!({"metadata": {"name": name}, "rules": rules}),
    )
}

/// Gives jane a cluster role.
fn bind(name: &str) -> Sent {
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]});
    post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
}

/// Lets jane do what the API allows her to with signing requests, whoever signs them.
fn signing_rights() -> Vec<Sent> {
    let resources = json!([
        "certificatesigningrequests",
        "certificatesigningrequests/approval",
        "certificatesigningrequests/status",
        "clustertrustbundles"
    ]);
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "resources": resources, "verbs": ["*"]}]);
    vec![role("requests", rules), bind("requests")]
}

/// A signing request for `CN=jane` in a group.
fn request(name: &str, signer: &str, group: &str) -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pem);
    json!({"metadata": {"name": name}, "spec": {"request": encoded, "signerName": signer, "usages": ["client auth"]}})
}

/// What a signer's authority is known by.
fn bundle(name: &str, signer: &str) -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem}})
}

pub(crate) fn all() -> Vec<Row> {
    let mut rows = of_namespaces();
    rows.extend(of_pods());
    rows.extend(of_pods_by_switch());
    rows.extend(of_storage());
    rows.extend(of_certificates());
    rows.extend(of_policies());
    rows
}

fn of_namespaces() -> Vec<Row> {
    const MISSING: &str = "/api/v1/namespaces/missing/configmaps";
    let map = || post(MISSING, json!({"metadata": {"name": "a"}}));
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": "0"}}});
    let status = json!({"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}});
    let event = |name: &str| {
        let involved = json!({"kind": "Pod", "namespace": "default", "name": "p"});
        post(
            "/api/v1/namespaces/default/events",
            json!({"metadata": {"name": name}, "involvedObject": involved}),
        )
    };
    let owned = |owner: Value| json!({"metadata": {"name": "owned", "ownerReferences": [owner]}});
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let maps = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]);
    vec![
        row("NamespaceAutoProvision", vec![]).fills(map(), "/metadata/namespace", json!("missing")),
        row("NamespaceLifecycle", vec![]).denies(map(), 404, "namespaces \"missing\" not found"),
        row("NamespaceExists", vec![]).denies(map(), 404, "namespaces \"missing\" not found"),
        row("ResourceQuota", vec![
            post("/api/v1/namespaces/default/resourcequotas", quota),
            patch("/api/v1/namespaces/default/resourcequotas/few/status", status),
        ])
        .denies(
            post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}})),
            403,
            "configmaps \"a\" is forbidden: exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=0, limited: count/configmaps=0",
        ),
        row("EventRateLimit", vec![event("one")]).denies(
            event("two"),
            429,
            "Too many requests: limit reached on type Namespace for key default",
        ),
        row("OwnerReferencesPermissionEnforcement", vec![role("maps", maps), bind("maps")]).denies(
            post("/api/v1/namespaces/default/configmaps", owned(owner)).by("jane", &[]),
            403,
            "configmaps \"owned\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>",
        ),
        row("DefaultIngressClass", vec![post("/apis/networking.k8s.io/v1/ingressclasses", json!({
            "metadata": {"name": "front", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "example.com/front"},
        }))])
        .fills(
            post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", json!({"metadata": {"name": "i"},
                "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})),
            "/spec/ingressClassName",
            json!("front"),
        ),
        row("DenyServiceExternalIPs", vec![]).denies(
            post("/api/v1/namespaces/default/services", json!({"metadata": {"name": "s"},
                "spec": {"ports": [{"port": 80}], "externalIPs": ["203.0.113.7"]}})),
            403,
            "services \"s\" is forbidden: Use of external IPs is denied by admission control",
        ),
    ]
}

fn of_pods() -> Vec<Row> {
    let range = json!({"metadata": {"name": "bounds"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}]}});
    let limits = |cpu: &str| json!([{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": cpu}}}]);
    let class =
        json!({"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "1"}}});
    let node = |name: &str, labels: Value| post(NODES, json!({"metadata": {"name": name, "labels": labels}}));
    let zone = json!({"topology.kubernetes.io/zone": "z1", "kubernetes.io/os": "linux"});
    let born = pod("p", json!({"nodeName": "n1"}));
    let look = json!({"metadata": {"name": "q"}, "spec": {"ephemeralContainers": [{"name": "look", "image": "i:1"}]}});
    let look = Sent { method: "PUT", ..post("/api/v1/namespaces/default/pods/q/ephemeralcontainers", look) };
    let resized = json!({"spec": {"containers": limits("4")}});
    vec![
        row("LimitRanger", vec![post("/api/v1/namespaces/default/limitranges", range)])
            .denies(
                post(PODS, pod("p", json!({"containers": limits("3")}))),
                403,
                "pods \"p\" is forbidden: maximum cpu usage per Container is 2, but limit is 3",
            )
            .fills(post(PODS, pod("p", json!({}))), "/spec/containers/0/resources/limits/cpu", json!("1")),
        // What is sent to a part of a pod names no account.
        row("ServiceAccount", vec![post(PODS, pod("q", json!({}))), look])
            .denies(
                post(PODS, pod("p", json!({"serviceAccountName": "nobody"}))),
                403,
                "pods \"p\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found",
            )
            .fills(post(PODS, pod("p", json!({}))), "/spec/serviceAccountName", json!("default")),
        row("NodeRestriction", vec![node("n1", json!({})), node("n2", json!({}))]).denies(
            patch("/api/v1/nodes/n1", json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}))
                .by("system:node:n1", &["system:nodes"]),
            403,
            "nodes \"n1\" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        row("TaintNodesByCondition", vec![]).fills(
            node("n1", json!({})),
            "/spec/taints/0",
            json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}),
        ),
        row("PodSecurity", vec![patch(DEFAULT, json!({"metadata": {"labels":
            {"pod-security.kubernetes.io/enforce": "baseline"}}}))])
        .denies(
            post(PODS, pod("p", json!({"hostPID": true}))),
            403,
            "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)",
        ),
        row("Priority", vec![post("/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"metadata": {"name": "high"}, "value": 7, "globalDefault": true}))])
        .denies(
            post(PODS, pod("p", json!({"priorityClassName": "none"}))),
            403,
            "pods \"p\" is forbidden: no PriorityClass with name none was found",
        )
        .fills(post(PODS, pod("p", json!({}))), "/spec/priority", json!(7)),
        row("DefaultTolerationSeconds", vec![]).fills(
            post(PODS, pod("p", json!({}))),
            "/spec/tolerations/1/tolerationSeconds",
            json!(300),
        ),
        row("RuntimeClass", vec![post("/apis/node.k8s.io/v1/runtimeclasses", class)])
            .denies(
                post(PODS, pod("p", json!({"runtimeClassName": "none"}))),
                403,
                "pods \"p\" is forbidden: pod rejected: RuntimeClass \"none\" not found",
            )
            .fills(post(PODS, pod("p", json!({"runtimeClassName": "heavy"}))), "/spec/overhead/cpu", json!("1")),
        row("PodTopologyLabels", vec![node("n1", zone.clone())]).fills(
            post(PODS, born.clone()),
            "/metadata/labels/topology.kubernetes.io~1zone",
            json!("z1"),
        ),
        row("PodResizeValidator", vec![
            node("n1", zone),
            patch("/api/v1/nodes/n1/status", json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}})),
            post(PODS, pod("p", json!({"nodeName": "n1", "containers": limits("1")}))),
        ])
        .denies(
            Sent { method: "PUT", ..post("/api/v1/namespaces/default/pods/p/resize", {
                let mut whole = pod("p", json!({"nodeName": "n1"}));
                whole["spec"]["containers"] = resized["spec"]["containers"].clone();
                whole["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "4"});
                whole
            }) },
            403,
            "pods \"p\" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 4000, allocatable: 2000",
        ),
    ]
}

fn of_pods_by_switch() -> Vec<Row> {
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {}}]}});
    let tolerations = json!({"metadata": {"annotations": {
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\": \"k\", \"operator\": \"Exists\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist":
            "[{\"key\": \"k\", \"operator\": \"Exists\"}, {\"operator\": \"Exists\", \"effect\": \"NoExecute\"}]",
    }}});
    let undo = json!({"metadata": {"name": "undo"}, "spec": {
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]},
        "reinvocationPolicy": "IfNeeded",
        "matchConditions": [{"name": "named", "expression": "object.metadata.name == 'undone'"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'replace', path: '/spec/containers/0/imagePullPolicy', value: 'Never'}]"}}]}});
    let binding = json!({"metadata": {"name": "undo"}, "spec": {"policyName": "undo"}});
    let extended = json!([{"name": "c", "image": "i:1", "resources": {"limits": {"example.com/gpu": "1"}}}]);
    vec![
        row("LimitPodHardAntiAffinityTopology", vec![]).denies(
            post(PODS, pod("p", json!({"affinity": affinity}))),
            403,
            "pods \"p\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed",
        ),
        row("AlwaysPullImages", vec![
            post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies", undo),
            post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings", binding),
        ])
        .denies(
            post(PODS, pod("undone", json!({}))),
            403,
            "pods \"undone\" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        )
        .fills(post(PODS, pod("p", json!({}))), "/spec/containers/0/imagePullPolicy", json!("Always")),
        row("PodNodeSelector", vec![])
            .denies(
                post(PODS, pod("p", json!({"nodeSelector": {"disk": "tape"}}))),
                403,
                "pods \"p\" is forbidden: pod node label selector conflicts with its namespace node label selector",
            )
            .fills(post(PODS, pod("p", json!({}))), "/spec/nodeSelector/disk", json!("ssd")),
        row("PodTolerationRestriction", vec![patch(DEFAULT, tolerations)])
            .denies(
                post(PODS, pod("p", json!({"tolerations": [{"key": "other", "operator": "Exists"}]}))),
                500,
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
            )
            .fills(
                post(PODS, pod("p", json!({}))),
                "/spec/tolerations/2",
                json!({"key": "k", "operator": "Exists"}),
            ),
        row("ExtendedResourceToleration", vec![]).fills(
            post(PODS, pod("p", json!({"containers": extended}))),
            "/spec/tolerations/2",
            json!({"key": "example.com/gpu", "operator": "Exists"}),
        ),
    ]
}

fn of_storage() -> Vec<Row> {
    let claim = |size: &str| {
        json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
               "resources": {"requests": {"storage": size}}}})
    };
    let class = json!({"metadata": {"name": "usual", "annotations":
        {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "example.com/p"});
    let mut locked = claim("1Gi");
    locked["metadata"]["annotations"] = json!({"gantry.dev/deletion-lock": "books"});
    vec![
        row("DeletionLock", vec![post(CLAIMS, locked)]).denies(
            Sent { method: "DELETE", ..post("/api/v1/namespaces/default/persistentvolumeclaims/data", json!({})) },
            403,
            "persistentvolumeclaims \"data\" is forbidden: it is locked against deletion (\"books\"): take off the annotation gantry.dev/deletion-lock first",
        ),
        row("DefaultStorageClass", vec![post(CLASSES, class)]).fills(
            post(CLAIMS, claim("1Gi")),
            "/spec/storageClassName",
            json!("usual"),
        ),
        row("StorageObjectInUseProtection", vec![]).fills(
            post(CLAIMS, claim("1Gi")),
            "/metadata/finalizers",
            json!(["kubernetes.io/pvc-protection"]),
        ),
        row("PersistentVolumeClaimResize", vec![post(CLAIMS, claim("1Gi")),
            patch("/api/v1/namespaces/default/persistentvolumeclaims/data/status", json!({"status": {"phase": "Bound"}}))])
        .denies(
            patch("/api/v1/namespaces/default/persistentvolumeclaims/data",
                json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}})),
            403,
            "persistentvolumeclaims \"data\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ),
    ]
}

fn of_certificates() -> Vec<Row> {
    let with_request = || {
        let mut scene = signing_rights();
        scene.push(post(REQUESTS, request("r", "example.com/signer", "devs")));
        scene
    };
    let approved = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}});
    let failed = json!({"status": {"conditions": [
        {"type": "Failed", "status": "True", "reason": "r", "message": "m"}]}});
    vec![
        row("CertificateApproval", with_request()).denies(
            patch("/apis/certificates.k8s.io/v1/certificatesigningrequests/r/approval", approved).by("jane", &[]),
            403,
            "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to approve requests with signerName \"example.com/signer\"",
        ),
        row("CertificateSigning", with_request()).denies(
            patch("/apis/certificates.k8s.io/v1/certificatesigningrequests/r/status", failed).by("jane", &[]),
            403,
            "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to sign requests with signerName \"example.com/signer\"",
        ),
        row("ClusterTrustBundleAttest", signing_rights()).denies(
            post(BUNDLES, bundle("example.com:signer:one", "example.com/signer")).by("jane", &[]),
            403,
            "clustertrustbundles.certificates.k8s.io \"example.com:signer:one\" is forbidden: user not permitted to attest for signerName \"example.com/signer\"",
        ),
        row("CertificateSubjectRestriction", vec![]).denies(
            post(REQUESTS, request("r", "kubernetes.io/kube-apiserver-client", "system:masters")),
            403,
            "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ),
    ]
}

fn of_policies() -> Vec<Row> {
    let maps = json!({"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]});
    let validating = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": maps,
        "validations": [{"expression": "object.metadata.name != 'bad'", "message": "not this name"}]}});
    let mutating = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": maps, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{data: {'made': 'by policy'}}"}}]}});
    let binding = |actions: Value| {
        let mut binding = json!({"metadata": {"name": "p"}, "spec": {"policyName": "p"}});
        if !actions.is_null() {
            binding["spec"]["validationActions"] = actions;
        }
        binding
    };
    let map = |name: &str| post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": name}}));
    vec![
        row("MutatingAdmissionPolicy", vec![
            post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies", mutating),
            post("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings", binding(Value::Null)),
        ])
        .fills(map("good"), "/data/made", json!("by policy")),
        row("ValidatingAdmissionPolicy", vec![
            post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", validating),
            post("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", binding(json!(["Deny"]))),
        ])
        .denies(
            map("bad"),
            422,
            "configmaps \"bad\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: not this name",
        ),
    ]
}
