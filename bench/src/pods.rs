//! From apply to Ready, the image present.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::api::Connection;
use crate::cluster::{Cluster, pause};
use crate::{Row, percentile};

/// Single pods started one after the other.
const SINGLES: usize = 20;

/// Measures one pod and fifty.
pub async fn measure() -> Result<Vec<Row>> {
    let mut cluster = Cluster::spawn(true)?;
    let mut connection = cluster.answers("/api/v1/namespaces/default/serviceaccounts/default").await?;
    let mut singles = Vec::new();
    for i in 0..SINGLES {
        singles
            .push(create_and_wait(&cluster, &mut connection, &format!("single{i}"), 1).await?.as_secs_f64());
    }
    singles.sort_by(f64::total_cmp);
    let fifty = create_and_wait(&cluster, &mut connection, "many", 50).await?;
    Ok(vec![
        Row::new(
            "apply to Ready, one pod, p50",
            format!("{:.0} ms", percentile(&singles, 0.5) * 1e3),
            format!("goal < 100 ms; p90 {:.0} ms of {SINGLES}", percentile(&singles, 0.9) * 1e3),
        ),
        Row::new(
            "apply to Ready, 50 pods at once",
            format!("{:.2} s", fifty.as_secs_f64()),
            "goal: 100 in < 2 s",
        ),
    ])
}

/// Creates `count` pods and waits until all are Ready.
pub async fn create_and_wait(
    cluster: &Cluster,
    connection: &mut Connection,
    prefix: &str,
    count: usize,
) -> Result<Duration> {
    let mut watcher = cluster.target()?.connect().await?;
    let begin = Instant::now();
    for i in 0..count {
        connection.post("/api/v1/namespaces/default/pods", &pod(prefix, i)).await?;
    }
    let path = format!("/api/v1/namespaces/default/pods?labelSelector=run%3D{prefix}");
    loop {
        let list = watcher.get_json(&path).await?;
        let pods = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        if pods.iter().filter(|pod| ready(pod)).count() == count {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > Duration::from_secs(120) {
            bail!("{count} pods of {prefix} are not ready: {list}");
        }
        pause(Duration::from_millis(if count == 1 { 2 } else { 20 })).await;
    }
}

fn pod(prefix: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{prefix}-{number}"), "labels": {"run": prefix}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "main", "image": "gantry.local/busybox:1", "command": ["sleep", "1000000"]}]},
    })
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
