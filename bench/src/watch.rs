//! Events fanned out to many watchers, each on a connection of its own, beside a bare server that sends the
//! same lines to as many.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::JoinSet;

use crate::api::{Connection, JSON, Target};
use crate::cluster::{Cluster, Engine, pause};
use crate::{Row, limits, percentile};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WATCHERS: usize = 1_000;
/// Events sent one after the other, each as soon as the one before is answered.
const BURST: usize = 100;
/// Events per second when delay is measured: a fraction of what the burst shows to be possible.
const PACE: u32 = 5;
/// In front of the time an event was sent, in nanoseconds since the run began.
const SENT: &[u8] = b"sent at ";

/// How events come into being and how they are watched.
struct Source {
    /// GETs of it are watches.
    watch: String,
    /// POSTs to it are events.
    publish: &'static str,
    target: Target,
}

/// Measures each engine, then the bare server.
pub async fn measure(engines: &[Engine], seconds: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for engine in engines {
        let mut cluster = Cluster::control_plane(*engine).await?;
        let list = cluster.answers("/api/v1/namespaces/default").await?.get_json(CONFIG_MAPS).await?;
        let revision = list["metadata"]["resourceVersion"].as_str().context("a list's revision")?;
        let source = Source {
            watch: format!("{CONFIG_MAPS}?watch=true&resourceVersion={revision}"),
            publish: CONFIG_MAPS,
            target: cluster.target()?,
        };
        let measured = fan_out(&source, seconds).await?;
        drop(cluster);
        let server = limits::BareServer::spawn(b"")?;
        let target = Target::new(server.address.clone(), server.certificate.clone())?;
        let bare = Source { watch: "/watch".to_owned(), publish: "/publish", target };
        let limit = fan_out(&bare, seconds).await?;
        rows.push(Row::new(
            format!("events to {WATCHERS} watchers, {BURST} at once, {engine}"),
            format!("{:.0}/s", measured.per_second),
            format!(
                "{:.0} % of a bare axum+rustls server ({:.0}/s)",
                measured.per_second / limit.per_second * 100.0,
                limit.per_second
            ),
        ));
        rows.push(Row::new(
            format!("delay of {PACE} events/s to {WATCHERS} watchers, {engine}"),
            format!("p50 {:.1} ms, p99 {:.1} ms", measured.p50_ms, measured.p99_ms),
            format!("a bare axum+rustls server: p50 {:.1} ms, p99 {:.1} ms", limit.p50_ms, limit.p99_ms),
        ));
    }
    Ok(rows)
}

/// What a fan-out came to.
struct FanOut {
    /// Events delivered, all watchers together.
    per_second: f64,
    /// From sending an event to reading it.
    p50_ms: f64,
    p99_ms: f64,
}

async fn fan_out(source: &Source, seconds: u64) -> Result<FanOut> {
    let began = Instant::now();
    let mut writer = source.target.connect().await?;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(Watcher::open(source).await?);
    }
    let begin = Instant::now();
    let readers = read_all(watchers, BURST, began);
    for _ in 0..BURST {
        publish(&mut writer, source, began).await?;
    }
    let (watchers, _) = finished(readers).await?;
    #[expect(clippy::cast_precision_loss, reason = "at most millions of events")]
    let per_second = (BURST * WATCHERS) as f64 / begin.elapsed().as_secs_f64();
    let paced = usize::try_from(seconds)? * PACE as usize;
    let readers = read_all(watchers, paced, began);
    for _ in 0..paced {
        publish(&mut writer, source, began).await?;
        pause(Duration::from_secs(1) / PACE).await;
    }
    let (_, mut delays) = finished(readers).await?;
    delays.sort_by(f64::total_cmp);
    Ok(FanOut { per_second, p50_ms: percentile(&delays, 0.5), p99_ms: percentile(&delays, 0.99) })
}

async fn publish(writer: &mut Connection, source: &Source, began: Instant) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "event-"},
        "data": {"text": "x".repeat(400), "time": format!("sent at {} ", began.elapsed().as_nanos())},
    });
    // A line, as the bare server passes it on unchanged.
    writer.send(Method::POST, source.publish, Bytes::from(format!("{object}\n"))).await?;
    Ok(())
}

type Readers = JoinSet<Result<(Watcher, Vec<f64>)>>;

fn read_all(watchers: Vec<Watcher>, count: usize, began: Instant) -> Readers {
    watchers.into_iter().map(|watcher| watcher.read(count, began)).collect()
}

async fn finished(mut readers: Readers) -> Result<(Vec<Watcher>, Vec<f64>)> {
    let (mut watchers, mut delays) = (Vec::new(), Vec::new());
    while let Some(reader) = readers.join_next().await {
        let (watcher, more) = reader.context("a watcher panicked")??;
        watchers.push(watcher);
        delays.extend(more);
    }
    Ok((watchers, delays))
}

/// One watch.
struct Watcher {
    _connection: Connection,
    body: Incoming,
    /// What has come of a line that is not whole yet.
    rest: BytesMut,
}

impl Watcher {
    async fn open(source: &Source) -> Result<Self> {
        let mut connection = source.target.connect().await?;
        let body = connection.open(Method::GET, &source.watch, JSON, Bytes::new()).await?;
        Ok(Self { _connection: connection, body, rest: BytesMut::new() })
    }

    /// Reads so many events; how long each was under way, in milliseconds.
    async fn read(mut self, count: usize, began: Instant) -> Result<(Self, Vec<f64>)> {
        let mut delays = Vec::with_capacity(count);
        while delays.len() < count {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                delays.push(delay(&self.rest[..end], began)?);
                self.rest.advance(end + 1);
                continue;
            }
            let frame = self.body.frame().await.context("a watch ended")??;
            self.rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        Ok((self, delays))
    }
}

fn delay(line: &[u8], began: Instant) -> Result<f64> {
    let Some(at) = line.windows(SENT.len()).position(|window| window == SENT) else {
        bail!("no event: {}", String::from_utf8_lossy(line));
    };
    let digits = line[at + SENT.len()..].split(|byte| *byte == b' ').next().unwrap_or_default();
    let sent: u64 = std::str::from_utf8(digits)?.parse()?;
    Ok(began.elapsed().saturating_sub(Duration::from_nanos(sent)).as_secs_f64() * 1e3)
}
