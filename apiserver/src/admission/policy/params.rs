//! The parameters a binding refers to.
//!
//! Entry points: [`kind`], [`collect`]. They are objects of any kind that is served, taken as this server has heard of
//! them: the store, which may be elsewhere, is asked only for one that is named and not known.

use std::sync::Arc;

use api::Kind;
use api::selector::LabelSelector;
use serde_json::Value;

use super::policies::{Binding, Policy};
use crate::admission::Attributes;
use crate::call::{Call, index, parse, store_status};
use crate::storage::Entry;

/// The row of a policy's parameters, if it has any.
///
/// # Errors
/// When nothing serves it.
pub(super) fn kind(attributes: &Attributes<'_>, policy: &Policy) -> Result<Option<Arc<Kind>>, String> {
    let Some((api_version, kind)) = &policy.param_kind else { return Ok(None) };
    let kinds = attributes.call.server.kinds();
    let found = kinds.kind(api_version, kind).cloned();
    // Go writes the core group as nothing before the slash.
    let shown = if api_version.contains('/') { api_version.clone() } else { format!("/{api_version}") };
    let unknown = || format!("failed to find resource referenced by paramKind: '{shown}, Kind={kind}'");
    found.map(Some).ok_or_else(unknown)
}

/// The objects a policy is evaluated with under a binding: one after the other, `None` for without any. Nothing at
/// all if there are none and the binding says so.
///
/// # Errors
/// What is wrong with the binding.
pub(super) async fn collect(
    attributes: &Attributes<'_>,
    kind: Option<&Arc<Kind>>,
    binding: &Binding,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (kind, &binding.param_ref) else { return Ok(vec![None]) };
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let namespace = match (kind.namespaced(), text("namespace")) {
        (true, "") if attributes.namespace().is_empty() => {
            let problem =
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(problem.to_owned());
        }
        (true, "") => attributes.namespace(),
        (true, named) => named,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let call = Call::internal(&attributes.call.server, kind, namespace, text("name"));
    let found = match text("name") {
        "" => selected(&call, &reference["selector"]).await?,
        name => named(&call, name).await?,
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}

async fn named(call: &Call, name: &str) -> Result<Vec<Value>, String> {
    let found = call.server.heard(&call.key(name)).await.map_err(|error| store_status(error).message)?;
    adopted(call, found.into_iter().collect()).await
}

async fn selected(call: &Call, selector: &Value) -> Result<Vec<Value>, String> {
    let selector = LabelSelector::from_object(selector).map_err(|error| error.0)?;
    let prefix = call.stored.prefix(call.info.namespace());
    let mut entries = call.server.heard_all(&prefix).await.map_err(|error| store_status(error).message)?;
    entries.retain(|entry| selector.matches(&index(entry, &call.stored).labels));
    adopted(call, entries).await
}

/// The objects in the form of the policy's kind.
async fn adopted(call: &Call, entries: Vec<Arc<Entry>>) -> Result<Vec<Value>, String> {
    let entries = call.adopt_all(entries).await.map_err(|status| status.message)?;
    let shown = |entry: &Arc<Entry>| call.visible(&entry.bytes).and_then(|bytes| parse(&bytes));
    entries.iter().map(shown).collect::<Result<_, _>>().map_err(|status| status.message)
}
