//! Webhooks in a pod behind a Service, over TLS: they change, refuse and warn, convert custom objects, and when the
//! pod is gone their failure policy decides.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{Cluster, SOON};
use e2e::eventually::eventually;
use serde_json::Value;

const HOOK: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: hook, labels: {app: hook}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: gantry.local/web:v1
    env: [{name: TLS_DIR, value: /tls}, {name: PORT, value: '8443'}]
    ports: [{name: https, containerPort: 8443}]
    readinessProbe: {httpGet: {path: /readyz, port: https, scheme: HTTPS}, periodSeconds: 1}
    volumeMounts: [{name: tls, mountPath: /tls}]
  volumes: [{name: tls, secret: {secretName: hook}}]
---
apiVersion: v1
kind: Service
metadata: {name: hook}
spec: {selector: {app: hook}, ports: [{port: 443, targetPort: https}]}
";

/// `CA` is the authority in base64.
const CONFIGURATION: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: hooked, labels: {hooks: 'on'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: pods}
webhooks:
- name: pods.e2e.gantry.dev
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {hooks: 'on'}}
  rules: [{apiGroups: [''], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  clientConfig: {service: {namespace: default, name: hook, path: /mutate}, caBundle: CA}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: words}
webhooks:
- name: words.e2e.gantry.dev
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {hooks: 'on'}}
  rules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]
  clientConfig: {service: {namespace: default, name: hook, path: /validate}, caBundle: CA}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sets.e2e.gantry.dev}
spec:
  group: e2e.gantry.dev
  scope: Namespaced
  names: {plural: sets, singular: set, kind: Set}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {namespace: default, name: hook, path: /convert}, caBundle: CA}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: string}}}}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {replicas: {type: integer}}}}}}
";

const SET: &str = r"
apiVersion: e2e.gantry.dev/v2
kind: Set
metadata: {name: s, namespace: hooked}
spec: {replicas: 3}
";

/// An authority and what it signed for `hook.default.svc`, in PEM: authority, certificate, key.
fn certificates() -> Result<(String, String, String)> {
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of hooks");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate()?;
    let root = authority.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec!["hook.default.svc".to_owned()])?;
    let leaf = leaf.signed_by(&key, &issuer)?;
    Ok((root.pem(), leaf.pem(), key.serialize_pem()))
}

/// A cluster with the webhooks' pod and their configurations.
fn scene() -> Result<Cluster> {
    let cluster = Cluster::start()?;
    let (root, certificate, key) = certificates()?;
    let folder = tempfile::tempdir()?;
    let mut secret = ["create", "secret", "generic", "hook"].map(str::to_owned).to_vec();
    for (name, text) in [("ca.crt", root), ("tls.crt", certificate), ("tls.key", key)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        secret.push(format!("--from-file={}", path.display()));
    }
    cluster.kubectl(&secret.iter().map(String::as_str).collect::<Vec<_>>())?.success()?;
    cluster.apply(HOOK)?;
    cluster.ready_pods("app=hook", 1)?;
    let encoded = cluster.kubectl(&["get", "secret", "hook", r"-o=jsonpath={.data.ca\.crt}"])?.success()?;
    cluster.apply(&CONFIGURATION.replace("CA}", &format!("{encoded}}}")))?;
    Ok(cluster)
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("kubectl printed no JSON")
}

#[test]
fn webhooks_in_a_pod_change_refuse_and_convert_until_it_is_gone() -> Result<()> {
    let cluster = scene()?;
    let run =
        ["run", "plain", "-n", "hooked", "--image=gantry.local/web:v1", "--dry-run=server", "-o", "json"];
    let (mutate, validate) = ("pods.e2e.gantry.dev", "words.e2e.gantry.dev");
    // The Service's endpoint came with the pod's readiness, which another part of the cluster saw first.
    let pod = eventually("the webhook answers", SOON, || json(&cluster.kubectl(&run)?.success()?))?;
    let injected = &pod["spec"]["containers"][1];
    ensure!(pod["metadata"]["labels"]["hooked"] == "yes", "{pod}");
    // What a webhook adds gets its defaults, and what later plugins give every container.
    for (at, expected) in [
        ("/name", "injected"),
        ("/imagePullPolicy", "IfNotPresent"),
        ("/terminationMessagePath", "/dev/termination-log"),
        ("/ports/0/protocol", "TCP"),
        ("/volumeMounts/0/mountPath", "/var/run/secrets/kubernetes.io/serviceaccount"),
    ] {
        ensure!(injected.pointer(at).is_some_and(|value| value == expected), "{at}: {injected}");
    }

    let word = |name: &str, word: &str| {
        let literal = format!("--from-literal=word={word}");
        cluster.kubectl(&["create", "configmap", name, "-n", "hooked", &literal])
    };
    let refused = word("bad", "forbidden")?.failure()?;
    let text = format!("admission webhook \"{validate}\" denied the request: this word is not for here");
    ensure!(refused.contains(&text), "{refused}");
    let odd = word("odd", "odd")?;
    ensure!(odd.code == 0 && odd.stderr.contains("Warning: this word is odd"), "{odd:?}");

    cluster.apply(SET)?;
    let size = |version: &str, path: &str| {
        let resource = format!("sets.{version}.e2e.gantry.dev");
        cluster.kubectl(&["get", &resource, "s", "-n", "hooked", &format!("-o=jsonpath={{{path}}}")])
    };
    ensure!(size("v1", ".spec.size")?.success()? == "3", "what is stored is v1");
    ensure!(size("v2", ".spec.replicas")?.success()? == "3", "what was sent comes back");

    // Gone: whoever depends on it fails, says so, and nobody else does.
    cluster.kubectl(&["delete", "pod", "hook", "--force"])?.success()?;
    let gone = |outcome: e2e::command::Output, head: &str| -> Result<()> {
        let said = outcome.failure()?;
        let no_endpoint = said.contains("no endpoints available for service \"hook\"");
        ensure!(said.contains(head) && no_endpoint, "{said}");
        Ok(())
    };
    let failing = |name: &str| format!("failed calling webhook \"{name}\": failed to call webhook: Post ");
    eventually("the pod's endpoint is gone", SOON, || gone(cluster.kubectl(&run)?, &failing(mutate)))?;
    gone(word("good", "good")?, &failing(validate))?;
    gone(size("v2", ".spec")?, "conversion webhook for e2e.gantry.dev/v1, Kind=Set failed: Post ")?;
    ensure!(size("v1", ".spec.size")?.success()? == "3", "what needs no conversion is served");
    cluster.kubectl(&["create", "configmap", "elsewhere", "--from-literal=word=good"])?.success()?;
    let ignore = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    let patch = ["patch", "validatingwebhookconfiguration", "words", "--type=json", "-p", ignore];
    cluster.kubectl(&patch)?.success()?;
    word("good", "good")?.success()?;
    cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "pods"])?.success()?;
    let pod = json(&cluster.kubectl(&run)?.success()?)?;
    ensure!(pod["spec"]["containers"].as_array().is_some_and(|all| all.len() == 1), "{pod}");
    Ok(())
}
