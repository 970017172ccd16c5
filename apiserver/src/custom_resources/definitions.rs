//! Keeps the served table what the definitions say.
//!
//! Entry points: [`load`] before the server answers, then [`run`]. A definition's rows are served, and with
//! them discovery and OpenAPI, before its status says `Established`: whoever waits for that finds them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::custom::establish::{is_established, settle};
use api::custom::rows;
use api::{Kind, KindTable, Reason, Status, object};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::cleanup;
use crate::call::{Call, Served, Server, parse, store_status};
use crate::registry::{self, Part};

/// Group, version and plural of definitions.
pub(super) const DEFINITIONS: (&str, &str, &str) =
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Pause before looking again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Rows by definition, and what they were made of: what did not change keeps its schemas, by which watches
/// know that they may go on.
#[derive(Default)]
pub(crate) struct Rows(Mutex<BTreeMap<String, Made>>);

/// What was made of one definition.
struct Made {
    essence: Value,
    terminating: bool,
    rows: Vec<Arc<Kind>>,
}

/// A definition as stored.
struct Stored {
    crd: Value,
    revision: u64,
}

/// Serves what is established already.
pub(crate) async fn load(server: &Arc<Server>) -> Result<(), Status> {
    let stored = read(server).await?;
    serve(server, stored.iter().filter(|s| is_established(&s.crd)).map(|s| (&s.crd, s.revision)), 0);
    Ok(())
}

/// Follows all definitions for ever.
pub(crate) async fn run(server: Arc<Server>) {
    loop {
        if let Err(status) = follow(&server).await {
            tracing::warn!(message = status.message, "custom resource definitions could not be followed");
            server.clock.sleep(RETRY).await;
        }
    }
}

/// Ends when the watch does.
async fn follow(server: &Arc<Server>) -> Result<(), Status> {
    let prefix = api::names::storage_prefix(DEFINITIONS.0, DEFINITIONS.2, None);
    let mut events = server.store.watch(&prefix, server.store.revision()).await.map_err(store_status)?;
    sync(server).await?;
    while let Some(event) = events.next().await {
        event.map_err(store_status)?;
        sync(server).await?;
    }
    Ok(())
}

async fn read(server: &Server) -> Result<Vec<Stored>, Status> {
    let prefix = api::names::storage_prefix(DEFINITIONS.0, DEFINITIONS.2, None);
    let page = server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
    let stored = page
        .entries
        .iter()
        .map(|entry| Ok(Stored { crd: parse(&entry.bytes)?, revision: entry.mod_revision }));
    stored.collect()
}

/// Decides anew about all definitions: serves first, says so then.
async fn sync(server: &Arc<Server>) -> Result<(), Status> {
    let stored = read(server).await?;
    let now = server.now();
    let mut settled: Vec<Value> = stored.iter().map(|s| s.crd.clone()).collect();
    let mut order: Vec<usize> = (0..settled.len()).collect();
    order.sort_by_key(|at| {
        let crd = settled.get(*at);
        let age = crd.map(|crd| object::meta_str(crd, "creationTimestamp").to_owned());
        (age, crd.map(|crd| object::name(crd).to_owned()))
    });
    for at in order {
        let Some(crd) = settled.get(at).filter(|crd| !object::is_deleting(crd)) else { continue };
        let decided = settle(crd, settled.iter(), &now);
        if let Some(slot) = settled.get_mut(at) {
            *slot = decided;
        }
    }
    let established = settled.iter().zip(&stored).filter(|(crd, _)| is_established(crd));
    serve(server, established.map(|(crd, stored)| (crd, stored.revision)), server.store.revision());
    for (crd, before) in settled.iter().zip(&stored) {
        if *crd != before.crd {
            report(server, crd).await?;
        }
        if object::is_deleting(crd) {
            cleanup::start(server, crd);
        }
    }
    Ok(())
}

/// Swaps the table if these definitions need another one.
fn serve<'a>(server: &Server, established: impl Iterator<Item = (&'a Value, u64)>, revision: u64) {
    let mut known = server.custom_rows.0.lock();
    let mut made = BTreeMap::new();
    let mut changed = false;
    for (crd, written) in established {
        let (essence, terminating) = (essence(crd), object::is_deleting(crd));
        let name = object::name(crd).to_owned();
        let entry = match known.remove(&name) {
            Some(made) if made.essence == essence && made.terminating == terminating => made,
            Some(made) if made.essence == essence => {
                changed = true;
                let rows = made.rows.iter().map(|row| Arc::new(row.as_ref().clone().closing())).collect();
                Made { essence, terminating, rows }
            }
            _ => {
                changed = true;
                let rows = rows(crd, written.max(revision)).into_iter().map(Arc::new).collect();
                Made { essence, terminating, rows }
            }
        };
        made.insert(name, entry);
    }
    changed |= !known.is_empty();
    *known = made;
    if changed {
        let builtin = server.config.kinds.iter().cloned();
        // Built-in kinds cannot be replaced.
        let custom = known
            .values()
            .flat_map(|made| made.rows.iter().cloned())
            .filter(|row| server.config.kinds.resource(&row.group, &row.version, &row.plural).is_none());
        let table = KindTable::of(builtin.chain(custom));
        server.served.send_modify(|served| *served = Arc::new(served.replaced(table)));
    }
}

/// What rows depend on.
fn essence(crd: &Value) -> Value {
    json!([crd["metadata"]["uid"], crd["spec"], crd["status"]["acceptedNames"]])
}

/// Writes a status. Who changed the definition meanwhile has caused an event, and we come again.
async fn report(server: &Arc<Server>, crd: &Value) -> Result<(), Status> {
    match change(server, crd, Part::Status).await {
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => Err(status),
        _ => Ok(()),
    }
}

/// Writes a definition over the version it was made of.
pub(super) async fn change(server: &Arc<Server>, crd: &Value, part: Part) -> Result<(), Status> {
    let kinds = server.kinds();
    let (group, version, plural) = DEFINITIONS;
    let Some(kind) = kinds.resource(group, version, plural) else { return Ok(()) };
    let name = object::name(crd);
    let call = Call::internal(server, kind, "", name);
    registry::update(&call, name, part, |_| Ok(crd.clone())).await.map(|_| ())
}

/// Ends when a kind is not served any more, or its definition has changed.
pub(crate) async fn superseded(server: Arc<Server>, kind: Arc<Kind>) {
    let mut served = server.served.subscribe();
    let gone = |served: &Arc<Served>| {
        let row = served.kinds.resource(&kind.group, &kind.version, &kind.plural);
        let custom = |kind: &Kind| kind.custom.clone();
        let same = |row: &Arc<Kind>| match (custom(row), custom(&kind)) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
            _ => false,
        };
        !row.is_some_and(same)
    };
    // An error would mean that the server is gone, and this with it.
    let _ = served.wait_for(gone).await;
}
