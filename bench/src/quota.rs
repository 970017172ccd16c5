//! Creates in one namespace whose ResourceQuota counts them, by many clients at once, beside the same without
//! a quota: what it costs that the totals are committed with each object.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::Row;
use crate::cluster::{Cluster, Engine, pause};
use crate::load::{CONNECTIONS, Shot, Until, load};
use crate::requests::{config_map, with_processor};

const NAMESPACES: &str = "/api/v1/namespaces";
/// More than a run creates: the quota is to be charged, not to refuse.
const HARD: &str = "100000000";

/// Measures creates with and without a quota on each engine.
pub async fn measure(engines: &[Engine], seconds: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for engine in engines {
        rows.push(on(*engine, Duration::from_secs(seconds)).await?);
    }
    Ok(rows)
}

async fn on(engine: Engine, span: Duration) -> Result<Row> {
    let mut cluster = Cluster::control_plane(engine).await?;
    let mut connection = cluster.answers(&format!("{NAMESPACES}/default")).await?;
    for name in ["free", "counted"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        connection.post(NAMESPACES, &namespace).await?;
    }
    let quotas = format!("{NAMESPACES}/counted/resourcequotas");
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "most"},
        "spec": {"hard": {"configmaps": HARD}},
    });
    connection.post(&quotas, &quota).await?;
    // It counts from when its controller has seen it.
    let quota = format!("{quotas}/most");
    while connection.get_json(&quota).await?["status"]["hard"].is_null() {
        pause(Duration::from_millis(10)).await;
    }
    let target = cluster.target()?;
    let creates = |namespace: &'static str| {
        load(&target, Until::Passed(span), move |_, _| Shot {
            method: Method::POST,
            path: format!("{NAMESPACES}/{namespace}/configmaps"),
            body: config_map(json!({"generateName": "load-"}), 0),
        })
    };
    let (free, free_micros) = with_processor(cluster.pid(), creates("free")).await?;
    let (counted, micros) = with_processor(cluster.pid(), creates("counted")).await?;
    let share = counted.per_second / free.per_second * 100.0;
    Ok(Row::new(
        format!("durable creates under a quota, {CONNECTIONS} connections, {engine}"),
        format!("{:.0}/s, p99 {:.1} ms", counted.per_second, counted.p99_ms),
        format!(
            "{share:.0} % of those without one ({:.0}/s); {micros} instead of {free_micros} µs of the server's processor time each",
            free.per_second
        ),
    ))
}
