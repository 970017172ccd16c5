//! ResourceQuota: what objects of a namespace cost fits its quotas. Costs: `api::quota`.
//!
//! The new totals are committed together with the object, so no number of parallel requests exceeds a quota and a write
//! that fails costs nothing. One request of a namespace at a time: a lock saves them from undoing each other's
//! transactions. Where several servers share a store, the loser of a race decides anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use api::pod_resources::Resources;
use api::quota::{Evaluator, Request, charge};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use super::{Attributes, Operation};
use crate::call::{parse, store_status};
use crate::encode;
use crate::storage::{self, Change, Expect};

/// Kinds that are never counted: events come and go, bindings and reviews are not stored.
const IGNORED: [(&str, &str); 3] = [("", "events"), ("events.k8s.io", "events"), ("", "bindings")];

/// One lock per namespace with quotas.
#[derive(Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            // Those that nobody holds or waits for.
            turns.retain(|name, turn| name == namespace || Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(namespace.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

pub(super) async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let call = attributes.call;
    let (group, plural, subresource) = attributes.resource();
    let namespace = attributes.namespace();
    let reviewed = !call.kind.is_stored() || IGNORED.contains(&(group, plural));
    let evaluator = Evaluator::of(group, plural);
    let free = !evaluator.handles(attributes.operation == Operation::Update, subresource);
    if namespace.is_empty() || plural == "namespaces" || reviewed || free {
        return Ok(());
    }
    let prefix = api::names::storage_prefix("", "resourcequotas", Some(namespace));
    let store = &call.server.store;
    if call.server.heard_all(&prefix).await.map_err(store_status)?.is_empty() {
        return Ok(());
    }
    attributes.hold(call.server.admission.quota_turns.take(namespace).await);
    let entries = store.list(&prefix, None, 0, None).await.map_err(store_status)?.entries;
    let quotas = entries.iter().map(|entry| parse(&entry.bytes)).collect::<Result<Vec<_>, _>>()?;
    let now = call.server.clock.now();
    let request = Request { evaluator, subresource, object, old: attributes.old, now };
    let charged = charge(&quotas, &request).map_err(|why| attributes.forbidden(object, &why))?;
    let kinds = call.server.kinds();
    let row = kinds.resource("", "v1", "resourcequotas").ok_or_else(Status::no_such_path)?;
    for (at, used) in charged {
        let (Some(entry), Some(quota)) = (entries.get(at), quotas.get(at)) else { continue };
        let change = Change::Put(encode::draft(row, &with_used(quota, &used)));
        let (key, expect) = (entry.key.to_string(), Expect::Revision(entry.mod_revision));
        attributes.require(storage::Operation { key, expect, change });
    }
    Ok(())
}

fn with_used(quota: &Value, used: &Resources) -> Value {
    let mut quota = quota.clone();
    let amounts = used.iter().map(|(name, value)| (name.clone(), json!(value.to_string())));
    quota["status"]["used"] = Value::Object(amounts.collect());
    quota
}
