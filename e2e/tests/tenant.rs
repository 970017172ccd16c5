//! A tenant who may edit one namespace, and everything else it tries.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::Cluster;

/// What stands in other places for the tenant to covet.
const SCENE: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: theirs}
---
apiVersion: v1
kind: Namespace
metadata: {name: ours}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: jane-edits, namespace: ours}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: limits, namespace: ours}
spec: {hard: {pods: '5'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: sizes, namespace: ours}
spec: {limits: [{type: Container, default: {memory: 64Mi}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: gold, namespace: theirs}
stringData: {word: treasure}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: theirs}
spec: {containers: [{name: web, image: 'registry.example/web:1', imagePullPolicy: Never}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: theirs}
spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: web, image: 'web:1'}]}}}
";

/// Command lines that must be refused.
const FORBIDDEN: &[&[&str]] = &[
    // Other namespaces.
    &["get", "pods", "-A"],
    &["get", "pods", "-A", "--watch", "--request-timeout=5s"],
    &["get", "pods", "-n", "theirs"],
    &["get", "secret", "gold", "-n", "theirs"],
    &["get", "secrets", "-n", "kube-system"],
    &["get", "configmaps", "-n", "kube-public"],
    &["get", "leases", "-n", "kube-node-lease"],
    &["create", "configmap", "mine", "-n", "theirs"],
    &["run", "spy", "--image=i", "-n", "kube-system"],
    &["delete", "pods", "--all", "-n", "theirs"],
    &["delete", "pod", "web", "-n", "theirs"],
    &["logs", "web", "-n", "theirs"],
    &["exec", "web", "-n", "theirs", "--", "id"],
    &["port-forward", "web", "-n", "theirs", "0:80"],
    &["scale", "deployment/web", "--replicas=3", "-n", "theirs"],
    &["set", "image", "deployment/web", "web=web:2", "-n", "theirs"],
    &["label", "pod", "web", "a=b", "-n", "theirs"],
    &["patch", "secret", "gold", "-n", "theirs", "-p", "{}"],
    &["create", "token", "default", "-n", "theirs"],
    &["create", "token", "default", "-n", "kube-system"],
    // The cluster.
    &["get", "nodes"],
    &["cordon", "node-1"],
    &["label", "node", "node-1", "a=b"],
    &["taint", "nodes", "node-1", "a=b:NoSchedule"],
    &["get", "namespaces"],
    &["create", "namespace", "another"],
    &["delete", "namespace", "theirs"],
    &["delete", "namespace", "ours"],
    &["label", "namespace", "ours", "pod-security.kubernetes.io/enforce=privileged"],
    &["get", "persistentvolumes"],
    &["get", "clusterroles"],
    &["get", "customresourcedefinitions"],
    &["get", "validatingwebhookconfigurations"],
    &["get", "apiservices"],
    &["get", "certificatesigningrequests"],
    &["create", "priorityclass", "mine", "--value=1"],
    // More than one has.
    &["create", "clusterrole", "all", "--verb=*", "--resource=*"],
    &["create", "clusterrolebinding", "me", "--clusterrole=cluster-admin", "--user=jane"],
    &["create", "rolebinding", "me", "--clusterrole=admin", "--user=jane", "-n", "ours"],
    &["create", "role", "all", "--verb=*", "--resource=*", "-n", "ours"],
    &["delete", "rolebinding", "jane-edits", "-n", "ours"],
    &["delete", "resourcequota", "limits", "-n", "ours"],
    &["delete", "limitrange", "sizes", "-n", "ours"],
    &["get", "pods", "-n", "ours", "--as=kubernetes-admin"],
    &["get", "pods", "-n", "ours", "--as=jane", "--as-group=system:masters"],
    &["get", "pods", "-n", "theirs", "--as=system:serviceaccount:kube-system:default"],
    // Paths.
    &["get", "--raw", "/metrics"],
    &["get", "--raw", "/api/v1/nodes/node-1/proxy/pods"],
    &["get", "--raw", "/api/v1/namespaces/theirs/pods/web/proxy/"],
    &["get", "--raw", "/api/v1/namespaces/theirs/secrets?watch=1"],
];

/// Command lines that must work.
const ALLOWED: &[&[&str]] = &[
    &["get", "pods", "-n", "ours"],
    &["create", "deployment", "site", "--image=web:1", "--replicas=0", "-n", "ours"],
    &["scale", "deployment/site", "--replicas=0", "-n", "ours"],
    &["create", "secret", "generic", "own", "--from-literal=a=b", "-n", "ours"],
    &["get", "secret", "own", "-n", "ours"],
    &["get", "resourcequota", "-n", "ours"],
    &["auth", "whoami"],
    &["auth", "can-i", "--list", "-n", "ours"],
    &["api-resources"],
];

#[test]
fn stays_in_its_namespace() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply(SCENE)?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("jane.kubeconfig");
    let issued = cluster.gantry(&["kubeconfig", "--user", "jane", "--group", "tenants"])?.success()?;
    std::fs::write(&kubeconfig, issued)?;
    for line in ALLOWED {
        as_jane(&cluster, &kubeconfig, line)?.success()?;
    }
    let mut surprises = Vec::new();
    for line in FORBIDDEN {
        let output = as_jane(&cluster, &kubeconfig, line)?;
        let refused = output.code != 0 && output.stderr.to_lowercase().contains("forbidden");
        if !refused || output.stdout.contains("treasure") || output.stdout.contains("dHJlYXN1cmU=") {
            surprises.push(format!("{line:?}: {} {}{}", output.code, output.stdout, output.stderr));
        }
    }
    ensure!(surprises.is_empty(), "{} of {}:\n{}", surprises.len(), FORBIDDEN.len(), surprises.join("\n"));
    Ok(())
}

fn as_jane(cluster: &Cluster, kubeconfig: &Path, line: &[&str]) -> Result<e2e::command::Output> {
    let kubeconfig = kubeconfig.to_str().context("a path of text")?;
    let mut arguments = vec!["--kubeconfig", kubeconfig];
    // What follows `--` is not kubectl's.
    arguments.extend(line);
    cluster.kubectl(&arguments)
}
