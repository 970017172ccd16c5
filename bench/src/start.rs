//! From exec to the first successful request on an empty disk.

use std::time::Instant;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::{Row, percentile};

/// Starts measured; the middle one counts.
const ROUNDS: usize = 5;

/// Measures cold starts.
pub async fn measure() -> Result<Vec<Row>> {
    let mut seconds = Vec::new();
    let mut ready = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut cluster = Cluster::spawn(false)?;
        let mut connection = cluster.answers("/api/v1/namespaces/default").await?;
        seconds.push(begin.elapsed().as_secs_f64());
        while !node_ready(&connection.get_json("/api/v1/nodes").await?) {
            crate::cluster::pause(std::time::Duration::from_millis(2)).await;
        }
        ready.push(begin.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    ready.sort_by(f64::total_cmp);
    Ok(vec![
        Row::new(
            "exec to first successful request, empty disk",
            format!("{:.3} s", percentile(&seconds, 0.5)),
            format!("goal < 0.3 s; worst of {ROUNDS}: {:.3} s", percentile(&seconds, 1.0)),
        ),
        Row::new(
            "exec to node Ready",
            format!("{:.3} s", percentile(&ready, 0.5)),
            format!("worst of {ROUNDS}: {:.3} s", percentile(&ready, 1.0)),
        ),
    ])
}

fn node_ready(nodes: &serde_json::Value) -> bool {
    let conditions = nodes["items"][0]["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
