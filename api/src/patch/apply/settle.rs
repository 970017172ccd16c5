//! Who keeps what after a change, and what goes because its last applier no longer wants it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Writer;
use super::conflict::{Conflict, Conflicts};
use super::managed::{Managed, Manager, Owned};
use crate::patch::field_set::FieldSet;
use crate::patch::typed::{self, Comparison, Typing};

/// An object before and after a write, compared in every version somebody owns fields of.
pub(super) struct Change<'a> {
    writer: &'a Writer<'a>,
    live: &'a Value,
    new: &'a Value,
    /// By version; `None` for one that is not served.
    comparisons: BTreeMap<String, Option<Comparison>>,
}

impl<'a> Change<'a> {
    pub(super) fn new(writer: &'a Writer<'a>, live: &'a Value, new: &'a Value) -> Self {
        Self { writer, live, new, comparisons: BTreeMap::new() }
    }

    /// Takes over a comparison already made.
    pub(super) fn know(&mut self, api_version: &str, comparison: Comparison) {
        self.comparisons.insert(api_version.to_owned(), Some(comparison));
    }

    fn comparison(&mut self, api_version: &str) -> Option<&Comparison> {
        let Self { writer, live, new, comparisons } = self;
        let compared = || {
            let typing = writer.versions.typing(api_version)?;
            let live = writer.at(live, writer.api_version, api_version)?;
            let new = writer.at(new, writer.api_version, api_version)?;
            Some(typed::compare(typing, &live, &new).without(&writer.reset))
        };
        comparisons.entry(api_version.to_owned()).or_insert_with(compared).as_ref()
    }

    /// What others than `applier` own and the change sets otherwise. Owners in versions that are not
    /// served are forgotten.
    pub(super) fn conflicts(&mut self, managed: &mut Managed, applier: &Manager) -> Conflicts {
        let mut conflicts = Vec::new();
        managed.entries.retain(|manager, owned| {
            if manager == applier {
                return true;
            }
            let Some(comparison) = self.comparison(&owned.api_version) else { return false };
            let set = owned.set.intersection(&comparison.modified.union(&comparison.added));
            conflicts.extend(set.paths().into_iter().map(|path| Conflict { manager: manager.clone(), path }));
            true
        });
        Conflicts(conflicts)
    }

    /// Takes from all but `applier` what the change sets or removes. Who is left with nothing goes.
    pub(super) fn take(&mut self, managed: &mut Managed, applier: Option<&Manager>) {
        managed.entries.retain(|manager, owned| {
            if applier != Some(manager) {
                let Some(comparison) = self.comparison(&owned.api_version) else { return false };
                for lost in [&comparison.modified, &comparison.added, &comparison.removed] {
                    owned.set.subtract(lost);
                }
            }
            !owned.set.is_empty()
        });
    }
}

impl Writer<'_> {
    /// The object in another version.
    fn at<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>> {
        if from == to {
            return Some(Cow::Borrowed(object));
        }
        self.versions.convert(object, from, to).map(Cow::Owned)
    }
}

/// Removes what the applier applied last time and nobody else owns, if it is not applied now. `managed`
/// has the applier's new set already.
pub(super) fn prune(
    writer: &Writer<'_>,
    typing: Typing<'_>,
    merged: Value,
    managed: &Managed,
    last: &Owned,
) -> Value {
    pruned(writer, typing, &merged, managed, last).unwrap_or(merged)
}

/// `None` if nothing can be decided: the last set is of a version that is not served.
fn pruned(
    writer: &Writer<'_>,
    typing: Typing<'_>,
    merged: &Value,
    managed: &Managed,
    last: &Owned,
) -> Option<Value> {
    if last.set.is_empty() {
        return None;
    }
    let version = last.api_version.as_str();
    let typing = if version == writer.api_version { typing } else { writer.versions.typing(version)? };
    let merged = writer.at(merged, writer.api_version, version)?;
    let last_set = typed::with_named_fields(typing, &last.set);
    let without = whole(typed::remove_items(typing, &merged, &last_set));
    let kept = add_back_owned(writer, version, &merged, without, managed);
    // Nothing goes that the applier did not own: items others made, or that nobody owns.
    let named = |value: &Value| typed::with_named_fields(typing, &typed::field_set(typing, value));
    let gone = named(&merged).difference(&named(&kept)).intersection(&last_set);
    let result = whole(typed::remove_items(typing, &merged, &gone));
    writer.at(&result, version, writer.api_version).map(Cow::into_owned)
}

/// Puts back what somebody owns, the applier's new set included.
fn add_back_owned(
    writer: &Writer<'_>,
    version: &str,
    merged: &Value,
    mut pruned: Value,
    managed: &Managed,
) -> Value {
    let mut owned_at: BTreeMap<&str, FieldSet> = BTreeMap::new();
    for owned in managed.entries.values() {
        let all = owned_at.entry(&owned.api_version).or_default();
        *all = all.union(&owned.set);
    }
    // The set's own version first: what the conversion needs must be there.
    let mut versions: Vec<&str> = owned_at.keys().copied().collect();
    versions.sort_by_key(|other| *other != version);
    for other in versions {
        let (Some(owned), Some(typing)) = (owned_at.get(other), writer.versions.typing(other)) else {
            continue;
        };
        let (Some(all), Some(some)) = (writer.at(merged, version, other), writer.at(&pruned, version, other))
        else {
            continue;
        };
        let named = |set: &FieldSet| typed::with_named_fields(typing, set);
        let stays = named(&typed::field_set(typing, &some)).union(&named(owned));
        let goes = named(&typed::field_set(typing, &all)).difference(&stays);
        let result = whole(typed::remove_items(typing, &all, &goes));
        if let Some(back) = writer.at(&result, other, version).map(Cow::into_owned) {
            pruned = back;
        }
    }
    pruned
}

/// An object stays one, whatever was removed.
fn whole(value: Value) -> Value {
    if value.is_null() { Value::Object(Map::new()) } else { value }
}
