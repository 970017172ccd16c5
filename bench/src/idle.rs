//! Memory and CPU of everything Gantry runs (control plane, agent, shims) while nothing happens.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Row;
use crate::cluster::{Cluster, pause, processes};
use crate::pods::create_and_wait;

/// What the kernel says of some processes.
#[derive(Default, Clone, Copy)]
struct Use {
    resident_kib: u64,
    proportional_kib: u64,
    cpu_ticks: u64,
}

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
        // A tick is a hundredth of a second on every Linux Rust runs on, so ticks per second are percent.
        Row::new(format!("idle CPU, {pods} pods"), format!("{cpu:.2} % of a core"), "goal < 0.5 %"),
    ])
}

fn total(pids: &[u32]) -> Result<Use> {
    let mut sum = Use::default();
    for pid in pids {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.resident_kib += field(&rollup, "Rss:");
        sum.proportional_kib += field(&rollup, "Pss:");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let numbers: Vec<u64> = rest.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let (user, system) = numbers.get(11).zip(numbers.get(12)).context("a stat line of 52 fields")?;
        sum.cpu_ticks += user + system;
    }
    Ok(sum)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
