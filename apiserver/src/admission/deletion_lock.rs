//! DeletionLock: what carries the annotation [`LOCK`] is not deleted, by nobody, until the annotation is taken off; nor
//! is what it would go with ([`Contents`]): its namespace, or what defines its kind. The annotation's value says why.
//!
//! Kubernetes has no such plugin. A lock stops slips, not people: whoever may change the object may unlock it.

use std::collections::BTreeSet;

use api::strategy::Contents;
use api::{Kind, Status, object};
use serde_json::Value;

use super::Attributes;
use crate::call::{parse, store_status};

/// The annotation that locks an object against deletion.
const LOCK: &str = "gantry.dev/deletion-lock";
/// How many locked objects a refusal names.
const NAMED: usize = 5;

/// Refuses to begin a deletion. One that has begun goes on.
pub(super) async fn validate(attributes: &Attributes<'_>) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|old| !object::is_deleting(old)) else { return Ok(()) };
    if let Some(why) = reason(old) {
        let why = if why.is_empty() { String::new() } else { format!(" ({why:?})") };
        let detail = format!("it is locked against deletion{why}: take off the annotation {LOCK} first");
        return Err(attributes.forbidden(old, &detail));
    }
    let locked = match attributes.call.stored.strategy.contents(old) {
        Some(Contents::Namespace(name)) => locked_in(attributes, Some(&name), Kind::namespaced).await?,
        Some(Contents::Resource(group, plural)) => {
            locked_in(attributes, None, |kind| kind.group == group && kind.plural == plural).await?
        }
        None => return Ok(()),
    };
    if locked.is_empty() {
        return Ok(());
    }
    let more = locked.len().saturating_sub(NAMED);
    let mut names = locked[..locked.len() - more].join(", ");
    if more > 0 {
        names += &format!(" and {more} more");
    }
    let detail = format!("it holds what is locked against deletion by the annotation {LOCK}: {names}");
    Err(attributes.forbidden(old, &detail))
}

/// What an object's lock says, if it has one.
fn reason(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LOCK].as_str()
}

/// The locked objects of the kinds that are asked for, as `RESOURCE "NAME"`.
async fn locked_in(
    attributes: &Attributes<'_>,
    namespace: Option<&str>,
    asked: impl Fn(&Kind) -> bool,
) -> Result<Vec<String>, Status> {
    let server = &attributes.call.server;
    let kinds = server.kinds();
    let stored = kinds.iter().filter(|kind| kind.is_stored() && asked(kind));
    // Several versions stand in one place.
    let places: BTreeSet<_> = stored.map(|kind| (kind.prefix(namespace), &kind.plural)).collect();
    let mut locked = Vec::new();
    for (prefix, plural) in places {
        let page = server.store.list(&prefix, None, 0, None).await.map_err(store_status)?;
        let marked = page.entries.iter().filter(|entry| {
            // Few objects are locked: what does not have the word anywhere need not be read.
            str::from_utf8(&entry.bytes).is_ok_and(|text| text.contains(LOCK))
        });
        for entry in marked {
            let object = parse(&entry.bytes)?;
            if reason(&object).is_some() && !object::is_deleting(&object) {
                locked.push(format!("{plural} {:?}", object::name(&object)));
            }
        }
    }
    Ok(locked)
}
