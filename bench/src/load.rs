//! Requests from many connections at once, one under way on each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use tokio::task::JoinHandle;

use crate::api::Target;
use crate::percentile;

/// Connections that each have one request under way.
pub const CONNECTIONS: usize = 32;

/// What a load came to.
pub struct Load {
    /// Requests answered.
    pub count: usize,
    /// The same for every second.
    pub per_second: f64,
    /// Of a single request.
    pub p99_ms: f64,
}

/// One request.
pub struct Shot {
    /// Its verb.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its body, JSON or nothing.
    pub body: Bytes,
}

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Passed(Duration),
    /// After so many requests.
    Sent(usize),
}

/// Sends what `shot` makes of the number of the connection and of its request, until the end.
pub async fn load(
    target: &Target,
    until: Until,
    shot: impl Fn(usize, usize) -> Shot + Send + Sync + 'static,
) -> Result<Load> {
    let shot = Arc::new(shot);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(target.connect().await?);
    }
    let begin = Instant::now();
    let clients = connections.into_iter().enumerate().map(|(number, mut connection)| {
        let shot = Arc::clone(&shot);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while goes_on(until, begin, number, latencies.len()) {
                let Shot { method, path, body } = shot(number, latencies.len());
                let sent = Instant::now();
                connection.send(method, &path, body).await?;
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(latencies)
        })
    });
    summed(begin, clients.collect()).await
}

/// Opens connections as fast as as many clients can, and `GET`s once on each.
pub async fn handshakes(target: &Target, span: Duration, path: &'static str) -> Result<Load> {
    let begin = Instant::now();
    let clients = (0..CONNECTIONS).map(|_| {
        let target = target.clone().forgetful();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while begin.elapsed() < span {
                let opened = Instant::now();
                target.connect().await?.get(path).await?;
                latencies.push(opened.elapsed().as_secs_f64() * 1e3);
            }
            Ok(latencies)
        })
    });
    summed(begin, clients.collect()).await
}

/// What clients measured, as one.
async fn summed(begin: Instant, clients: Vec<JoinHandle<Result<Vec<f64>>>>) -> Result<Load> {
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.context("a load client panicked")??);
    }
    latencies.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rate of at most millions")]
    let per_second = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    Ok(Load { count: latencies.len(), per_second, p99_ms: percentile(&latencies, 0.99) })
}

fn goes_on(until: Until, begin: Instant, connection: usize, done: usize) -> bool {
    match until {
        Until::Passed(span) => begin.elapsed() < span,
        Until::Sent(all) => done * CONNECTIONS + connection < all,
    }
}

/// Creates `count` objects, each made by `body` of its number.
pub async fn fill(
    target: &Target,
    path: &'static str,
    count: usize,
    body: impl Fn(usize) -> serde_json::Value + Send + Sync + 'static,
) -> Result<()> {
    let shot = move |connection: usize, request: usize| Shot {
        method: Method::POST,
        path: path.to_owned(),
        body: Bytes::from(body(request * CONNECTIONS + connection).to_string()),
    };
    load(target, Until::Sent(count), shot).await?;
    Ok(())
}
