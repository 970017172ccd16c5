//! The parameters a binding refers to.
//!
//! Entry points: [`kind`], [`collect`]. They are objects of any kind that is served. They are read when they are
//! needed, so that a change counts at once: a binding is nothing every request meets.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Kind, Reason};
use serde_json::Value;

use super::policies::{Binding, Policy};
use crate::admission::Attributes;
use crate::call::{Call, parse, store_status};

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
    match call.entry(name).await {
        Ok(entry) => shown(call, &entry.bytes).map(|object| vec![object]),
        Err(status) if status.reason == Reason::NotFound => Ok(Vec::new()),
        Err(status) => Err(status.message),
    }
}

async fn selected(call: &Call, selector: &Value) -> Result<Vec<Value>, String> {
    let selector = LabelSelector::from_object(selector).map_err(|error| error.0)?;
    let prefix = call.stored.prefix(call.info.namespace());
    let page = call.server.store.list(&prefix, None, 0, None).await;
    let page = page.map_err(|error| store_status(error).message)?;
    let entries = call.adopt_all(page.entries).await.map_err(|status| status.message)?;
    let objects: Result<Vec<Value>, String> = entries.iter().map(|entry| shown(call, &entry.bytes)).collect();
    Ok(objects?.into_iter().filter(|object| selector.matches_object(object)).collect())
}

fn shown(call: &Call, bytes: &bytes::Bytes) -> Result<Value, String> {
    call.visible(bytes).and_then(|bytes| parse(&bytes)).map_err(|status| status.message)
}
