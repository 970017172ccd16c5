//! Memory and CPU of everything Gantry runs (control plane, agent, shims) while nothing happens.

use std::time::Duration;

use anyhow::Result;

use crate::Row;
use crate::cluster::{Cluster, pause, processes};
use crate::pods::create_and_wait;
use crate::usage::total;

/// Measures an idle cluster with 0 and with 10 pods.
pub async fn measure(seconds: u64) -> Result<Vec<Row>> {
    let mut cluster = Cluster::spawn(true)?;
    let mut connection = cluster.answers("/api/v1/namespaces/default").await?;
    let mut rows = idle(&cluster, 0, seconds).await?;
    create_and_wait(&cluster, &mut connection, "idle", 10).await?;
    rows.extend(idle(&cluster, 10, seconds).await?);
    Ok(rows)
}

async fn idle(cluster: &Cluster, pods: usize, seconds: u64) -> Result<Vec<Row>> {
    // What start-up or the pods' start left to do is not idling.
    pause(Duration::from_secs(5)).await;
    let pids = processes(&cluster.data_dir())?;
    let before = total(&pids)?;
    pause(Duration::from_secs(seconds)).await;
    let after = total(&pids)?;
    #[expect(clippy::cast_precision_loss, reason = "a percentage of a few ticks")]
    let cpu = (after.cpu_ticks - before.cpu_ticks) as f64 / seconds as f64;
    let main = total(&[cluster.pid()])?;
    let mib = |kib: u64| kib / 1024;
    Ok(vec![
        Row::new(
            format!("idle memory, {pods} pods, {} processes", pids.len()),
            format!("{} MiB resident", mib(after.resident_kib)),
            format!(
                "goal < 60 MB; proportional {} MiB; `gantry up` alone {} MiB",
                mib(after.proportional_kib),
                mib(main.resident_kib)
            ),
        ),
        // A tick is a hundredth of a second, so ticks per second are percent.
        Row::new(format!("idle CPU, {pods} pods"), format!("{cpu:.2} % of a core"), "goal < 0.5 %"),
    ])
}
