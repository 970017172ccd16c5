//! A definition goes after its objects (the finalizer `customresourcecleanup.apiextensions.k8s.io`).
//!
//! Entry point: [`start`]. One task per definition deletes what there is, waits for the last object by its
//! event, and then lets the definition go.

use std::sync::Arc;
use std::time::Duration;

use api::custom::establish::is_established;
use api::custom::rows;
use api::strategies::apiextensions::{CLEANUP, set_condition};
use api::{Kind, Reason, Status, object};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::definitions::{DEFINITIONS, change};
use crate::call::{Call, Server, parse, store_status};
use crate::deletion::{self, DeleteOptions};
use crate::registry::Part;

/// Pause before trying again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Begins, unless it has begun.
pub(super) fn start(server: &Arc<Server>, crd: &Value) {
    let uid = object::uid(crd).to_owned();
    if !object::finalizers(crd).contains(&CLEANUP) || !server.cleaning.lock().insert(uid.clone()) {
        return;
    }
    let (server, name) = (Arc::clone(server), object::name(crd).to_owned());
    let shutdown = server.shutdown.clone();
    shutdown.spawn_until(async move {
        loop {
            match clean(&server, &name).await {
                Ok(()) => break,
                Err(status) if status.reason == Reason::NotFound => break,
                Err(status) if status.reason == Reason::Conflict => {}
                Err(status) => {
                    tracing::warn!(
                        definition = name,
                        message = status.message,
                        "cannot delete instances yet"
                    );
                    server.clock.sleep(RETRY).await;
                }
            }
        }
        server.cleaning.lock().remove(&uid);
    });
}

async fn current(server: &Server, name: &str) -> Result<Value, Status> {
    let (group, _, plural) = DEFINITIONS;
    let key = api::names::storage_key(group, plural, None, name);
    server.stored(&key).await?.ok_or_else(|| Status::not_found(group, plural, name))
}

async fn clean(server: &Arc<Server>, name: &str) -> Result<(), Status> {
    let crd = current(server, name).await?;
    if !object::is_deleting(&crd) || !object::finalizers(&crd).contains(&CLEANUP) {
        return Ok(());
    }
    let mut verdict = ("False", "NeverEstablished", "resource was never established");
    if is_established(&crd) {
        let progress = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
        say(server, crd, progress, false).await?;
        let crd = current(server, name).await?;
        if let Some(kind) = storage_row(&crd) {
            delete_all(server, &Arc::new(kind)).await?;
        }
        verdict = ("False", "InstanceDeletionCompleted", "removed all instances");
    }
    say(server, current(server, name).await?, verdict, true).await
}

/// Writes the condition, and with it, at the end, the finalizers without ours.
async fn say(
    server: &Arc<Server>,
    mut crd: Value,
    verdict: (&str, &str, &str),
    done: bool,
) -> Result<(), Status> {
    set_condition(&mut crd, "Terminating", verdict, &server.now());
    if done {
        let left: Vec<&str> = object::finalizers(&crd).into_iter().filter(|f| *f != CLEANUP).collect();
        let left = json!(left);
        object::metadata_mut(&mut crd).insert("finalizers".to_owned(), left);
    }
    change(server, &crd, Part::Whole).await
}

/// The row of the version objects are stored in, served or not.
fn storage_row(crd: &Value) -> Option<Kind> {
    let mut crd = crd.clone();
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["served"] = version["storage"].clone();
    }
    rows(&crd, 0).into_iter().next()
}

async fn delete_all(server: &Arc<Server>, kind: &Arc<Kind>) -> Result<(), Status> {
    let prefix = kind.prefix(None);
    let mut events = server.store.watch(&prefix, server.store.revision()).await.map_err(store_status)?;
    loop {
        let page = server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
        if page.entries.is_empty() {
            return Ok(());
        }
        for entry in &page.entries {
            let instance = parse(&entry.bytes)?;
            if object::is_deleting(&instance) {
                continue;
            }
            let call = Call::internal(server, kind, object::namespace(&instance), object::name(&instance));
            match deletion::delete_admitted(&call, object::name(&instance), &DeleteOptions::default()).await {
                Err(status) if status.reason != Reason::NotFound => return Err(status),
                _ => {}
            }
        }
        if server.store.list(&prefix, None, 1, None).await.map_err(store_status)?.entries.is_empty() {
            return Ok(());
        }
        match events.next().await {
            Some(event) => drop(event.map_err(store_status)?),
            None => return Err(Status::unavailable("the store is closed")),
        }
    }
}
