//! Everything in a namespace as it was at an earlier time.
//!
//! Entry point: [`run`]; [`is_wish`] is pure. What controllers make of other objects comes of itself; what was created
//! since stays, and is named.

use std::collections::BTreeMap;

use api::{KindTable, object};
use serde_json::Value;

use super::{DryRun, put_back};
use crate::ctl::connection::{Connection, query};
use crate::ctl::resources::{Resource, Resources};
use crate::ctl::{Failure, Outcome};

/// Objects asked for at once.
const PAGE: &str = "250";

/// Puts the objects of a namespace back; one's failure does not keep the others away.
pub(super) async fn run(
    connection: &Connection,
    resources: &Resources,
    namespace: &str,
    moment: &str,
    dry_run: DryRun,
) -> Outcome {
    let (mut failures, mut changed) = (Vec::new(), 0);
    let table = api::kinds::builtin();
    for resource in resources.preferred().filter(|resource| holds_wishes(&table, resource)) {
        let collection = resource.collection(Some(namespace));
        let past = objects(connection, resource, &collection, moment).await?;
        let mut present = objects(connection, resource, &collection, "").await?;
        for (name, object) in past {
            let current = present.remove(&name);
            match put_back(connection, resource, (namespace, &name), current, (&object, moment), dry_run)
                .await
            {
                Ok(different) => changed += usize::from(different),
                Err(failure) => failures.push(failure.during("restoring", &name)),
            }
        }
        for name in present.into_keys() {
            println!("{}/{name} was created since, and stays", resource.singular_name());
        }
    }
    if changed == 0 && failures.is_empty() {
        println!("what namespace/{namespace} holds is as it was at {moment}");
    }
    Failure::all(failures)
}

/// Whether people write such objects, and they stay until somebody deletes them.
fn holds_wishes(table: &KindTable, resource: &Resource) -> bool {
    let can = |verb| resource.verbs.iter().any(|known| known == verb);
    let row = table.resource(&resource.group, &resource.version, &resource.plural);
    resource.namespaced
        && ["list", "create", "update"].into_iter().all(can)
        && row.is_none_or(|row| !row.strategy.is_report() && row.strategy.lifetime().is_none())
}

/// Whether an object stands for itself, and nobody makes it anew of another.
fn is_wish(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    !owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// The objects of a collection by name, now or as they were.
async fn objects(
    connection: &Connection,
    resource: &Resource,
    collection: &str,
    moment: &str,
) -> Outcome<BTreeMap<String, Value>> {
    let (mut all, mut token) = (BTreeMap::new(), String::new());
    loop {
        let pairs = [("limit", PAGE), ("continue", token.as_str()), ("gantry.dev/at", moment)];
        let page = connection.get(&format!("{collection}{}", query(&pairs))).await?;
        for item in page["items"].as_array().into_iter().flatten().filter(|item| is_wish(item)) {
            // Items of a list do not say what they are.
            let mut object = item.clone();
            object["apiVersion"] = resource.api_version().into();
            object["kind"] = resource.kind.as_str().into();
            all.insert(object::name(&object).to_owned(), object);
        }
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => next.clone_into(&mut token),
            _ => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_made_of_another_is_no_wish() {
        let owned = |controller: bool| json!({"metadata": {"ownerReferences": [{"controller": controller}]}});
        assert!(is_wish(&json!({"metadata": {}})));
        assert!(is_wish(&owned(false)));
        assert!(!is_wish(&owned(true)));
    }
}
