//! One pod's life: restart policies, probes, ownership, graceful end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{Cluster, SOON, is_ready};
use e2e::eventually::eventually;
use e2e::http;
use serde_json::Value;

fn pod(name: &str, extra: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  terminationGracePeriodSeconds: 3\n{extra}  containers:\n  - name: main\n{container}"
    )
}

fn container_status(cluster: &Cluster, name: &str) -> Result<Value> {
    Ok(cluster.get(&["pod", name])?["status"]["containerStatuses"][0].clone())
}

#[test]
fn restart_policies_with_back_off() -> Result<()> {
    let cluster = Cluster::start()?;
    for (name, policy, code, phase) in [
        ("never-bad", "Never", 3, "Failed"),
        ("never-good", "Never", 0, "Succeeded"),
        ("onfail-good", "OnFailure", 0, "Succeeded"),
    ] {
        let container = format!("    image: gantry.local/busybox:1\n    command: [sh, -c, 'exit {code}']\n");
        cluster.apply(&pod(name, &format!("  restartPolicy: {policy}\n"), &container))?;
        eventually("the pod ends in its phase", SOON, || {
            let object = cluster.get(&["pod", name])?;
            ensure!(object["status"]["phase"] == phase, "{}", object["status"]);
            let ended = &object["status"]["containerStatuses"][0]["state"]["terminated"];
            ensure!(ended["exitCode"] == code, "{ended}");
            Ok(())
        })?;
    }
    let container = "    image: gantry.local/busybox:1\n    command: [sh, -c, 'echo attempt; exit 1']\n";
    cluster.apply(&pod("crash", "", container))?;
    eventually("a crashing container backs off", SOON * 2, || {
        let status = container_status(&cluster, "crash")?;
        ensure!(status["state"]["waiting"]["reason"] == "CrashLoopBackOff", "{status}");
        ensure!(status["restartCount"].as_u64() >= Some(1), "{status}");
        ensure!(status["lastState"]["terminated"]["exitCode"] == 1, "{status}");
        Ok(())
    })?;
    ensure!(
        cluster.kubectl(&["logs", "crash", "--previous"])?.success()?.contains("attempt"),
        "logs --previous"
    );
    Ok(())
}

#[test]
fn probes_decide_readiness_and_restarts() -> Result<()> {
    let cluster = Cluster::start()?;
    let container = "    image: gantry.local/web:v1
    readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 2}
";
    cluster.apply(&pod("http", "", container))?;
    cluster.apply(&pod(
        "tcp",
        "",
        "    image: gantry.local/web:v1\n    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n",
    ))?;
    cluster.apply(&pod(
        "exec",
        "",
        "    image: gantry.local/web:v1\n    readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1}\n",
    ))?;
    for name in ["http", "tcp"] {
        eventually("ready", SOON, || {
            let object = cluster.get(&["pod", name])?;
            ensure!(is_ready(&object), "{}", object["status"]);
            Ok(())
        })?;
    }
    ensure!(!is_ready(&cluster.get(&["pod", "exec"])?), "ready before the exec probe succeeded");
    cluster.kubectl(&["exec", "exec", "--", "touch", "/tmp/ready"])?.success()?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/exec", "--timeout=20s"])?.success()?;
    let ip = cluster.get(&["pod", "http"])?["status"]["podIP"].as_str().context("a pod IP")?.to_owned();
    http::get(&format!("{ip}:8080"), "/fail/live")?;
    eventually("a failing liveness probe restarts the container", SOON, || {
        let status = container_status(&cluster, "http")?;
        ensure!(status["restartCount"] == 1 && status["ready"] == true, "{status}");
        Ok(())
    })?;
    let events = cluster.kubectl(&["get", "events"])?.success()?;
    ensure!(events.contains("Liveness probe failed: HTTP probe failed with statuscode: 500"), "{events}");
    Ok(())
}

#[test]
fn termination_is_graceful_and_bounded() -> Result<()> {
    let cluster = Cluster::start()?;
    let polite = "    image: gantry.local/busybox:1\n    command: [sh, -c, 'trap \"exit 0\" TERM; while true; do sleep 1 & wait $!; done']\n";
    let deaf = "    image: gantry.local/busybox:1\n    command: [sh, -c, 'trap \"\" TERM; while true; do sleep 1; done']\n";
    cluster.apply(&pod("polite", "", polite))?;
    cluster.apply(&pod("deaf", "", deaf))?;
    cluster
        .kubectl(&["wait", "--for=condition=Ready", "pod/polite", "pod/deaf", "--timeout=30s"])?
        .success()?;
    let start = Instant::now();
    cluster.kubectl(&["delete", "pod", "polite"])?.success()?;
    ensure!(start.elapsed() < Duration::from_secs(3), "a pod that obeys TERM waited for its grace period");
    let start = Instant::now();
    cluster.kubectl(&["delete", "pod", "deaf"])?.success()?;
    ensure!(start.elapsed() >= Duration::from_secs(3), "the grace period was cut short");
    ensure!(start.elapsed() < Duration::from_secs(12), "the grace period did not end");
    Ok(())
}

#[test]
fn deletion_follows_ownership() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    cluster.ready_pods("app=guestbook", 3)?;
    cluster.kubectl(&["delete", "deployment", "guestbook", "--cascade=orphan"])?.success()?;
    let sets = cluster.get(&["replicasets"])?;
    let set = &sets["items"][0];
    ensure!(set["metadata"]["ownerReferences"].is_null(), "orphaned: {}", set["metadata"]);
    cluster.ready_pods("app=guestbook", 3)?;
    let set = e2e::cluster::name(set);
    cluster.kubectl(&["delete", "replicaset", set, "--cascade=foreground", "--timeout=30s"])?.success()?;
    ensure!(
        cluster.get(&["pods"])?["items"].as_array().is_some_and(Vec::is_empty),
        "foreground deletes pods first"
    );
    // A namespace takes everything in it along.
    cluster.kubectl(&["create", "namespace", "team"])?.success()?;
    let file = e2e::cluster::manifest("guestbook.yaml");
    cluster.kubectl(&["apply", "-n", "team", "-f", &file])?.success()?;
    cluster
        .kubectl(&["-n", "team", "rollout", "status", "deployment/guestbook", "--timeout=30s"])?
        .success()?;
    cluster.kubectl(&["delete", "namespace", "team", "--timeout=60s"])?.success()?;
    let rest = cluster.kubectl(&["get", "all,configmaps", "-n", "team", "-o", "name"])?.success()?;
    ensure!(rest.is_empty(), "left in the namespace: {rest}");
    Ok(())
}
