//! LIST of many pods, as JSON and as the Table kubectl asks for, beside a bare server that sends as many
//! bytes, and what it costs the server's memory.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::api::{Connection, JSON, Target};
use crate::cluster::{Cluster, Engine};
use crate::load::fill;
use crate::{Row, limits, percentile, usage};

pub const PODS: &str = "/api/v1/namespaces/default/pods";
/// The pods' service account; controllers make it.
pub const READY: &str = "/api/v1/namespaces/default/serviceaccounts/default";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Lists of one kind; the middle one counts.
const ROUNDS: usize = 5;

/// Measures lists of a hundredth of `pods`, of a tenth, and of all, on each engine.
pub async fn measure(engines: &[Engine], pods: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for engine in engines {
        let mut cluster = Cluster::control_plane(*engine).await?;
        let mut connection = cluster.answers(READY).await?;
        let server = limits::BareServer::spawn(&connection.get(READY).await?)?;
        let bare = Target::new(server.address.clone(), server.certificate.clone())?;
        let mut there = 0;
        for count in [pods / 100, pods / 10, pods] {
            fill(&cluster.target()?, PODS, count - there, move |number| pod(there + number)).await?;
            there = count;
            // Not one from before: a server closes connections that sat idle for as long as so many pods take.
            let mut connection = cluster.answers(READY).await?;
            for (form, accept) in [("JSON", JSON), ("Table", TABLE)] {
                let title = format!("LIST of {count} pods as {form}, {engine}");
                rows.push(
                    list(title, cluster.pid(), &mut connection, &mut bare.connect().await?, accept).await?,
                );
            }
        }
    }
    Ok(rows)
}

async fn list(
    title: String,
    pid: u32,
    server: &mut Connection,
    bare: &mut Connection,
    accept: &str,
) -> Result<Row> {
    usage::forget_peak(pid)?;
    let before = usage::peak_kib(pid)?;
    let ticks = usage::total(&[pid])?.cpu_ticks;
    let (length, seconds) = middle(server, PODS, accept).await?;
    let ticks = usage::total(&[pid])?.cpu_ticks - ticks;
    // A tick is a hundredth of a second.
    let millis = ticks * 10 / ROUNDS as u64;
    let more = usage::peak_kib(pid)?.saturating_sub(before) / 1024;
    let (_, limit) = middle(bare, &format!("/length/{length}"), JSON).await?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = length as f64 / 1e6;
    Ok(Row::new(
        title,
        format!("{:.1} ms, {megabytes:.1} MB", seconds * 1e3),
        format!(
            "{:.0} % of a bare axum+rustls server ({:.1} ms); {millis} ms of the server's processor time; {more} MiB more in it at its peak",
            limit / seconds * 100.0,
            limit * 1e3
        ),
    ))
}

/// Bytes of an answer and the seconds it took, of several the middle one.
async fn middle(connection: &mut Connection, path: &str, accept: &str) -> Result<(usize, f64)> {
    let (mut length, mut seconds) = (0, Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        length = connection.drain(path, accept).await?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((length, percentile(&seconds, 0.5)))
}

/// A pod as a Deployment would make it, that no scheduler touches.
pub fn pod(number: usize) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{number:06}"),
            "labels": {"app": "web", "number": number.to_string()},
            "annotations": {"example.com/made-by": "bench"},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main", "image": "registry.example/web:1", "command": ["serve", "--port", "8080"],
                "ports": [{"containerPort": 8080}], "env": [{"name": "MODE", "value": "production"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }],
        },
    })
}
