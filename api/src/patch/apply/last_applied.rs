//! The way from client-side to server-side apply: the manager `kubectl` may take over, without force, what
//! its `last-applied-configuration` annotation says it set; and the annotation follows what it applies, so
//! that client-side apply goes on working.

use serde_json::Value;

use super::Writer;
use super::conflict::Conflicts;
use crate::patch::field_set::FieldSet;
use crate::patch::typed::{self, Duplicates, Typing};
use crate::three_way::LAST_APPLIED;

/// The one manager this is for; another name opts out.
pub(super) const MANAGER: &str = "kubectl";
/// All annotations of an object together; upstream's `TotalAnnotationSizeLimitB`.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Which conflicts the annotation explains.
pub(super) enum Excused {
    /// Every one.
    All,
    /// These remain.
    Not(Conflicts),
}

/// Judges conflicts by the annotation.
pub(super) fn excuse(writer: &Writer<'_>, typing: Typing<'_>, live: &Value, conflicts: Conflicts) -> Excused {
    let Some(allowed) = allowed(writer, typing, live) else { return Excused::Not(conflicts) };
    let remain: Vec<_> = conflicts.0.into_iter().filter(|conflict| !allowed.has(&conflict.path)).collect();
    if remain.is_empty() { Excused::All } else { Excused::Not(Conflicts(remain)) }
}

/// What was applied last and still stands as it was applied.
fn allowed(writer: &Writer<'_>, typing: Typing<'_>, live: &Value) -> Option<FieldSet> {
    let text = annotation(live)?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != writer.api_version {
        return None;
    }
    for value in [&last, live] {
        typed::check(typing, value, Duplicates::Refused).ok()?;
    }
    let change = typed::compare(typing, &last, live);
    let set = typed::field_set(typing, &last);
    Some(set.difference(&change.modified).difference(&change.added).difference(&change.removed))
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// Writes the configuration into the annotation of an object that has one.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config["metadata"].get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let Some(Value::Object(annotations)) = object["metadata"].get_mut("annotations") else { return };
    // Go's encoder ends a document with a newline.
    annotations.insert(LAST_APPLIED.to_owned(), format!("{config}\n").into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}
