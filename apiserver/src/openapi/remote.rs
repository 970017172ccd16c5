//! Other servers' parts of the OpenAPI 2.0 document.
//!
//! Entry point: [`merge`]. Definitions that we have ourselves are ours; others of the same name that differ get a
//! number, as upstream's merge does (kube-openapi's aggregator, which also numbers those that differ from its own).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::aggregator::Remotes;

const REFERENCE: &str = "#/definitions/";

/// What other servers add to the document.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) paths: Map<String, Value>,
    pub(super) definitions: Map<String, Value>,
    /// Names of our definitions that theirs refer to.
    pub(super) shared: BTreeSet<String>,
}

/// All paths and definitions of other servers; `ours` says which definitions we have.
pub(super) fn merge(remotes: &Remotes, ours: impl Fn(&str) -> bool) -> Merged {
    let mut merged = Merged::default();
    for remote in remotes {
        merged.shared.extend(remote.v2.definitions.keys().filter(|name| ours(name)).cloned());
        let names = names(&remote.v2.definitions, &merged.definitions, &ours);
        for (name, definition) in &remote.v2.definitions {
            if let Some(new) = names.get(name) {
                merged.definitions.insert(new.clone(), renamed(definition, &names));
            }
        }
        let paths = remote.v2.paths.iter().map(|(path, item)| (path.clone(), renamed(item, &names)));
        merged.paths.extend(paths);
    }
    merged
}

/// What each new definition is to be called; those that we have are left out.
fn names(
    new: &Map<String, Value>,
    merged: &Map<String, Value>,
    ours: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let name = |name: &String, definition: &Value| {
        let taken = |candidate: &str| merged.get(candidate).is_some_and(|other| other != definition);
        let numbered = (2..).map(|number| format!("{name}_v{number}"));
        std::iter::once(name.clone()).chain(numbered).find(|candidate| !taken(candidate))
    };
    new.iter()
        .filter(|(name, _)| !ours(name))
        .filter_map(|(old, definition)| Some((old.clone(), name(old, definition)?)))
        .collect()
}

/// A part of a document with its references renamed.
fn renamed(part: &Value, names: &BTreeMap<String, String>) -> Value {
    match part {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| {
                    let target = value.as_str().filter(|_| key == "$ref");
                    let new = target.and_then(|to| names.get(to.strip_prefix(REFERENCE)?));
                    let value = match new {
                        Some(new) => format!("{REFERENCE}{new}").into(),
                        None => renamed(value, names),
                    };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(|item| renamed(item, names)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::aggregator::{Remote, Swagger};

    #[test]
    fn definitions_that_differ_get_a_number() {
        let remote = |version: &str, kind: &str| {
            let map = |value: Value| value.as_object().cloned().unwrap_or_default();
            Arc::new(Remote {
                group: "a".to_owned(),
                version: version.to_owned(),
                priorities: (1, 1),
                resources: Vec::new(),
                fresh: true,
                v3: None,
                v2: Arc::new(Swagger {
                    paths: map(json!({format!("/apis/a/{version}/x"): {"$ref": "#/definitions/X"}})),
                    definitions: map(json!({"X": {"type": kind}, "ObjectMeta": {"type": "old"}})),
                }),
            })
        };
        let remotes = vec![remote("v1", "object"), remote("v2", "string"), remote("v3", "object")];
        let merged = merge(&remotes, |name| name == "ObjectMeta");
        assert_eq!(merged.shared.iter().collect::<Vec<_>>(), ["ObjectMeta"]);
        assert_eq!(
            Value::Object(merged.definitions),
            json!({"X": {"type": "object"}, "X_v2": {"type": "string"}})
        );
        assert_eq!(
            Value::Object(merged.paths),
            json!({"/apis/a/v1/x": {"$ref": "#/definitions/X"}, "/apis/a/v2/x": {"$ref": "#/definitions/X_v2"},
                   "/apis/a/v3/x": {"$ref": "#/definitions/X"}})
        );
    }
}
