//! Durable creates and updates, and GETs, per second over TLS from a separate process, beside what the disk
//! and a bare server manage in the same run.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::api::Target;
use crate::cluster::{Cluster, Engine};
use crate::load::{CONNECTIONS, Load, Shot, Until, load};
use crate::{Row, limits, usage};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const READ: &str = "/api/v1/namespaces/default";

/// Measures creates, updates and GETs on each engine.
pub async fn measure(engines: &[Engine], seconds: u64) -> Result<Vec<Row>> {
    let span = Duration::from_secs(seconds);
    let mut rows = Vec::new();
    for engine in engines {
        rows.extend(on(*engine, span).await?);
    }
    Ok(rows)
}

async fn on(engine: Engine, span: Duration) -> Result<Vec<Row>> {
    let mut cluster = Cluster::control_plane(engine).await?;
    let mut connection = cluster.answers(READ).await?;
    let target = cluster.target()?;
    let pid = cluster.pid();
    let creates = load(&target, Until::Passed(span), |_, _| Shot {
        method: Method::POST,
        path: CONFIG_MAPS.to_owned(),
        body: config_map(json!({"generateName": "load-"}), 0),
    });
    let creates = with_processor(pid, creates).await?;
    let size = connection.get(&format!("{CONFIG_MAPS}?limit=1")).await?.len();
    for number in 0..CONNECTIONS {
        let object = config_map(json!({"name": name(number)}), 0);
        connection.send(Method::POST, CONFIG_MAPS, object).await?;
    }
    let updates = load(&target, Until::Passed(span), |number, request| Shot {
        method: Method::PUT,
        path: format!("{CONFIG_MAPS}/{}", name(number)),
        body: config_map(json!({"name": name(number)}), request + 1),
    });
    let updates = with_processor(pid, updates).await?;
    let answer = connection.get(READ).await?;
    let gets = with_processor(pid, load(&target, Until::Passed(span), |_, _| get(READ))).await?;
    let dir = cluster.data_dir();
    let raw =
        tokio::task::spawn_blocking(move || limits::group_committed_appends(&dir, size, CONNECTIONS, span))
            .await
            .context("the append limit")??;
    drop(cluster);
    let server = limits::BareServer::spawn(&answer)?;
    let bare = Target::new(server.address.clone(), server.certificate.clone())?;
    let bare = load(&bare, Until::Passed(span), |_, _| get("/")).await?.per_second;
    let row = |what: &str, (measured, micros): &(Load, u64), limit: f64, limit_name: &str| {
        let share = measured.per_second / limit * 100.0;
        Row::new(
            format!("{what}, {CONNECTIONS} connections, {engine}"),
            format!("{:.0}/s, p99 {:.1} ms", measured.per_second, measured.p99_ms),
            format!(
                "{share:.0} % of {limit_name} ({limit:.0}/s); {micros} µs of the server's processor time each"
            ),
        )
    };
    Ok(vec![
        row("durable creates (ConfigMap)", &creates, raw, "raw group-committed appends"),
        row("durable updates (ConfigMap)", &updates, raw, "raw group-committed appends"),
        row("GETs", &gets, bare, "a bare axum+rustls server"),
    ])
}

/// A load, and the microseconds of processor time that the server spent on each request: what stays the same
/// when the machine is busy with other things.
pub async fn with_processor(pid: u32, load: impl Future<Output = Result<Load>>) -> Result<(Load, u64)> {
    let before = usage::total(&[pid])?.cpu_ticks;
    let load = load.await?;
    let ticks = usage::total(&[pid])?.cpu_ticks - before;
    // A tick is a hundredth of a second.
    let micros = ticks * 10_000 / load.count.max(1) as u64;
    Ok((load, micros))
}

fn get(path: &str) -> Shot {
    Shot { method: Method::GET, path: path.to_owned(), body: Bytes::new() }
}

fn name(connection: usize) -> String {
    format!("update-{connection}")
}

/// About 1.5 KB, as notes/feasibility-api.md measured stores with.
pub fn config_map(metadata: serde_json::Value, version: usize) -> Bytes {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": {"text": "x".repeat(1200), "version": version.to_string()},
    });
    Bytes::from(object.to_string())
}
