//! A server process, one life after the other on the same store.
//!
//! Entry points: [`Lives::begin`] and [`Lives::end`]. The process is this test program started again as
//! [`child_that_serves`]; it ends when its standard input does, so it cannot outlive the test.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::storage::Store;
use apiserver::storage::embedded::{Embedded, Limits};
use apiserver::storage::etcd::{Etcd, Options};
use component_base::clock::RealClock;
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use rustls::ClientConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::End;
use crate::etcd_server::EtcdServer;
use crate::scene;

/// Tells a copy of this program to be the server, and where its objects are: a directory or etcd's address.
const PLACE: &str = "GANTRY_TEST_SERVER_PLACE";
/// Where its certificates are.
const PKI: &str = "GANTRY_TEST_SERVER_PKI";
/// The oldest revision it is to remember.
const FLOOR: &str = "GANTRY_TEST_SERVER_FLOOR";

/// Watches that are open must not hold up the end: one that did would be waited for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Where objects are kept between two lives of the server.
pub enum Engine {
    Embedded(tempfile::TempDir),
    Etcd(EtcdServer),
}

impl Engine {
    /// Where etcd is, if it keeps the objects.
    pub fn endpoint(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Etcd(server) => Some(server.endpoint()),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Embedded(directory) => directory.path().display().to_string(),
            Self::Etcd(server) => server.endpoint(),
        }
    }
}

/// One life of the server, as its clients know it.
#[derive(Clone)]
pub struct Life {
    pub number: usize,
    pub address: String,
    /// The revision the store was at when it was opened.
    pub newest_at_start: u64,
    pub tls: Arc<ClientConfig>,
}

/// What clients hear of the server.
#[derive(Clone)]
pub struct Told(watch::Receiver<Option<Life>>);

impl Told {
    /// The first life for which `fits` holds, once it has begun.
    pub async fn life(&mut self, fits: impl Fn(usize) -> bool) -> Life {
        let fits = |life: &Option<Life>| life.as_ref().is_some_and(|life| fits(life.number));
        self.0.wait_for(fits).await.expect("the test goes on").clone().expect("a life")
    }
}

/// The server through all its lives.
pub struct Lives {
    engine: Engine,
    pki: tempfile::TempDir,
    tls: Arc<ClientConfig>,
    told: watch::Sender<Option<Life>>,
    process: Option<Child>,
}

impl Lives {
    pub fn new(engine: Engine) -> Self {
        let (config, pki) = scene::config(None, RealClock::shared().now());
        let tls = config.pki.client_config(config.pki.admin()).expect("a configuration");
        Self { engine, pki, tls, told: watch::Sender::new(None), process: None }
    }

    pub fn told(&self) -> Told {
        Told(self.told.subscribe())
    }

    pub fn current(&self) -> Life {
        self.told.borrow().clone().expect("a server")
    }

    /// Starts the server, which forgets what is older than `floor`, and waits until it serves.
    pub async fn begin(&mut self, floor: Option<u64>) -> Life {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "process::child_that_serves", "--nocapture"])
            .env(PLACE, self.engine.place())
            .env(PKI, self.pki.path())
            .env(FLOOR, floor.unwrap_or_default().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a server process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (address, revision) = loop {
            let line = lines.next_line().await.expect("a line").expect("it serves before it ends");
            if let Some((address, revision)) =
                line.split("serving ").nth(1).and_then(|rest| rest.split_once(' '))
            {
                break (address.to_owned(), revision.parse().expect("a revision"));
            }
        };
        // The rest of its output is of no interest, but somebody must take it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let number = self.told.borrow().as_ref().map_or(0, |life| life.number + 1);
        let life = Life { number, address, newest_at_start: revision, tls: Arc::clone(&self.tls) };
        self.process = Some(child);
        self.told.send_replace(Some(life.clone()));
        life
    }

    /// Ends the server.
    pub async fn end(&mut self, how: End) {
        let mut child = self.process.take().expect("a server");
        match how {
            End::Kill { etcd } => {
                child.kill().await.expect("killed");
                if let (true, Engine::Etcd(server)) = (etcd, &mut self.engine) {
                    tokio::task::block_in_place(|| {
                        server.kill();
                        server.restart();
                    });
                }
            }
            End::Stop => {
                let began = Instant::now();
                drop(child.stdin.take());
                let status = child.wait().await.expect("it ends");
                assert!(status.success(), "the server ended with {status}");
                assert!(began.elapsed() < DRAIN_TIMEOUT, "open watches held up the end");
            }
        }
    }
}

async fn opened(place: &str) -> Arc<dyn Store> {
    // A ring shorter than what is written between two restarts: watches begin in the past that is kept.
    if place.starts_with("http") {
        let options = Options { history: None, ring_events: 100, ..Options::default() };
        return Etcd::open_with(vec![place.to_owned()], RealClock::shared(), options).await.expect("a store");
    }
    let limits = Limits { ring_events: 100, ..Limits::default() };
    Embedded::open_with(Path::new(place), RealClock::shared(), limits).expect("the store opens after its end")
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("set by the parent")
}

/// The server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_serves() {
    if std::env::var_os(PLACE).is_none() {
        return;
    }
    let store = opened(&variable(PLACE)).await;
    let newest = store.revision();
    store.compact(variable(FLOOR).parse().expect("a revision")).await.expect("compacted");
    let (clock, shutdown) = (RealClock::shared(), Shutdown::new());
    let bind = "127.0.0.1:0".parse().expect("an address");
    let config = scene::config_in(Path::new(&variable(PKI)), Some(bind), clock.now());
    let running =
        apiserver::run(config, Arc::clone(&store), clock, Rng::from_system(), shutdown.clone()).await;
    let address = running.expect("a server").address.expect("an address");
    println!("serving {address} {newest}");
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await.expect("the parent is there");
    shutdown.trigger();
    shutdown.drained().await;
    store.close().await;
}
