//! The pure part of the write pipeline on manifests as people write them: what is right passes all
//! rules, and writing back what was read changes nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use api::codec::yaml;
use api::strategy::Context;
use api::{FieldValidation, Kind, defaulting, kinds, object};
use serde_json::{Value, json};

fn context() -> Context {
    Context { now: "2026-01-01T00:00:00Z".to_owned(), subresource: String::new() }
}

fn decode(kind: &Kind, tree: &Value) -> Value {
    let bytes = tree.to_string();
    let decoded =
        api::decode_object(kind, "application/json", bytes.as_bytes(), FieldValidation::Strict).unwrap();
    decoded.object
}

fn default(kind: &Kind, object: &mut Value) {
    defaulting::apply(kind.schema().unwrap(), object);
    kind.strategy.default(object);
}

/// Creates, then updates with what was created.
fn check(tree: &Value) -> Value {
    let table = kinds::builtin();
    let api_version = tree["apiVersion"].as_str().unwrap();
    let kind = table.kind(api_version, tree["kind"].as_str().unwrap()).unwrap();
    let mut created = decode(kind, tree);
    object::metadata_mut(&mut created).insert("namespace".to_owned(), "default".into());
    if !kind.namespaced() {
        object::metadata_mut(&mut created).remove("namespace");
    }
    default(kind, &mut created);
    object::metadata_mut(&mut created).insert("uid".to_owned(), "u-1".into());
    kind.strategy.prepare_for_create(&mut created, &context());
    assert_eq!(kind.strategy.validate(&created), [], "{created:#}");
    let mut updated = decode(kind, &created);
    default(kind, &mut updated);
    kind.strategy.prepare_for_update(&mut updated, &created, &context());
    assert_eq!(updated, created, "an update with the same content changes the object");
    assert_eq!(kind.strategy.validate_change(&updated, &created, ""), []);
    assert!(!kind.strategy.generation_changes(&updated, &created));
    created
}

fn check_all(text: &str) -> Vec<Value> {
    yaml::decode_all(text).unwrap().iter().map(check).collect()
}

#[test]
fn our_examples() {
    assert!(check_all(include_str!("../../manifests/guestbook.yaml")).len() > 2);
    assert!(check_all(include_str!("../../manifests/autoscale.yaml")).len() > 2);
}

#[test]
fn a_pod_that_uses_much() {
    let pods = check_all(
        r"
apiVersion: v1
kind: Pod
metadata: {name: much, labels: {app: much}}
spec:
  serviceAccountName: default
  securityContext: {runAsUser: 1000, fsGroup: 2000, seccompProfile: {type: RuntimeDefault}}
  nodeSelector: {disk: ssd}
  tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
  hostAliases: [{ip: 10.0.0.1, hostnames: [a.example]}]
  topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: much}}}
  initContainers:
  - {name: prepare, image: 'busybox:1', command: [sh, -c, exit 0]}
  - name: sidecar
    image: host:5000/sidecar
    restartPolicy: Always
    readinessProbe: {tcpSocket: {port: 80}}
  containers:
  - name: web
    image: web@sha256:0000000000000000000000000000000000000000000000000000000000000000
    ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP, hostPort: 5353}]
    env:
    - {name: A, value: b}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: S, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
    envFrom: [{prefix: P_, configMapRef: {name: c}}]
    resources: {limits: {cpu: 0.5, memory: 64Mi, ephemeral-storage: 1Gi}}
    livenessProbe: {exec: {command: [true]}, initialDelaySeconds: 5}
    readinessProbe: {httpGet: {path: /ready, port: http, httpHeaders: [{name: X-A, value: b}]}}
    startupProbe: {grpc: {port: 9000}}
    lifecycle: {preStop: {sleep: {seconds: 5}}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: config, mountPath: /etc/app.conf, subPath: app.conf}
    - {name: token, mountPath: /token, readOnly: true}
  volumes:
  - name: scratch
  - {name: tmpfs, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
  - {name: config, configMap: {name: c, defaultMode: 0644, items: [{key: app.conf, path: app.conf}]}}
  - {name: host, hostPath: {path: /var/log, type: Directory}}
  - name: token
    projected:
      sources:
      - serviceAccountToken: {path: token}
      - configMap: {name: kube-root-ca.crt}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"
        .replace("command: [true]", "command: ['true']")
        .as_str(),
    );
    let (status, spec) = (&pods[0]["status"], &pods[0]["spec"]);
    assert_eq!(*status, json!({"phase": "Pending", "qosClass": "Burstable"}));
    assert_eq!(spec["initContainers"][1]["imagePullPolicy"], "Always");
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    let resources = &spec["containers"][0]["resources"];
    assert_eq!(resources["requests"], resources["limits"]);
    assert_eq!(resources["requests"]["cpu"], "500m");
}

#[test]
fn one_of_each_kind() {
    let mut objects = check_all(include_str!("manifests/workloads.yaml"));
    objects.extend(check_all(include_str!("manifests/cluster.yaml")));
    objects.extend(check_all(include_str!("manifests/core.yaml")));
    let served = kinds::builtin();
    let seen: Vec<&str> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
    let other_forms = |kind: &&std::sync::Arc<Kind>| {
        kind.is_stored() && kind.converted().is_none() && kind.verbs.contains(&"create")
    };
    for kind in served.iter().filter(other_forms) {
        let elsewhere = ["Pod", "ConfigMap", "CertificateSigningRequest"].contains(&kind.kind.as_ref());
        assert!(elsewhere || seen.contains(&kind.kind.as_ref()), "{} is not tried", kind.kind);
    }
}
