//! One request on its way through the handlers, and the server it talks to.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::kinds::Converted;
use api::object::Index;
use api::{Kind, KindTable, Status};
use bytes::Bytes;
use component_base::clock::{SharedClock, rfc3339_seconds};
use component_base::rng::Rng;
use component_base::shutdown::Shutdown;
use component_base::user::UserInfo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::admission::policy::policies::Policies;
use crate::admission::webhook::configurations::Hooks;
use crate::admission::webhook::namespaces::Namespaces;
use crate::aggregator::{Delegations, Remotes};
use crate::allocators::Allocators;
use crate::audit::{Audit, Trail};
use crate::authn::Authentication;
use crate::authz::Authorizers;
use crate::backends::Backends;
use crate::flow_control::FlowControl;
use crate::followed::Followed;
use crate::negotiation::Accepted;
use crate::openapi::OpenApi;
use crate::registry::owners;
use crate::request::{Options, RequestInfo};
use crate::storage::{Author, Committed, Draft, Entry, Operation, Store, StoreError};
use crate::{Config, admission, custom_resources, encode, metrics, node_proxy, webhook_client};

/// The table of kinds and what is made of it, swapped together.
pub(crate) struct Served {
    pub(crate) kinds: Arc<KindTable>,
    pub(crate) openapi: Arc<OpenApi>,
    /// What other servers serve.
    pub(crate) remotes: Arc<Remotes>,
    /// What was counted of requests for them.
    pub(crate) requests: metrics::Requests,
}

impl Served {
    /// A table, with documents yet to be made.
    pub(crate) fn new(kinds: KindTable) -> Self {
        Self::after(None, Arc::new(kinds), Arc::default())
    }

    /// A table that replaces this one.
    pub(crate) fn replaced(&self, kinds: KindTable) -> Self {
        Self::after(Some(self), Arc::new(kinds), Arc::clone(&self.remotes))
    }

    /// The same table beside what other servers serve now.
    pub(crate) fn with_remotes(&self, remotes: Remotes) -> Self {
        Self::after(Some(self), Arc::clone(&self.kinds), Arc::new(remotes))
    }

    fn after(before: Option<&Self>, kinds: Arc<KindTable>, remotes: Arc<Remotes>) -> Self {
        let documents = before.map(|before| before.openapi.as_ref());
        let openapi = OpenApi::after(documents, KindTable::clone(&kinds), &remotes);
        Self { kinds, openapi: Arc::new(openapi), remotes, requests: metrics::Requests::default() }
    }
}

/// Everything handlers share.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    /// What is served now; whoever depends on it subscribes.
    pub(crate) served: watch::Sender<Arc<Served>>,
    /// Rows made of definitions.
    pub(crate) custom_rows: custom_resources::Rows,
    /// Uids of definitions whose objects are being deleted.
    pub(crate) cleaning: Mutex<BTreeSet<String>>,
    pub(crate) authentication: Authentication,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) shutdown: Shutdown,
    pub(crate) allocators: Allocators,
    pub(crate) audit: Audit,
    pub(crate) flow_control: FlowControl,
    pub(crate) admission: admission::Chain,
    /// Versions of groups that other servers serve.
    pub(crate) delegations: Followed<Delegations>,
    pub(crate) hooks: Followed<Hooks>,
    pub(crate) policies: Followed<Policies>,
    pub(crate) namespaces: Followed<Namespaces>,
    /// Where Services lead.
    pub(crate) backends: Followed<Backends>,
    pub(crate) webhook_clients: webhook_client::Clients,
    pub(crate) nodes: node_proxy::Nodes,
    /// Who decides who may do what.
    pub(crate) authz: Authorizers,
    /// `host:port` that others reach this server at.
    pub(crate) address: String,
}

impl Server {
    /// What is served now.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.borrow())
    }

    /// The table of kinds as it is now.
    pub(crate) fn kinds(&self) -> Arc<KindTable> {
        Arc::clone(&self.served.borrow().kinds)
    }

    /// The documents of the table of kinds as it is now.
    pub(crate) fn openapi(&self) -> Arc<OpenApi> {
        Arc::clone(&self.served.borrow().openapi)
    }

    /// metav1.Time of now.
    pub(crate) fn now(&self) -> String {
        rfc3339_seconds(self.clock.now())
    }

    /// Reads a stored object, parsed.
    pub(crate) async fn stored(&self, key: &str) -> Result<Option<Value>, Status> {
        match self.store.get(key, None).await.map_err(store_status)? {
            Some(entry) => parse(&entry.bytes).map(Some),
            None => Ok(None),
        }
    }

    /// An entry as far as this server has heard; only for one it has not heard of is the store asked, which may be
    /// elsewhere. For decisions that are checked at the commit, or may be made on the state of a moment ago.
    pub(crate) async fn heard(&self, key: &str) -> Result<Option<Arc<Entry>>, StoreError> {
        match self.store.get(key, Some(self.store.revision())).await? {
            None => self.store.get(key, None).await,
            found => Ok(found),
        }
    }

    /// All entries below a prefix as far as this server has heard.
    pub(crate) async fn heard_all(&self, prefix: &str) -> Result<Vec<Arc<Entry>>, StoreError> {
        let page = self.store.list(prefix, None, 0, Some(self.store.revision())).await?;
        Ok(page.entries)
    }
}

/// One request.
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    /// Who asks.
    pub(crate) user: UserInfo,
    /// `User-Agent` as sent; empty if none was.
    pub(crate) user_agent: String,
    pub(crate) info: Arc<RequestInfo>,
    pub(crate) options: Options,
    /// The row the path names.
    pub(crate) kind: Arc<Kind>,
    /// The row in whose form objects are stored; the same one for most kinds.
    pub(crate) stored: Arc<Kind>,
    /// Texts for `Warning` headers.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// What is written down of it, if anything is.
    pub(crate) trail: Option<Arc<Trail>>,
}

impl Call {
    /// A call of the server's own, for an object of a kind.
    pub(crate) fn internal(server: &Arc<Server>, kind: &Arc<Kind>, namespace: &str, name: &str) -> Self {
        let info = RequestInfo {
            verb: "create",
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            namespace: namespace.to_owned(),
            resource: kind.plural.to_string(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        Self {
            server: Arc::clone(server),
            user: UserInfo::component("system:apiserver", &["system:masters"]),
            user_agent: "kube-apiserver".to_owned(),
            info: Arc::new(info),
            options: Options::default(),
            stored: stored_row(&server.kinds(), kind),
            kind: Arc::clone(kind),
            warnings: Mutex::default(),
            trail: None,
        }
    }

    /// The field manager: as named, or the program in `User-Agent` (upstream's `managerOrUserAgent`).
    pub(crate) fn manager(&self) -> String {
        owners::manager(&self.options, &self.user_agent)
    }

    /// Keeps what was sent for the audit log, if its policy wants it.
    pub(crate) fn audit_sent(&self, object: &Value) {
        if let Some(trail) = &self.trail {
            trail.sent(object);
        }
    }

    /// What history says of who made this call's change.
    pub(crate) fn author(&self) -> Option<Arc<Author>> {
        let verb = [self.info.verb, self.info.subresource.as_str()].join(" ").trim_end().to_owned();
        Some(Arc::new(Author { user: self.user.name.clone(), manager: self.manager(), verb }))
    }

    /// Writes in the caller's name. Who changes what admission is decided by finds it decided so afterwards.
    pub(crate) async fn commit(&self, operations: Vec<Operation>) -> Result<Committed, StoreError> {
        let key = operations.first().map(|operation| operation.key.clone()).unwrap_or_default();
        let committed = self.server.store.transact_as(operations, self.author()).await?;
        let Server { hooks, policies, namespaces, .. } = &*self.server;
        hooks.shows(&key).await;
        policies.shows(&key).await;
        namespaces.shows(&key).await;
        Ok(committed)
    }

    /// Storage key of an object of this call's kind and namespace.
    pub(crate) fn key(&self, name: &str) -> String {
        self.stored.key(self.info.namespace(), name)
    }

    /// From the row's form to the stored one.
    pub(crate) fn to_storage(&self, object: &mut Value) {
        if let Some(Converted { to_storage, .. }) = self.kind.converted() {
            to_storage(object);
        }
    }

    /// From the stored form to the row's.
    pub(crate) fn to_row(&self, object: &mut Value) {
        if let Some(Converted { from_storage, .. }) = self.kind.converted() {
            from_storage(object);
        }
    }

    /// Stored bytes as this row's caller sees them.
    pub(crate) fn visible(&self, bytes: &Bytes) -> Result<Bytes, Status> {
        if self.kind.converted().is_none() {
            return Ok(bytes.clone());
        }
        let mut object = parse(bytes)?;
        self.to_row(&mut object);
        Ok(Bytes::from(object.to_string()))
    }

    /// What was negotiated, with the query's wish for indented JSON.
    pub(crate) fn pretty(&self, accepted: Accepted) -> Accepted {
        Accepted { pretty: accepted.pretty || self.options.pretty, ..accepted }
    }

    /// 404 for an object of this call.
    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, name)
    }

    /// Adds a warning for the caller.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }

    /// Tells the audit log something, if the request is written down; what was said first under a key stays.
    pub(crate) fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some(trail) = &self.trail {
            trail.annotate(key, value);
        }
    }

    /// The entry of an object in the form this call works on, 404 if it is not there.
    pub(crate) async fn entry(&self, name: &str) -> Result<Arc<Entry>, Status> {
        self.adopt(self.stored_entry(name).await?).await
    }

    /// The entry of an object as it is stored, 404 if it is not there.
    pub(crate) async fn stored_entry(&self, name: &str) -> Result<Arc<Entry>, Status> {
        let entry = self.server.store.get(&self.key(name), None).await.map_err(store_status)?;
        entry.ok_or_else(|| self.not_found(name))
    }

    /// A stored entry in the form this call works on: custom objects may be kept in another version.
    pub(crate) async fn adopt(&self, entry: Arc<Entry>) -> Result<Arc<Entry>, Status> {
        match &self.stored.custom {
            None => Ok(entry),
            Some(_) => {
                let mut one = custom_resources::adopt(self, vec![entry]).await?;
                one.pop().ok_or_else(|| Status::internal("a stored object could not be converted"))
            }
        }
    }

    /// Like [`Self::adopt`] for many at once.
    pub(crate) async fn adopt_all(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
        match &self.stored.custom {
            None => Ok(entries),
            Some(_) => custom_resources::adopt(self, entries).await,
        }
    }

    /// An object this call worked on, encoded as it is to be stored.
    pub(crate) async fn draft(&self, object: &Value) -> Result<Draft, Status> {
        match &self.stored.custom {
            None => Ok(encode::draft(&self.stored, object)),
            Some(custom) => custom_resources::draft(self, custom, object).await,
        }
    }
}

/// The row in whose form objects of `kind` are kept.
pub(crate) fn stored_row(kinds: &KindTable, kind: &Arc<Kind>) -> Arc<Kind> {
    kind.converted()
        .and_then(|other| kinds.resource(&other.group, &other.version, &other.plural))
        .map_or_else(|| Arc::clone(kind), Arc::clone)
}

/// What selectors see of an entry.
pub(crate) fn index<'a>(entry: &'a Entry, stored: &Kind) -> &'a Index {
    entry.index.get_or_init(|| Index::parse(&entry.bytes, &stored.selectable_fields))
}

/// Parses bytes this server stored.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// What callers hear of stored bytes that are no JSON.
pub(crate) fn unreadable(error: serde_json::Error) -> Status {
    tracing::error!(%error, "a stored object is not JSON");
    Status::internal("a stored object could not be read")
}

/// A store failure as callers see it. Conflicts are for the caller to explain.
pub(crate) fn store_status(error: StoreError) -> Status {
    match error {
        StoreError::Compacted { asked, floor } => {
            Status::expired(format!("too old resource version: {asked} ({floor})"))
        }
        StoreError::Future { asked, current } => {
            let mut status = Status::new(
                api::Reason::Timeout,
                format!("Too large resource version: {asked}, current: {current}"),
            );
            status.retry_after_seconds = Some(1);
            status.causes = vec![api::Cause {
                reason: "ResourceVersionTooLarge",
                field: String::new(),
                message: "Too large resource version".to_owned(),
            }];
            status
        }
        StoreError::Full(detail) => {
            Status::new(api::Reason::InsufficientStorage, format!("the disk is full: {detail}"))
        }
        StoreError::Unavailable(detail) => {
            Status::unavailable(format!("the store cannot be reached: {detail}"))
        }
        StoreError::TooLarge(detail) => Status::new(api::Reason::RequestEntityTooLarge, detail),
        StoreError::Sealed(text) => {
            tracing::error!(text, "a stored object cannot be read or written");
            Status::internal(text)
        }
        StoreError::Closed => Status::unavailable("the server is shutting down"),
        StoreError::Conflict { key, .. } => {
            tracing::error!(key, "a store conflict reached a place that expects none");
            Status::internal("the object was changed at the same time")
        }
        other @ (StoreError::Damaged(_) | StoreError::Version(_) | StoreError::Engine { .. }) => {
            tracing::error!(error = %other, "the store failed");
            Status::internal("the store failed; see the server's log")
        }
    }
}
