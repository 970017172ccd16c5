//! ResourceQuota: what objects of a namespace cost fits its quotas. Costs: `api::quota`.
//!
//! The cost is added to what a quota has used in the transaction that writes the object, on whatever others have made
//! of the quota by then: no number of parallel requests exceeds a quota, none waits for another's commit, and a write
//! that fails costs nothing. Where there is no room any more by then, the request is decided anew.

use std::sync::Arc;

use api::Status;
use api::quota::{Charge, Evaluator, Request, charge};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::call::{parse, store_status};
use crate::encode;
use crate::storage::{self, Amendment, Change, Entry, Expect};

/// Kinds that are never counted: events come and go, bindings and reviews are not stored.
const IGNORED: [(&str, &str); 3] = [("", "events"), ("events.k8s.io", "events"), ("", "bindings")];

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
    let heard = call.server.heard_all(&prefix).await.map_err(store_status)?;
    if heard.is_empty() {
        return Ok(());
    }
    let now = call.server.clock.now();
    let request = Request { evaluator, subresource, object, old: attributes.old, now };
    let charges = match charges(&heard, &request)? {
        Ok(charges) => charges,
        // Only what is so now is a reason to refuse.
        Err(_) => {
            let entries = call.server.store.list(&prefix, None, 0, None).await.map_err(store_status)?.entries;
            charges(&entries, &request)?.map_err(|why| attributes.forbidden(object, &why))?
        }
    };
    let kinds = call.server.kinds();
    let row = kinds.resource("", "v1", "resourcequotas").ok_or_else(Status::no_such_path)?;
    for (key, charge) in charges {
        let row = Arc::clone(row);
        let change = Change::Amend(Amendment::new(move |entry: &Entry| {
            let quota = serde_json::from_slice(&entry.bytes).ok()?;
            Some(encode::draft(&row, &charge.on(quota)?))
        }));
        attributes.require(storage::Operation { key, expect: Expect::Present, change });
    }
    Ok(())
}

/// What the request costs the quotas, by their keys, or why it may not be.
fn charges(
    entries: &[Arc<Entry>],
    request: &Request<'_>,
) -> Result<Result<Vec<(String, Charge)>, String>, Status> {
    let quotas = entries.iter().map(|entry| parse(&entry.bytes)).collect::<Result<Vec<_>, _>>()?;
    let key = |at: usize| entries.get(at).map(|entry| entry.key.to_string());
    Ok(charge(quotas, request)
        .map(|charges| charges.into_iter().filter_map(|(at, charge)| Some((key(at)?, charge))).collect()))
}
