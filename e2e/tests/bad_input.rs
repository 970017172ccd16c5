//! What people see when they get it wrong: the place and the way out, and nothing lost.

use std::process::Command;

use anyhow::{Result, ensure};
use e2e::cluster::Cluster;
use e2e::command::run;

fn refused(cluster: &Cluster, yaml: &str, parts: &[&str]) -> Result<()> {
    let text = cluster.kubectl_input(&["create", "-f", "-"], yaml)?.failure()?;
    for part in parts {
        ensure!(text.contains(part), "the message lacks {part:?}: {text}");
    }
    Ok(())
}

#[test]
fn objects_that_are_wrong_are_refused_with_the_place() -> Result<()> {
    let cluster = Cluster::start()?;
    refused(&cluster, "apiVersion: v1\nkind: ConfigMap\n  bad: [", &["error converting YAML to JSON"])?;
    let typo = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicsa: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n";
    refused(&cluster, typo, &["strict decoding error: unknown field \"spec.replicsa\""])?;
    let warned = cluster.kubectl_input(&["create", "--validate=warn", "-f", "-"], typo)?;
    ensure!(warned.code == 0 && warned.stderr.contains("unknown field \"spec.replicsa\""), "{warned:?}");
    cluster.kubectl(&["delete", "deployment", "d"])?.success()?;
    let ignored = cluster.kubectl_input(&["create", "--validate=false", "-f", "-"], typo)?;
    ensure!(ignored.code == 0 && !ignored.stderr.contains("replicsa"), "{ignored:?}");
    let wrong_type = typo.replace("replicsa: 2", "replicas: many").replace("name: d", "name: e");
    refused(&cluster, &wrong_type, &["replicas"])?;
    refused(
        &cluster,
        &typo.replace("replicsa: 2", "replicas: -1").replace("name: d", "name: e"),
        &[
            "The Deployment \"e\" is invalid",
            "spec.replicas: Invalid value: -1",
            "must be greater than or equal to 0",
        ],
    )?;
    refused(
        &cluster,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: []}\n",
        &["metadata.name: Invalid value: \"Bad_Name\"", "spec.containers: Required value"],
    )?;
    refused(&cluster, &typo.replace("replicsa: 2, ", ""), &["deployments.apps \"d\" already exists"])?;
    refused(
        &cluster,
        "apiVersion: v1\nkind: Nonsense\nmetadata: {name: x}\n",
        &["no matches for kind \"Nonsense\""],
    )
}

#[test]
fn a_stale_write_is_a_conflict() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.kubectl(&["create", "configmap", "c", "--from-literal=a=1"])?.success()?;
    let old = cluster.kubectl(&["get", "configmap", "c", "-o", "yaml"])?.success()?;
    cluster.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"a":"2"}}"#])?.success()?;
    let text =
        cluster.kubectl_input(&["replace", "-f", "-"], &old.replace("a: \"1\"", "a: \"3\""))?.failure()?;
    ensure!(
        text.contains("the object has been modified; please apply your changes to the latest version"),
        "{text}"
    );
    ensure!(cluster.get(&["configmap", "c"])?["data"]["a"] == "2", "the newer value stays");
    let missing = cluster.kubectl(&["get", "pod", "nobody"])?.failure()?;
    ensure!(missing.contains("pods \"nobody\" not found"), "{missing}");
    Ok(())
}

#[test]
fn starting_wrongly_says_what_to_do() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let up = |dir: &str, bind: &str| {
        run(Command::new(cluster.binary()).args(["up", "--no-agent", "--data-dir", dir, "--bind", bind]), "")
    };
    let elsewhere = tempfile::tempdir()?;
    let other = elsewhere.path().join("d").display().to_string();
    let taken = up(&other, cluster.address())?.failure()?;
    ensure!(taken.contains(cluster.address()) && taken.contains("--bind"), "a port in use: {taken}");
    let same = up(&cluster.data_dir().display().to_string(), "127.0.0.1:0")?.failure()?;
    ensure!(same.contains(&cluster.pid()?.to_string()), "a data directory in use names the process: {same}");
    cluster.kill()?;
    let format = cluster.data_dir().join("format");
    let was = std::fs::read_to_string(&format)?;
    std::fs::write(&format, "999\n")?;
    let version = run(Command::new(cluster.binary()).args(["up", "--data-dir"]).arg(cluster.data_dir()), "")?
        .failure()?;
    ensure!(version.contains("999"), "another format: {version}");
    std::fs::write(&format, was)?;
    let nobody = run(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(cluster.binary())
            .args(["up", "--data-dir", &other]),
        "",
    )?
    .failure()?;
    ensure!(nobody.contains("root") && nobody.contains("--no-agent"), "without root: {nobody}");
    cluster.up()?;
    ensure!(cluster.kubectl(&["get", "nodes"])?.code == 0, "nothing was lost");
    Ok(())
}
