//! Durable creates and GETs per second over TLS from a separate process, beside what the disk and a
//! bare server manage in the same run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::api::Target;
use crate::cluster::Cluster;
use crate::{Row, limits, percentile};

/// Connections that each have one request under way.
const CONNECTIONS: usize = 32;

/// Measures creates and GETs.
pub async fn measure(seconds: u64) -> Result<Vec<Row>> {
    let span = Duration::from_secs(seconds);
    let mut cluster = Cluster::spawn(false)?;
    let mut connection = cluster.answers("/api/v1/namespaces/default").await?;
    let target = cluster.target()?;
    let body = Bytes::from(serde_json::to_vec(&config_map())?);
    let creates = load(&target, Method::POST, "/api/v1/namespaces/default/configmaps", &body, span).await?;
    let size = connection.get("/api/v1/namespaces/default/configmaps?limit=1").await?.len();
    let dir = cluster.data_dir();
    let raw =
        tokio::task::spawn_blocking(move || limits::group_committed_appends(&dir, size, CONNECTIONS, span))
            .await
            .context("the append limit")??;
    let path = "/api/v1/namespaces/default";
    let answer = connection.get(path).await?;
    let gets = load(&target, Method::GET, path, &Bytes::new(), span).await?;
    drop(cluster);
    let server = limits::BareServer::spawn(&answer)?;
    let bare_target = Target::new(server.address.clone(), server.certificate.clone())?;
    let bare = load(&bare_target, Method::GET, "/", &Bytes::new(), span).await?;
    let row = |what: &str, measured: &Load, limit: f64, limit_name: &str| {
        let share = measured.per_second / limit * 100.0;
        Row::new(
            format!("{what}, {CONNECTIONS} connections"),
            format!("{:.0}/s, p99 {:.1} ms", measured.per_second, measured.p99_ms),
            format!("{share:.0} % of {limit_name} ({limit:.0}/s)"),
        )
    };
    Ok(vec![
        row("durable creates (ConfigMap) over TLS", &creates, raw, "raw group-committed appends"),
        row("GETs over TLS", &gets, bare.per_second, "a bare axum+rustls server"),
    ])
}

/// One load's outcome.
struct Load {
    per_second: f64,
    p99_ms: f64,
}

async fn load(target: &Target, method: Method, path: &str, body: &Bytes, span: Duration) -> Result<Load> {
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = target.connect().await?;
        let (method, path, body, done) = (method.clone(), path.to_owned(), body.clone(), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while begin.elapsed() < span {
                let sent = Instant::now();
                connection.send(method.clone(), &path, body.clone()).await?;
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.context("a load client panicked")??);
    }
    latencies.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rate of at most millions")]
    let per_second = done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    Ok(Load { per_second, p99_ms: percentile(&latencies, 0.99) })
}

/// About 1.5 KB, as notes/feasibility-api.md measured stores with.
fn config_map() -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "load-"},
        "data": {"text": "x".repeat(1200)},
    })
}
