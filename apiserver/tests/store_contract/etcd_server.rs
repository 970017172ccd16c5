//! A real etcd for one test, and a store on it that counts from where it began.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use apiserver::storage::etcd::{Etcd, Options};
use apiserver::storage::{
    Author, Committed, Entry, Event, EventStream, Expect, Operation, Page, Revision, Store, StoreError,
    Version,
};
use component_base::clock::RealClock;
use futures::StreamExt as _;

const BINARY: &str = "/usr/bin/etcd";

/// An etcd process on loopback; ends with this value.
pub struct EtcdServer {
    process: Child,
    directory: tempfile::TempDir,
    ports: [u16; 2],
}

impl EtcdServer {
    /// Starts an empty etcd and waits until it serves.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Both are held until both are known, so that they differ.
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = listeners.each_ref().map(|listener| listener.local_addr().expect("an address").port());
        drop(listeners);
        let process = serve(directory.path(), ports);
        Self { process, directory, ports }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }

    /// Starts it again with what it had.
    pub fn restart(&mut self) {
        self.process = serve(self.directory.path(), self.ports);
    }

    pub async fn open(&self, options: Options) -> Arc<Etcd> {
        Etcd::open_with(vec![self.endpoint()], RealClock::shared(), options).await.expect("a store on etcd")
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        // It may have been killed by its test already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(directory: &Path, ports: [u16; 2]) -> Child {
    assert!(Path::new(BINARY).exists(), "{BINARY} is missing: run `cargo xtask setup`");
    let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let mut process = Command::new(BINARY)
        .args(["--logger", "zap", "--log-outputs", "stderr"])
        // The contract writes a thousand keys at once; etcd's default is 128.
        .args(["--max-txn-ops", "10000"])
        .args(["--heartbeat-interval", "10", "--election-timeout", "100"])
        .arg("--data-dir")
        .arg(directory)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd starts");
    let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let ready = line.contains("serving client traffic");
        seen.push(line);
        if ready {
            // A full pipe would stop it.
            std::thread::spawn(move || lines.for_each(drop));
            return process;
        }
    }
    let status = process.wait().expect("it ended");
    panic!("etcd ended with {status}: {}", seen.join("\n"));
}

/// What the contract uses: its keys do not begin with `/registry/`, and it compacts by itself.
pub fn options(ring_events: usize) -> Options {
    Options { root: "/".to_owned(), history: None, ring_events, ..Options::default() }
}

/// A store on etcd whose revisions count from `origin`: etcd begins at 1, the contract at 0.
pub struct FromOrigin {
    store: Arc<Etcd>,
    origin: Revision,
    _server: Option<EtcdServer>,
}

impl FromOrigin {
    /// A store on an etcd of its own.
    pub async fn start(ring_events: usize) -> Arc<Self> {
        let server = EtcdServer::start();
        let store = server.open(options(ring_events)).await;
        let origin = store.revision();
        Arc::new(Self { store, origin, _server: Some(server) })
    }

    /// A store on an etcd that outlives it.
    pub async fn on(server: &EtcdServer, ring_events: usize, origin: Option<Revision>) -> Arc<Self> {
        let store = server.open(options(ring_events)).await;
        let origin = origin.unwrap_or_else(|| store.revision());
        Arc::new(Self { store, origin, _server: None })
    }

    pub fn origin(&self) -> Revision {
        self.origin
    }

    fn entry(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        shifted(entry, self.origin)
    }

    fn version(&self, version: Version) -> Version {
        let entry = version.entry.map(|entry| self.entry(&entry));
        Version { revision: version.revision - self.origin, entry, ..version }
    }

    fn error(&self, error: StoreError) -> StoreError {
        error_from(error, self.origin)
    }
}

fn shifted(entry: &Arc<Entry>, origin: Revision) -> Arc<Entry> {
    let text = String::from_utf8(entry.bytes.to_vec()).expect("text");
    let field = |revision: Revision| format!(r#""resourceVersion":"{revision}""#);
    let (theirs, ours) = (field(entry.mod_revision), field(entry.mod_revision - origin));
    assert!(text.contains(&theirs), "{text} at {}", entry.mod_revision);
    Arc::new(Entry {
        key: Arc::clone(&entry.key),
        bytes: text.replace(&theirs, &ours).into(),
        create_revision: entry.create_revision - origin,
        mod_revision: entry.mod_revision - origin,
        index: OnceLock::new(),
    })
}

fn error_from(error: StoreError, origin: Revision) -> StoreError {
    match error {
        StoreError::Compacted { asked, floor } => {
            StoreError::Compacted { asked: asked.saturating_sub(origin), floor: floor.saturating_sub(origin) }
        }
        StoreError::Future { asked, current } => {
            StoreError::Future { asked: asked - origin, current: current - origin }
        }
        StoreError::Conflict { key, current } => {
            StoreError::Conflict { key, current: current.map(|entry| shifted(&entry, origin)) }
        }
        other => other,
    }
}

#[async_trait::async_trait]
impl Store for FromOrigin {
    fn revision(&self) -> Revision {
        self.store.revision() - self.origin
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        let found = self.store.get(key, at.map(|at| at + self.origin)).await;
        found.map(|entry| entry.map(|entry| self.entry(&entry))).map_err(|error| self.error(error))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let at = at.map(|at| at + self.origin);
        let page = self.store.list(prefix, after, limit, at).await.map_err(|error| self.error(error))?;
        let entries = page.entries.iter().map(|entry| self.entry(entry)).collect();
        Ok(Page { entries, revision: page.revision - self.origin, remaining: page.remaining })
    }

    async fn transact_as(
        &self,
        mut operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError> {
        for operation in &mut operations {
            if let Expect::Revision(revision) = &mut operation.expect {
                *revision += self.origin;
            }
        }
        let committed =
            self.store.transact_as(operations, author).await.map_err(|error| self.error(error))?;
        let entries = committed.entries.iter().map(|entry| entry.as_ref().map(|e| self.entry(e))).collect();
        Ok(Committed { revision: committed.revision - self.origin, entries })
    }

    async fn versions(&self, key: &str, limit: usize) -> Result<Vec<Version>, StoreError> {
        let found = self.store.versions(key, limit).await.map_err(|error| self.error(error))?;
        Ok(found.into_iter().map(|version| self.version(version)).collect())
    }

    async fn removals(
        &self,
        prefix: &str,
        after: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let found = self.store.removals(prefix, after, since + self.origin, limit).await;
        Ok(found.map_err(|e| self.error(e))?.into_iter().map(|version| self.version(version)).collect())
    }

    async fn revision_at(&self, time: i64) -> Result<Revision, StoreError> {
        let found = self.store.revision_at(time).await.map_err(|error| self.error(error))?;
        Ok(found - self.origin)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError> {
        let origin = self.origin;
        let events = self.store.watch(prefix, after + origin).await.map_err(|error| self.error(error))?;
        let ours = move |event: Event| Event {
            revision: event.revision - origin,
            entry: event.entry.map(|entry| shifted(&entry, origin)),
            previous: event.previous.map(|entry| shifted(&entry, origin)),
        };
        Ok(events.map(move |event| event.map(ours).map_err(|error| error_from(error, origin))).boxed())
    }

    async fn compact(&self, floor: Revision) -> Result<(), StoreError> {
        self.store.compact(floor + self.origin).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
