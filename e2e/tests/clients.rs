//! Programs that others wrote for Kubernetes work unmodified: the Python client, schemathesis, Helm, kopf.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{Cluster, SOON};
use e2e::command::{Lines, Output, run};
use e2e::eventually::eventually;

/// A program of the Python environment that `cargo xtask test` makes.
fn python_program(name: &str) -> Result<PathBuf> {
    let bin = std::env::var("GANTRY_PYTHON").context("GANTRY_PYTHON; use `cargo xtask test`")?;
    Ok(Path::new(&bin).join(name))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[test]
fn the_python_client() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut command = Command::new(python_program("python")?);
    command.arg(clients().join("python_client.py")).arg(cluster.kubeconfig());
    let said = run(&mut command, "")?.success()?;
    ensure!(said.contains("all as on Kubernetes"), "{said}");
    Ok(())
}

/// Answers never are server errors, and are what our own OpenAPI documents promise.
#[test]
fn schemathesis() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut proxy = cluster.kubectl_stream(&["proxy", "--port=0", "--reject-paths=^$"])?;
    let line = proxy.line()?;
    let address = line.rsplit(' ').next().context("kubectl proxy says where it listens")?;
    let base = format!("http://{address}");
    for document in ["apis/apps/v1", "apis/coordination.k8s.io/v1"] {
        let output = ask(&base, document)?;
        ensure!(output.code == 0, "{document}: {}\n{}", output.stdout, output.stderr);
        ensure!(output.stdout.contains("passed"), "{document}: nothing was asked\n{}", output.stdout);
    }
    Ok(())
}

fn ask(base: &str, document: &str) -> Result<Output> {
    let checks = "not_a_server_error,content_type_conformance,response_schema_conformance";
    let mut command = Command::new(python_program("schemathesis")?);
    command
        .current_dir(clients())
        .env("PYTHONPATH", ".")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .args(["run", &format!("{base}/openapi/v3/{document}"), "--url", base, "--checks", checks])
        .args(["--phases", "fuzzing", "--max-examples", "4", "--generation-deterministic"])
        // The old paths of watches have no end, either.
        .args(["--exclude-path-regex", "/v1/watch/", "--request-timeout", "20", "--no-color"]);
    run(&mut command, "")
}

/// Install, test, upgrade, a failed upgrade that takes itself back, roll back, uninstall.
#[test]
fn helm() -> Result<()> {
    let cluster = Cluster::start()?;
    let chart = clients().join("chart").display().to_string();
    let homes = tempfile::tempdir()?;
    let helm = |arguments: &[&str]| {
        let mut command = Command::new(python_program("helm")?);
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, homes.path());
        }
        run(command.env("KUBECONFIG", cluster.kubeconfig()).args(arguments), "")
    };
    let answer = |path: &str| {
        let address = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
        run(Command::new("curl").args(["-sS", "-m5", &format!("http://{}{path}", address.success()?)]), "")?
            .success()
    };
    let patience = ["--wait", "--timeout=40s"];

    helm(&[&["install", "web", &chart], &patience[..]].concat())?.success()?;
    ensure!(
        answer("/env?name=GREETING")? == "hello from revision 1",
        "the hook's ConfigMap is not in the pod"
    );
    let tested = helm(&["test", "web", "--timeout=40s", "--logs"])?.success()?;
    ensure!(tested.contains("Phase:          Succeeded"), "{tested}");
    ensure!(tested.contains("hello from revision 1"), "{tested}");

    let upgrade = ["upgrade", "web", &chart, "--set", "replicas=2,image=gantry.local/web:v2"];
    helm(&[&upgrade, &patience[..]].concat())?.success()?;
    ensure!(answer("/")?.contains("version=v2"), "{}", answer("/")?);
    cluster.ready_pods("release=web", 2)?;

    let broken =
        ["upgrade", "web", &chart, "--set", "image=gantry.local/missing:1", "--atomic", "--timeout=6s"];
    helm(&broken)?.failure()?;
    let history = helm(&["history", "web"])?.success()?;
    ensure!(history.contains("failed") && history.contains("Rollback to 2"), "{history}");
    ensure!(answer("/")?.contains("version=v2"), "{}", answer("/")?);

    helm(&[&["rollback", "web", "1"], &patience[..]].concat())?.success()?;
    ensure!(answer("/")?.contains("version=v1"), "{}", answer("/")?);
    let status = helm(&["status", "web", "--show-resources"])?.success()?;
    ensure!(status.contains("STATUS: deployed") && status.contains("1/1"), "{status}");

    helm(&[&["uninstall", "web"], &patience[..]].concat())?.success()?;
    eventually("nothing of the release is left", SOON, || {
        let left = cluster.kubectl(&["get", "all,secrets", "-l", "release=web", "-o", "name"])?.success()?;
        let releases = helm(&["list", "--all", "--short"])?.success()?;
        ensure!(left.is_empty() && releases.is_empty(), "{left}{releases}");
        Ok(())
    })
}

/// Watches, finalizers, status and events as kopf does them, over a restart of the cluster.
#[test]
fn a_kopf_operator() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.apply(GREETINGS)?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("kopf.log");
    let mut command = Command::new(python_program("kopf")?);
    command
        .args(["run", "--all-namespaces", "--standalone", "--verbose"])
        .arg(clients().join("kopf_operator.py"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stderr(std::fs::File::create(&log)?);
    let _operator = Lines::of(&mut command)?;
    let said = |what: &'static str| {
        eventually(what, SOON, || {
            let text = std::fs::read_to_string(&log)?;
            ensure!(text.contains(what), "{text}");
            Ok(())
        })
    };
    let greeting = |cluster: &Cluster, expected: &'static str| {
        eventually(expected, SOON, || {
            let said =
                cluster.kubectl(&["get", "greeting", "a", "-o", "jsonpath={.status.said}"])?.success()?;
            ensure!(said == expected, "{said:?}");
            Ok(())
        })
    };

    cluster
        .apply("apiVersion: example.gantry.dev/v1\nkind: Greeting\nmetadata: {name: a}\nspec: {who: ann}")?;
    greeting(&cluster, "hello ann")?;
    eventually("the event is there", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector=reason=Greeted"])?.success()?;
        ensure!(events.contains("greeting/a") && events.contains("hello ann"), "{events}");
        Ok(())
    })?;
    cluster.kubectl(&["create", "configmap", "c"])?.success()?;
    cluster.kubectl(&["label", "configmap", "c", "greeted=yes"])?.success()?;
    said("configmap c MODIFIED")?;

    // The operator's watches break and are taken up again.
    cluster.kill()?;
    cluster.up()?;
    cluster
        .kubectl(&["patch", "greeting", "a", "--type=merge", "-p", r#"{"spec":{"who":"bob"}}"#])?
        .success()?;
    greeting(&cluster, "not ann but bob")?;
    cluster.kubectl(&["delete", "greeting", "a", "--timeout=30s"])?.success()?;
    said("goodbye a")
}

const GREETINGS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: greetings.example.gantry.dev}
spec:
  group: example.gantry.dev
  scope: Namespaced
  names: {plural: greetings, singular: greeting, kind: Greeting}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, required: [who], properties: {who: {type: string}}}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";
