//! Our own tool does what kubectl does, with the same words and exit codes.

use anyhow::{Result, ensure};
use e2e::cluster::{Cluster, manifest, name};

#[test]
fn the_most_used_verbs() -> Result<()> {
    let cluster = Cluster::start()?;
    let ok = |arguments: &[&str]| cluster.gantry(arguments)?.success();
    let file = manifest("guestbook.yaml");
    let applied = ok(&["apply", "-f", &file])?;
    ensure!(applied.contains("deployment.apps/guestbook created"), "{applied}");
    let rolled = ok(&["rollout", "status", "deployment/guestbook"])?;
    ensure!(rolled.contains("deployment \"guestbook\" successfully rolled out"), "{rolled}");
    ensure!(ok(&["apply", "-f", &file])?.matches("unchanged").count() == 3, "apply again");
    let pods = cluster.ready_pods("app=guestbook", 3)?;
    let pod = name(&pods[0]);
    for arguments in [["get", "pods"], ["get", "deploy"], ["get", "svc"], ["get", "nodes"]] {
        let (ours, theirs) = (ok(&arguments)?, cluster.kubectl(&arguments)?.success()?);
        let heading = |text: &str| {
            text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        ensure!(heading(&ours) == heading(&theirs), "ours:\n{ours}\ntheirs:\n{theirs}");
        ensure!(ours.lines().count() == theirs.lines().count(), "ours:\n{ours}\ntheirs:\n{theirs}");
    }
    ensure!(ok(&["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"])? == "node-1", "jsonpath");
    ensure!(ok(&["describe", "pod", pod])?.contains("Started"), "describe");
    ensure!(ok(&["logs", pod, "-c", "web"])?.contains("listening"), "logs");
    let failed = cluster.gantry(&["exec", pod, "-c", "web", "--", "sh", "-c", "echo out; exit 5"])?;
    ensure!(failed.code == 5 && failed.stdout == "out\n", "exec: {failed:?}");
    ok(&["scale", "deployment/guestbook", "--replicas=1"])?;
    cluster.ready_pods("app=guestbook", 1)?;
    cluster.kubectl(&["set", "image", "deployment/guestbook", "web=gantry.local/web:v2"])?.success()?;
    ok(&["rollout", "status", "deployment/guestbook"])?;
    ensure!(ok(&["rollout", "history", "deployment/guestbook"])?.contains('2'), "history");
    ok(&["rollout", "undo", "deployment/guestbook"])?;
    ok(&["rollout", "status", "deployment/guestbook"])?;
    let missing = cluster.gantry(&["get", "pod", "nobody"])?;
    let theirs = cluster.kubectl(&["get", "pod", "nobody"])?;
    ensure!(missing.code == theirs.code && missing.stderr == theirs.stderr, "{missing:?} {theirs:?}");
    let deleted = ok(&["delete", "-f", &file])?;
    ensure!(deleted.contains("deployment.apps \"guestbook\" deleted"), "{deleted}");
    Ok(())
}

#[test]
fn images_are_listed() -> Result<()> {
    let cluster = Cluster::start()?;
    let dir = cluster.data_dir().display().to_string();
    let listed = cluster.gantry(&["image", "list", "--data-dir", &dir])?.success()?;
    for image in ["gantry.local/busybox", "gantry.local/web"] {
        ensure!(listed.contains(image), "{listed}");
    }
    let missing = cluster.gantry(&["image", "load", "--data-dir", &dir, "/does/not/exist.tar"])?.failure()?;
    ensure!(missing.contains("/does/not/exist.tar"), "{missing}");
    Ok(())
}
