//! A server that is stopped and killed again and again, seen by its clients over HTTPS: no acknowledged
//! write is lost, none is applied twice, and every watcher sees the same order without gap or repetition.
//!
//! Entry point: [`play`]. `process` is the server, `client` speaks to it, `writer` and `watcher` are its
//! clients, `history` compares what they were told. The usual run is small; `GANTRY_WATCHERS=200
//! GANTRY_EVENTS=50000` and `GANTRY_KILLS=200` are the long ones; `GANTRY_WRITERS` says how many write at once.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]

#[path = "restarts/client.rs"]
mod client;
#[path = "store_contract/etcd_server.rs"]
#[allow(dead_code, reason = "only the server is used here, not the contract's store")]
mod etcd_server;
#[path = "restarts/history.rs"]
mod history;
#[path = "restarts/process.rs"]
mod process;
#[path = "scene/server.rs"]
mod scene;
#[path = "restarts/watcher.rs"]
mod watcher;
#[path = "restarts/writer.rs"]
mod writer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_server::EtcdServer;
use futures::future::join_all;
use process::{Engine, Lives};
use tokio::sync::watch;
use writer::Work;

/// How a life of the server ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It is asked to end.
    Stop,
    /// `kill -9`; with etcd below it, of that too.
    Kill { etcd: bool },
}

/// What is done to a server.
struct Plan {
    watchers: usize,
    /// Every n-th watcher is away from the first restart to the last life, which has forgotten where it was.
    sleeper: Option<usize>,
    /// Acknowledged writes after which each life but the last ends, and how.
    ends: Vec<(u64, End)>,
    /// Writes in the last life.
    rest: u64,
}

impl Plan {
    fn sleeps(&self, watcher: usize) -> bool {
        self.sleeper.is_some_and(|every| watcher % every == every - 1)
    }
}

/// About what an object of a writer here has when it is stored.
const WRITTEN_BYTES: usize = 500;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Many watchers, few restarts of both kinds.
fn many_watchers() -> Plan {
    let share = setting("GANTRY_EVENTS", 2_000) as u64 / 4;
    let ends = [End::Stop, End::Kill { etcd: false }, End::Stop].map(|end| (share, end)).to_vec();
    Plan { watchers: setting("GANTRY_WATCHERS", 20), sleeper: Some(5), ends, rest: share }
}

/// Many kills, few watchers.
fn many_kills() -> Plan {
    // Different moments: from the first group commit to long after it.
    let moment = |round: usize| (1 + (round as u64 * 7_919) % 800, End::Kill { etcd: round % 4 == 3 });
    let ends = (0..setting("GANTRY_KILLS", 6)).map(moment).collect();
    Plan { watchers: 3, sleeper: None, ends, rest: 100 }
}

/// How long etcd alone is measured.
const ALONE: Duration = Duration::from_secs(3);

/// Writes per second that etcd takes of so many writers without us: no server in front of it is faster.
async fn alone(endpoint: &str, writers: u16) -> f64 {
    let client = etcd_client::Client::connect([endpoint], None).await.expect("etcd");
    let began = Instant::now();
    let writing = (0..writers).map(|number| {
        let mut keys = client.kv_client();
        async move {
            let mut count = 0_u32;
            while began.elapsed() < ALONE {
                let value = vec![b'x'; WRITTEN_BYTES];
                keys.put(format!("/alone/{number}"), value, None).await.expect("written");
                count += 1;
            }
            count
        }
    });
    let count: u32 = join_all(writing).await.into_iter().sum();
    f64::from(count) / began.elapsed().as_secs_f64()
}

async fn play(engine: Engine, plan: Plan) {
    let endpoint = engine.endpoint();
    let mut lives = Lives::new(engine);
    let first = lives.begin(None).await;
    let from = client::newest(&first).await.expect("a list");
    let (last, progress) = (watch::Sender::new(u64::MAX), watch::Sender::new(0));
    let final_life = plan.ends.len();
    let watching = (0..plan.watchers).map(|number| {
        let wakes = plan.sleeps(number).then_some(final_life);
        tokio::spawn(watcher::follow(lives.told(), from, last.subscribe(), wakes))
    });
    let watching: Vec<_> = watching.collect();
    let over = watch::Sender::new(false);
    // So many that commits are groups.
    let writers = u16::try_from(setting("GANTRY_WRITERS", 16)).expect("a number of writers");
    let writing = (0..writers).map(|number| {
        let work = Work { number, progress: progress.clone(), over: over.subscribe() };
        tokio::spawn(work.write(lives.told()))
    });
    let writing: Vec<_> = writing.collect();

    let (started, mut goal, mut floor) = (Instant::now(), 0, from);
    let (mut began, mut served) = (Instant::now(), Duration::ZERO);
    let mut acknowledged = progress.subscribe();
    for (number, (share, end)) in plan.ends.iter().enumerate() {
        goal += share;
        acknowledged.wait_for(|done| *done >= goal).await.expect("writers go on");
        served += began.elapsed();
        lives.end(*end).await;
        if number + 1 < final_life {
            floor = lives.begin(None).await.newest_at_start;
        } else {
            lives.begin(plan.sleeper.map(|_| floor)).await;
        }
        began = Instant::now();
    }
    acknowledged.wait_for(|done| *done >= goal + plan.rest).await.expect("writers go on");
    served += began.elapsed();
    let (took, writes) = (started.elapsed().as_secs_f64(), (goal + plan.rest) as f64);
    over.send_replace(true);
    let mut written = BTreeMap::new();
    for work in join_all(writing).await {
        let work = work.expect("a writer");
        written.insert(work.number, work);
    }
    let life = lives.current();
    last.send_replace(client::create_end(&life).await.expect("the end"));
    let mut logs = Vec::new();
    for log in join_all(watching).await {
        logs.push(log.expect("a watcher"));
    }
    let listed = client::list(&life).await.expect("a list");
    lives.end(End::Stop).await;
    let told = history::check(&logs, &written, &listed);
    println!(
        "{told}; {} restarts in {took:.1} s: {:.0} acknowledged writes/s, {:.0} while it served",
        plan.ends.len(),
        writes / took,
        writes / served.as_secs_f64()
    );
    if let Some(endpoint) = endpoint {
        println!("etcd alone takes {:.0} writes/s of {writers} writers", alone(&endpoint, writers).await);
    }
    let slept = logs.iter().enumerate().filter(|(number, _)| plan.sleeps(*number));
    for (number, log) in slept {
        assert!(log.parts.len() > 1, "watcher {number} slept for too long not to list again");
    }
}

fn on_disk() -> Engine {
    Engine::Embedded(tempfile::tempdir().expect("a directory"))
}

fn on_etcd() -> Engine {
    Engine::Etcd(EtcdServer::start())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_sees_the_same_over_restarts_embedded() {
    play(on_disk(), many_watchers()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_sees_the_same_over_restarts_etcd() {
    play(on_etcd(), many_watchers()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_server_loses_nothing_and_repeats_nothing_embedded() {
    play(on_disk(), many_kills()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_server_loses_nothing_and_repeats_nothing_etcd() {
    play(on_etcd(), many_kills()).await;
}
