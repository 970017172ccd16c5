//! Crash and resume, and a clean end.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{Cluster, SOON, name};
use e2e::eventually::eventually;
use e2e::{http, leftovers};

const SELECTOR: &str = "app=guestbook";

/// The host's process ids of every program whose parent chain leads to a shim of this cluster.
fn container_pids(cluster: &Cluster) -> Result<BTreeMap<i32, String>> {
    let marker = cluster.data_dir().display().to_string();
    let mut parents = BTreeMap::new();
    let mut commands = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|p| p.parse::<i32>().ok());
        let command =
            std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
        parents.insert(pid, parent.unwrap_or_default());
        commands.insert(pid, command);
    }
    let is_shim = |pid: i32| commands.get(&pid).is_some_and(|c| c.contains("shim") && c.contains(&marker));
    Ok(commands
        .iter()
        .filter(|(pid, command)| {
            command.contains("/bin/web") && parents.get(pid).is_some_and(|parent| is_shim(*parent))
        })
        .map(|(pid, command)| (*pid, command.clone()))
        .collect())
}

#[test]
fn a_crash_loses_nothing_and_restarts_nothing() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.apply_manifest("guestbook.yaml")?;
    let before = cluster.ready_pods(SELECTOR, 3)?;
    let pids = container_pids(&cluster)?;
    ensure!(pids.len() == 3, "the web servers' processes: {pids:?}");
    let service = cluster.get(&["service", "guestbook"])?;
    let address = format!("{}:80", service["spec"]["clusterIP"].as_str().context("a cluster IP")?);
    for round in 0..3 {
        let kept = format!("kept-{round}");
        cluster.kubectl(&["create", "configmap", &kept, "--from-literal=a=b"])?.success()?;
        cluster.kill()?;
        ensure!(
            http::get(&address, "/")?.contains("version=v1"),
            "the service answers while the cluster is down"
        );
        cluster.up()?;
        ensure!(cluster.kubectl(&["get", "configmap", &kept])?.code == 0, "an acknowledged object is gone");
        ensure!(container_pids(&cluster)? == pids, "the containers' processes changed");
    }
    let after = cluster.ready_pods(SELECTOR, 3)?;
    for (old, new) in before.iter().zip(&after) {
        ensure!(old["metadata"]["uid"] == new["metadata"]["uid"], "another pod stands there");
        for status in new["status"]["containerStatuses"].as_array().into_iter().flatten() {
            ensure!(status["restartCount"] == 0, "a restart was counted: {status}");
        }
    }
    // The log has every request's line, those made while nobody was there to read included.
    let pod = name(&after[0]);
    let ip = after[0]["status"]["podIP"].as_str().context("a pod IP")?;
    cluster.kill()?;
    for i in 0..100 {
        http::get(&format!("{ip}:8080"), &format!("/headers?line={i}"))?;
    }
    cluster.up()?;
    eventually("the log has no hole", SOON, || {
        let log = cluster.kubectl(&["logs", pod, "-c", "web"])?.success()?;
        for i in 0..100 {
            ensure!(log.contains(&format!("/headers?line={i}\n")), "line {i} is missing");
        }
        Ok(())
    })?;
    // And the cluster goes on reconciling.
    cluster.kubectl(&["delete", "pod", pod])?.success()?;
    cluster.ready_pods(SELECTOR, 3).map(drop)
}

#[test]
fn down_leaves_nothing_behind() -> Result<()> {
    let before = leftovers::on_machine(Path::new("/nowhere"))?;
    let mut cluster = Cluster::start()?;
    let data_dir = cluster.data_dir();
    cluster.apply_manifest("guestbook.yaml")?;
    cluster.ready_pods(SELECTOR, 3)?;
    let during = leftovers::on_machine(&data_dir)?;
    let own: Vec<&String> = during.difference(&before).collect();
    for what in ["link gt", "table ip gantry-", "cgroup ", "process "] {
        ensure!(own.iter().any(|entry| entry.starts_with(what)), "a running cluster has no {what}: {own:#?}");
    }
    cluster.down()?;
    let after = leftovers::on_machine(&data_dir)?;
    let left: Vec<_> = own.into_iter().filter(|entry| after.contains(*entry)).collect();
    ensure!(left.is_empty(), "left behind: {left:#?}");
    let marked: Vec<_> = after.iter().filter(|entry| entry.contains(&*data_dir.to_string_lossy())).collect();
    ensure!(marked.is_empty(), "left behind: {marked:#?}");
    // What was stored is still there: a new start brings the pods back.
    cluster.up()?;
    cluster.ready_pods(SELECTOR, 3).map(drop)
}
