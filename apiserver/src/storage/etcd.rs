//! Objects in an etcd v3 cluster, which several API servers may share.
//!
//! Entry point: [`Etcd::open`]. etcd's `mod_revision` is our revision. One etcd watch ([`follower`]) keeps
//! the current entries and recent events in memory ([`super::hub`]). It covers all keys and not only ours:
//! every revision then has an event, so memory knows how far it has come even while others write.
//!
//! How it stays consistent: a write answers once its revision has come back through the watch. A read of
//! "now" first asks etcd, which asks a majority of its servers, for its newest revision and waits
//! until memory has reached it, so what any API server was told before is seen by all. Readers that
//! wait at the same time share one question. The past that memory no longer has is read from etcd.
//!
//! While etcd is away requests fail with [`StoreError::Unavailable`], watches stay open and go on without
//! gap or repetition from the last revision seen. A write that was cut off may have happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use component_base::clock::SharedClock;
use component_base::metrics::{self, HistogramVec, REQUEST_SECONDS};
use etcd_client::{Error, TxnResponse};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::hub::{Hub, RingLimits};
use super::past::{self, Past};
use super::{
    Author, Committed, Entry, Event, EventStream, Operation, Page, Resealed, Revision, Store, StoreError,
    Version,
};
use crate::encryption::Encryption;

mod authors;
mod connection;
mod follower;
mod history;
mod leases;
mod reseal;
mod transaction;
mod turns;
mod value;

use connection::{Connection, failed, is_compacted, is_lease_gone};
use follower::Follower;
use leases::Leases;
use transaction::Plan;
use turns::Turns;
use value::Root;

/// How long a request waits for what etcd has already answered to come through the watch, and a watch
/// for its past. Normally a millisecond; longer only while the connection is made anew.
const CATCH_UP: Duration = Duration::from_secs(20);

/// How often a transaction is settled anew because others that share the etcd changed what it amends.
const MOST_TRIES: usize = 16;

/// Upstream counts by resource, too; a transaction here has objects of several.
static TRANSACTION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Time etcd took, in seconds.";
    let labels = ["operation", "group", "resource"];
    metrics::histogram("etcd_request_duration_seconds", help, &labels, &REQUEST_SECONDS)
});

/// How the engine uses etcd.
#[derive(Debug, Clone)]
pub struct Options {
    /// What our keys begin with; other keys are left alone.
    pub root: String,
    /// Revisions older than this are compacted away, as Kubernetes' API server does. Several API servers
    /// each do so; the quickest wins. `None` leaves it to etcd's own settings.
    pub history: Option<Duration>,
    /// Recent events in memory.
    pub ring_events: usize,
    /// Bytes that recent events keep in memory.
    pub ring_bytes: usize,
    /// What encrypts values.
    pub encryption: Encryption,
}

impl Default for Options {
    /// Five minutes of history, upstream's `--etcd-compaction-interval`; memory as for the embedded engine.
    fn default() -> Self {
        Self {
            root: "/registry/".to_owned(),
            history: Some(Duration::from_mins(5)),
            ring_events: 8_192,
            ring_bytes: 16 << 20,
            encryption: Encryption::default(),
        }
    }
}

/// Whether etcd answers.
#[derive(Clone)]
enum Link {
    Up(Arc<Connection>),
    /// Why not.
    Down(String),
    Closed,
}

/// What requests and the follower share.
struct Shared {
    hub: Arc<Hub>,
    root: Root,
    clock: SharedClock,
    link: watch::Sender<Link>,
    /// The revision that `hub` shows; raised after it.
    reached: watch::Sender<Revision>,
}

/// The newest revision etcd told of, and the number of the question.
#[derive(Default)]
struct Told {
    question: u64,
    revision: Revision,
}

/// The engine.
pub struct Etcd {
    shared: Arc<Shared>,
    /// Questions for the newest revision asked so far.
    questions: AtomicU64,
    told: tokio::sync::Mutex<Told>,
    leases: Leases,
    turns: Turns,
    /// Held for reading by every transaction; whether the store is closed.
    closed: tokio::sync::RwLock<bool>,
    follower: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Etcd {
    /// Connects to the first of `endpoints` (`http://HOST:PORT`) that answers and reads what it holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none answers; the text says what each one said.
    pub async fn open(endpoints: Vec<String>, clock: SharedClock) -> Result<Arc<Self>, StoreError> {
        Self::open_with(endpoints, clock, Options::default()).await
    }

    /// Connects with options of its own.
    ///
    /// # Errors
    /// As [`Etcd::open`].
    pub async fn open_with(
        endpoints: Vec<String>,
        clock: SharedClock,
        options: Options,
    ) -> Result<Arc<Self>, StoreError> {
        let root = Root { start: options.root, encryption: options.encryption };
        let (endpoint, connection, position) = follower::first(&endpoints).await?;
        let act = || failed("read what etcd holds");
        let floor = connection.floor().await.map_err(act())?;
        // Beginning a little earlier fills the ring, so watches from before a restart need no replay.
        let back = position.revision.saturating_sub(options.ring_events as u64);
        let (at, current) = match connection.load(&root, back.max(floor).max(1)).await {
            // Another API server compacted just now.
            Err(error) if is_compacted(&error) => {
                (position.revision, connection.load(&root, position.revision).await.map_err(act())?)
            }
            loaded => (back.max(floor).max(1), loaded.map_err(act())?),
        };
        let ring = RingLimits { events: options.ring_events, bytes: options.ring_bytes };
        let stream = connection.watch(at, false).await.map_err(act())?;
        let shared = Arc::new(Shared {
            hub: Hub::new(current, at, floor, ring),
            root,
            clock: Arc::clone(&clock),
            link: watch::Sender::new(Link::Up(Arc::new(connection))),
            reached: watch::Sender::new(at),
        });
        let follower = Follower {
            shared: Arc::clone(&shared),
            endpoints,
            endpoint,
            cluster: position.cluster,
            history: options.history,
        };
        let follower = tokio::spawn(follower.run(stream));
        let store = Arc::new(Self {
            shared,
            questions: AtomicU64::new(0),
            told: tokio::sync::Mutex::default(),
            leases: Leases::new(clock),
            turns: Turns::default(),
            closed: tokio::sync::RwLock::new(false),
            follower: Mutex::new(Some(follower)),
        });
        store.shared.reach(position.revision).await?;
        Ok(store)
    }

    /// Sends a transaction, whose keys go with a lease if they have a lifetime.
    async fn send(
        &self,
        connection: &Connection,
        plan: &Plan,
        (time, author): (i64, Option<&Author>),
    ) -> Result<TxnResponse, Error> {
        let root = &self.shared.root;
        let Some(lifetime) = plan.lifetime() else {
            return connection.transact(plan.request(root, time, author, None)).await;
        };
        let lease = self.leases.lease(connection, lifetime).await?;
        match connection.transact(plan.request(root, time, author, Some(lease))).await {
            // Somebody revoked it, which took nothing of ours: an etcd refuses such a transaction as a whole.
            Err(error) if is_lease_gone(&error) => {
                self.leases.forget(lease).await;
                let lease = self.leases.lease(connection, lifetime).await?;
                connection.transact(plan.request(root, time, author, Some(lease))).await
            }
            answer => answer,
        }
    }

    /// What etcd makes of settled operations, and its revision then.
    async fn attempt(
        &self,
        operations: Vec<Operation>,
        author: Option<&Author>,
    ) -> Result<(Revision, Result<Committed, StoreError>), StoreError> {
        let connection = self.shared.connection()?;
        let time = self.shared.clock.now().as_millisecond();
        let plan = Plan::new(operations, &self.shared.root, &self.shared.hub)?;
        let asked = self.shared.clock.monotonic();
        let answer = self.send(&connection, &plan, (time, author)).await;
        let took = self.shared.clock.monotonic().saturating_sub(asked);
        TRANSACTION_SECONDS.with_label_values(&["txn", "", ""]).observe(took.as_secs_f64());
        let answer = answer.map_err(failed("write to etcd"))?;
        let newest = answer.header().map(|header| value::revision(header.revision())).unwrap_or_default();
        Ok((newest, plan.outcome(&answer, &self.shared.root)))
    }

    /// etcd's newest revision, asked for after this call began.
    async fn newest(&self) -> Result<Revision, StoreError> {
        let asked_before = self.questions.load(Ordering::SeqCst);
        let mut told = self.told.lock().await;
        if told.question > asked_before {
            return Ok(told.revision);
        }
        let connection = self.shared.connection()?;
        let question = self.questions.fetch_add(1, Ordering::SeqCst) + 1;
        let position = connection.position().await.map_err(failed("ask etcd for its revision"))?;
        *told = Told { question, revision: position.revision };
        Ok(position.revision)
    }

    /// Waits until memory shows everything that was written before this call.
    async fn be_current(&self) -> Result<(), StoreError> {
        let newest = self.newest().await?;
        self.shared.reach(newest).await
    }

    /// The oldest readable revision, and the newest.
    async fn kept(&self) -> Result<(Revision, Revision), StoreError> {
        self.be_current().await?;
        let connection = self.shared.connection()?;
        let floor = connection.floor().await.map_err(failed("ask etcd how far back it reaches"))?;
        // Revision 1 is the empty etcd.
        Ok((floor.max(1), self.shared.hub.revision().max(1)))
    }

    /// Adds when and by whom versions were made.
    async fn signed(&self, mut versions: Vec<Version>) -> Result<Vec<Version>, StoreError> {
        let connection = self.shared.connection()?;
        for version in &mut versions {
            authors::sign(&connection, &self.shared.root, version).await?;
        }
        past::opened_versions(versions, &self.shared.root.encryption)
    }

    async fn prepare(&self, at: Option<Revision>) -> Result<(), StoreError> {
        match at {
            None => self.be_current().await,
            Some(at) => self.know(at).await,
        }
    }
}

impl Shared {
    fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        match &*self.link.borrow() {
            Link::Up(connection) => Ok(Arc::clone(connection)),
            Link::Down(why) => Err(StoreError::Unavailable(why.clone())),
            Link::Closed => Err(StoreError::Closed),
        }
    }

    /// Waits until memory shows a revision that etcd is known to have.
    async fn reach(&self, revision: Revision) -> Result<(), StoreError> {
        let mut reached = self.reached.subscribe();
        let mut link = self.link.subscribe();
        tokio::select! {
            biased;
            _ = reached.wait_for(|seen| *seen >= revision) => Ok(()),
            _ = link.wait_for(|link| matches!(link, Link::Closed)) => Err(StoreError::Closed),
            () = self.clock.sleep(CATCH_UP) => Err(StoreError::Unavailable(format!(
                "etcd has revision {revision}, but it did not come through the watch in {} s",
                CATCH_UP.as_secs()
            ))),
        }
    }
}

impl Past for Etcd {
    fn seals(&self) -> Encryption {
        self.shared.root.encryption.clone()
    }

    async fn entry(&self, key: &str, at: Revision) -> Result<Option<Arc<Entry>>, StoreError> {
        history::entry_at(&*self.shared.connection()?, &self.shared.root, key, at).await
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Revision,
    ) -> Result<Page, StoreError> {
        let connection = self.shared.connection()?;
        history::page_at(&connection, &self.shared.root, (prefix, after), limit, at).await
    }

    async fn events(&self, prefix: &str, after: Revision, upto: Revision) -> Result<Vec<Event>, StoreError> {
        let connection = self.shared.connection()?;
        let replay = history::events_between(&connection, &self.shared.root, prefix, after, upto);
        tokio::select! {
            past = replay => past,
            () = self.shared.clock.sleep(CATCH_UP) => Err(StoreError::Unavailable(
                format!("etcd did not send the events after revision {after}"),
            )),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    fn revision(&self) -> Revision {
        self.shared.hub.revision()
    }

    fn encryption(&self) -> Encryption {
        self.shared.root.encryption.clone()
    }

    async fn reseal(&self) -> Result<Resealed, StoreError> {
        let connection = self.shared.connection()?;
        let mut all = Resealed::default();
        for prefix in self.shared.root.encryption.prefixes() {
            reseal::rewrite(&connection, &self.shared.root, &prefix, &mut all).await?;
        }
        Ok(all)
    }

    async fn know(&self, asked: Revision) -> Result<(), StoreError> {
        if asked <= self.shared.hub.revision() {
            return Ok(());
        }
        let current = self.newest().await?;
        if asked > current {
            return Err(StoreError::Future { asked, current });
        }
        self.shared.reach(asked).await
    }

    fn expires(&self) -> bool {
        true
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<Entry>>, StoreError> {
        self.prepare(at).await?;
        past::get(&self.shared.hub, self, key, at).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.prepare(at).await?;
        past::list(&self.shared.hub, self, (prefix, after), limit, at).await
    }

    async fn transact_as(
        &self,
        operations: Vec<Operation>,
        author: Option<Arc<Author>>,
    ) -> Result<Committed, StoreError> {
        let closed = self.closed.read().await;
        if *closed {
            return Err(StoreError::Closed);
        }
        let mut turns = self.turns.take(&operations).await;
        let mut tries = 0;
        let (newest, outcome) = loop {
            tries += 1;
            let settled = match turns.settle(&operations, &self.shared.hub) {
                Err(StoreError::Conflict { key, current }) => {
                    drop(turns);
                    // Who then reads again must not find what was refused.
                    self.shared.reach(current.as_ref().map_or(0, |entry| entry.mod_revision)).await?;
                    return Err(StoreError::Conflict { key, current });
                }
                settled => settled?,
            };
            let (newest, outcome) = self.attempt(settled, author.as_deref()).await?;
            if !turns.learn(&operations, &outcome) || tries == MOST_TRIES {
                break (newest, outcome);
            }
        };
        drop(turns);
        // After a refusal too: who then reads again must not find what was refused.
        self.shared.reach(newest).await?;
        outcome
    }

    async fn versions(&self, key: &str, limit: usize) -> Result<Vec<Version>, StoreError> {
        let (floor, now) = self.kept().await?;
        let stood = Past::entry(self, key, floor).await?;
        let mut all: Vec<Version> = stood
            .map(|entry| authors::unsigned(Arc::clone(&entry.key), entry.mod_revision, Some(entry)))
            .into_iter()
            .collect();
        for event in Past::events(self, key, floor, now).await? {
            all.extend(authors::version_of(event).filter(|version| &*version.key == key));
        }
        let newest = all.split_off(all.len().saturating_sub(limit));
        self.signed(newest).await
    }

    async fn removals(
        &self,
        prefix: &str,
        after: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let (floor, now) = self.kept().await?;
        let events = Past::events(self, prefix, since.clamp(floor, now), now).await?;
        let last: BTreeMap<Arc<str>, Version> = events
            .into_iter()
            .filter_map(authors::version_of)
            .map(|version| (Arc::clone(&version.key), version))
            .collect();
        let wanted = last
            .into_values()
            .filter(|version| version.entry.is_none() && after.is_none_or(|after| &*version.key > after));
        self.signed(wanted.take(limit).collect()).await
    }

    async fn revision_at(&self, time: i64) -> Result<Revision, StoreError> {
        let (floor, now) = self.kept().await?;
        let connection = self.shared.connection()?;
        authors::revision_at(&connection, &self.shared.root, (floor, now), time).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<EventStream, StoreError> {
        self.know(after).await?;
        past::watch(&self.shared.hub, self, prefix, after).await
    }

    async fn compact(&self, floor: Revision) -> Result<(), StoreError> {
        let floor = floor.min(self.shared.hub.revision());
        if floor > self.shared.hub.floor() {
            let connection = self.shared.connection()?;
            connection.compact(floor).await.map_err(failed("compact etcd"))?;
            self.shared.hub.raise_floor(floor);
        }
        Ok(())
    }

    async fn close(&self) {
        // Waits for the transactions that are under way.
        *self.closed.write().await = true;
        self.shared.link.send_replace(Link::Closed);
        let follower = self.follower.lock().take();
        if let Some(follower) = follower {
            // One that panicked follows no more either.
            let _panicked = follower.await;
        }
        self.shared.hub.close();
    }
}
