//! What very many objects cost: memory for each while the control plane runs, and the time until it
//! answers again after a restart, beside the bytes themselves.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::api::JSON;
use crate::cluster::{Cluster, Engine, pause};
use crate::lists::{PODS, READY, pod};
use crate::load::fill;
use crate::{Row, limits, usage};

/// A server that uses less processor time within a second, in hundredths, has caught up with its informers.
const QUIET_TICKS: u64 = 5;

/// Measures `count` pods on each engine.
pub async fn measure(engines: &[Engine], count: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for engine in engines {
        rows.extend(on(*engine, count).await?);
    }
    Ok(rows)
}

async fn on(engine: Engine, count: usize) -> Result<Vec<Row>> {
    let mut cluster = Cluster::control_plane(engine).await?;
    drop(cluster.answers(READY).await?);
    let empty = resident_once_quiet(cluster.pid()).await?;
    fill(&cluster.target()?, PODS, count, pod).await?;
    let full = resident_once_quiet(cluster.pid()).await?;
    let etcd = usage::total(&cluster.etcd_pid().into_iter().collect::<Vec<_>>())?.resident_kib;
    // Not one from before: a server closes connections that sat idle for as long as so many objects take.
    let mut connection = cluster.answers(READY).await?;
    let size = connection.drain(PODS, JSON).await? / count;
    drop(connection);
    cluster.stop()?;
    let (file_bytes, reading) = limits::read(&cluster.store_file())?;
    let begin = Instant::now();
    cluster.start_again()?;
    let mut connection = cluster.answers(READY).await?;
    let answered = begin.elapsed();
    let first = connection.drain(&format!("{PODS}?limit=1"), JSON).await?;
    anyhow::ensure!(first > size / 2, "a pod is there after the restart");
    let again = resident_once_quiet(cluster.pid()).await?;
    let each = |kib: u64| kib.saturating_sub(empty) * 1024 / count as u64;
    let beside = format!("a pod's JSON has {size} bytes");
    let etcd_too = if etcd > 0 { format!("; etcd has {} MiB besides", etcd / 1024) } else { String::new() };
    Ok(vec![
        Row::new(
            format!("memory for each of {count} pods, {engine}"),
            format!("{} bytes", each(full)),
            format!("{beside}{etcd_too}"),
        ),
        Row::new(
            format!("memory for each of {count} pods, restarted, {engine}"),
            format!("{} bytes", each(again)),
            beside,
        ),
        Row::new(
            format!("start with {count} pods to first successful request, {engine}"),
            format!("{:.2} s", answered.as_secs_f64()),
            format!(
                "{:.2} s to read the {} MB of the store's file",
                reading.as_secs_f64(),
                file_bytes / 1_000_000
            ),
        ),
    ])
}

/// Memory in KiB, once nothing is left to do.
async fn resident_once_quiet(pid: u32) -> Result<u64> {
    loop {
        let before = usage::total(&[pid])?.cpu_ticks;
        pause(Duration::from_secs(1)).await;
        let now = usage::total(&[pid])?;
        if now.cpu_ticks - before < QUIET_TICKS {
            return Ok(now.resident_kib);
        }
    }
}
