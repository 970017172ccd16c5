//! Keeps the list of updaters short: everybody who ever wrote would else stay in it.

use std::collections::BTreeMap;

use super::managed::{Managed, Manager, Operation};

/// More updaters than this are merged, the oldest first (upstream's `DefaultMaxUpdateManagers`).
const MAX_UPDATERS: usize = 10;
/// Who owns what was merged.
const ANCIENT: &str = "ancient-changes";

/// Merges the oldest updaters of a version until at most ten are left.
pub(super) fn cap_updaters(managed: &mut Managed) {
    let is_update = |manager: &&Manager| manager.operation == Operation::Update;
    let mut updaters: Vec<Manager> = managed.entries.keys().filter(is_update).cloned().collect();
    let mut left = updaters.len();
    if left <= MAX_UPDATERS {
        return;
    }
    let age = |manager: &Manager| managed.entries.get(manager).and_then(|owned| owned.time.clone());
    updaters.sort_by_cached_key(|manager| (age(manager), manager.clone()));
    let mut first_of: BTreeMap<String, Manager> = BTreeMap::new();
    for manager in updaters {
        if left <= MAX_UPDATERS {
            return;
        }
        let Some(owned) = managed.entries.get(&manager).cloned() else { continue };
        let version = owned.api_version.clone();
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, manager);
            continue;
        };
        let bucket = Manager::new(ANCIENT, Operation::Update, &version, "");
        if !managed.entries.contains_key(&bucket)
            && let Some(oldest) = managed.entries.remove(first)
        {
            managed.entries.insert(bucket.clone(), oldest);
        }
        managed.entries.remove(&manager);
        left -= 1;
        if let Some(ancient) = managed.entries.get_mut(&bucket) {
            ancient.set = owned.set.union(&ancient.set);
            // The merged change is the younger one.
            ancient.time = owned.time;
        }
    }
}
