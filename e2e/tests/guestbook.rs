//! The guestbook example with stock kubectl, new and old: every verb a user reaches for.

use anyhow::{Result, ensure};
use e2e::cluster::{Cluster, SOON, manifest, name};
use e2e::command::Output;
use e2e::eventually::eventually;

const SELECTOR: &str = "app=guestbook";

/// One of the two kubectls.
type Kubectl<'a> = &'a dyn Fn(&[&str]) -> Result<Output>;

#[test]
fn pods_of_two_containers_share_network_and_volume() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    let pod = name(&pods[0]);
    let entry = eventually("the sidecar's entry is in the shared volume", SOON, || {
        cluster.kubectl(&["exec", pod, "-c", "web", "--", "cat", "/shared/entry"])?.success()
    })?;
    ensure!(entry.contains(&format!("pod={pod}")), "the sidecar reached another pod: {entry}");
    let from_env =
        cluster.kubectl(&["exec", pod, "-c", "web", "--", "sh", "-c", "echo $GREETING"])?.success()?;
    ensure!(from_env == "hello from the guestbook\n", "environment: {from_env:?}");
    let file = ["exec", pod, "-c", "web", "--", "cat", "/etc/guestbook/guestbook.conf"];
    ensure!(
        cluster.kubectl(&file)?.success()?.contains("entries_per_page = 20"),
        "the file of the ConfigMap"
    );
    // A change of the ConfigMap reaches the file of a running pod.
    let patch = r#"{"data":{"guestbook.conf":"title = Changed\n"}}"#;
    cluster.kubectl(&["patch", "configmap", "guestbook", "-p", patch])?.success()?;
    eventually("the file follows the ConfigMap", SOON, || {
        let text = cluster.kubectl(&file)?.success()?;
        ensure!(text.contains("title = Changed"), "{text}");
        Ok(())
    })
}

#[test]
fn new_kubectl_reads_and_writes() -> Result<()> {
    let cluster = Cluster::start()?;
    tour(&cluster, &|arguments| cluster.kubectl(arguments))
}

#[test]
fn old_kubectl_reads_and_writes() -> Result<()> {
    let cluster = Cluster::start()?;
    tour(&cluster, &|arguments| cluster.old_kubectl(arguments))
}

fn tour(cluster: &Cluster, kubectl: Kubectl) -> Result<()> {
    let ok = |arguments: &[&str]| kubectl(arguments)?.success();
    let applied = ok(&["apply", "-f", &manifest("guestbook.yaml")])?;
    for line in
        ["configmap/guestbook created", "deployment.apps/guestbook created", "service/guestbook created"]
    {
        ensure!(applied.contains(line), "apply printed {applied}");
    }
    ensure!(
        ok(&["apply", "-f", &manifest("guestbook.yaml")])?.matches("unchanged").count() == 3,
        "apply again"
    );
    ok(&["rollout", "status", "deployment/guestbook", "--timeout=30s"])?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    let pod = name(&pods[0]);
    reading(&ok, pod)?;
    running(&ok, kubectl, pod)?;
    writing(&ok)?;
    ok(&["delete", "-f", &manifest("guestbook.yaml"), "--timeout=30s"])?;
    eventually("deleting the Deployment deletes its pods", SOON, || {
        let rest = ok(&["get", "pods,replicasets", "-o", "name"])?;
        ensure!(rest.is_empty(), "{rest}");
        Ok(())
    })
}

fn reading(ok: &dyn Fn(&[&str]) -> Result<String>, pod: &str) -> Result<()> {
    let table = ok(&["get", "pods"])?;
    let mut lines = table.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    ensure!(heading == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], "{table}");
    ensure!(lines.all(|line| line.contains("2/2") && line.contains("Running")), "{table}");
    ensure!(ok(&["get", "pods", "-o", "wide"])?.contains("node-1"), "get -o wide shows the node");
    let deployment = ok(&["get", "deploy"])?;
    ensure!(deployment.contains("3/3"), "{deployment}");
    ensure!(ok(&["get", "deploy", "guestbook", "-o", "yaml"])?.contains("kind: Deployment"), "get -o yaml");
    ensure!(ok(&["get", "svc,deploy", "-o", "name"])?.contains("deployment.apps/guestbook"), "get -o name");
    let path = ok(&["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"])?;
    ensure!(path == "node-1", "jsonpath: {path}");
    ensure!(ok(&["get", "pods", "-l", "app=nothing", "-o", "name"])?.is_empty(), "label selector");
    let field = ok(&["get", "pods", "--field-selector", "spec.nodeName=node-1", "-o", "name"])?;
    ensure!(field.lines().count() == 3, "field selector: {field}");
    let described = ok(&["describe", "pod", pod])?;
    for part in ["Scheduled", "Started", "Readiness:", "guestbook"] {
        ensure!(described.contains(part), "describe lacks {part}:\n{described}");
    }
    ensure!(ok(&["describe", "deployment", "guestbook"])?.contains("3 available"), "describe deployment");
    ensure!(ok(&["describe", "node", "node-1"])?.contains("Ready"), "describe node");
    ensure!(ok(&["describe", "service", "guestbook"])?.contains("Endpoints:"), "describe service");
    ensure!(ok(&["explain", "deployment.spec.replicas"])?.to_lowercase().contains("integer"), "explain");
    ensure!(ok(&["api-resources"])?.contains("deployments"), "api-resources");
    ensure!(ok(&["version", "-o", "json"])?.contains("v1.36"), "version");
    Ok(())
}

fn running(ok: &dyn Fn(&[&str]) -> Result<String>, kubectl: Kubectl, pod: &str) -> Result<()> {
    ensure!(ok(&["logs", pod, "-c", "web"])?.contains("listening on 0.0.0.0:8080"), "logs");
    ensure!(ok(&["logs", pod, "-c", "web", "--tail=1"])?.lines().count() == 1, "logs --tail");
    ensure!(ok(&["exec", pod, "-c", "web", "--", "hostname"])?.trim() == pod, "exec");
    let failed = kubectl(&["exec", pod, "-c", "web", "--", "sh", "-c", "echo oops >&2; exit 7"])?;
    ensure!(failed.code == 7 && failed.stderr.contains("oops"), "exec keeps the exit code: {failed:?}");
    Ok(())
}

fn writing(ok: &dyn Fn(&[&str]) -> Result<String>) -> Result<()> {
    ok(&["label", "deployment", "guestbook", "tier=front"])?;
    ensure!(ok(&["get", "deploy", "-l", "tier=front", "-o", "name"])?.contains("guestbook"), "label");
    ok(&["annotate", "deployment", "guestbook", "example.com/note=hi"])?;
    ok(&["scale", "deployment/guestbook", "--replicas=1"])?;
    ok(&["rollout", "status", "deployment/guestbook", "--timeout=30s"])?;
    ok(&["wait", "--for=condition=Available", "deployment/guestbook", "--timeout=30s"])?;
    ok(&["set", "image", "deployment/guestbook", "web=gantry.local/web:v2"])?;
    ok(&["rollout", "status", "deployment/guestbook", "--timeout=30s"])?;
    let history = ok(&["rollout", "history", "deployment/guestbook"])?;
    ensure!(history.lines().filter(|line| line.starts_with(['1', '2'])).count() == 2, "{history}");
    Ok(())
}

#[test]
fn edit_watch_and_follow() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    // `kubectl edit` starts $EDITOR on a file; this editor changes one line.
    let edited = e2e::command::run(
        std::process::Command::new("kubectl")
            .env("KUBECONFIG", cluster.data_dir().join("admin.kubeconfig"))
            .env("HOME", cluster.data_dir())
            .env("EDITOR", "sed -i s/title/heading/")
            .args(["edit", "configmap", "guestbook"]),
        "",
    )?;
    ensure!(edited.success()?.contains("configmap/guestbook edited"), "kubectl edit");
    let data = cluster.get(&["configmap", "guestbook"])?;
    ensure!(data["data"]["guestbook.conf"].as_str().is_some_and(|text| text.contains("heading")), "{data}");
    // `-w` shows a change that happens after its first line; `logs -f` ends when its container does.
    let pod = name(&pods[0]).to_owned();
    let mut watch = cluster.kubectl_stream(&["get", "pod", &pod, "-w", "-o", "name"])?;
    let mut follow = cluster.kubectl_stream(&["logs", "-f", &pod, "-c", "web"])?;
    ensure!(watch.line()? == format!("pod/{pod}"), "the watch begins with what is there");
    ensure!(follow.line()?.contains("listening"), "the log begins with the first line");
    cluster.kubectl(&["delete", "pod", &pod])?.success()?;
    ensure!(watch.line()? == format!("pod/{pod}"), "the watch goes on with the change");
    while !follow.line()?.is_empty() {}
    Ok(())
}

#[test]
fn interactive_exec_has_a_terminal() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let pods = cluster.ready_pods(SELECTOR, 3)?;
    let pod = name(&pods[0]);
    for program in ["kubectl".to_owned(), std::env::var("GANTRY_OLD_KUBECTL")?] {
        // `script` gives kubectl a terminal of its own, as a user at a keyboard has.
        let line =
            format!("{program} exec -it {pod} -c web -- sh -c 'tty; stty size; read word; echo got $word'");
        let output = e2e::command::run(
            std::process::Command::new("script")
                .env("KUBECONFIG", cluster.data_dir().join("admin.kubeconfig"))
                .env("HOME", cluster.data_dir())
                .args(["-qec", &line, "/dev/null"]),
            "plum\n",
        )?;
        ensure!(output.code == 0, "{output:?}");
        for part in ["/dev/pts/", "got plum"] {
            ensure!(output.stdout.contains(part), "{program}: lacks {part}: {output:?}");
        }
    }
    Ok(())
}
