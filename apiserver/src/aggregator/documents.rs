//! What other servers say of themselves, as discovery and OpenAPI show it with our own.
//!
//! Entry points: [`read`] asks a server, [`publish`] swaps what is served. A server that does not answer keeps its
//! last documents and is called stale, as upstream's discovery aggregator does.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Delegation, Delegations, proxy};
use crate::call::Server;
use crate::document::Document;
use crate::openapi::Encoding;

const JSON: &str = "application/json";
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// What is known of one version of a group that another server serves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remote {
    pub(crate) group: String,
    pub(crate) version: String,
    /// `groupPriorityMinimum` and `versionPriority`.
    pub(crate) priorities: (i64, i64),
    /// `resources` of an `APIVersionDiscovery`.
    pub(crate) resources: Vec<Value>,
    /// Whether the server answered when it was last asked.
    pub(crate) fresh: bool,
    /// URL of its OpenAPI 3.0 document below the server's root, with its hash.
    pub(crate) v3: Option<String>,
    /// Its part of the server's OpenAPI 2.0 document.
    pub(crate) v2: Arc<Swagger>,
}

/// Paths and definitions of an OpenAPI 2.0 document.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Swagger {
    pub(crate) paths: Map<String, Value>,
    pub(crate) definitions: Map<String, Value>,
}

/// All of them, in no order.
pub(crate) type Remotes = Vec<Arc<Remote>>;

impl Remote {
    /// Of a server that does not answer.
    pub(super) fn stale(delegation: &Delegation, known: Option<&Self>) -> Self {
        let unknown = || Self {
            group: delegation.group.clone(),
            version: delegation.version.clone(),
            priorities: delegation.priorities,
            resources: Vec::new(),
            fresh: false,
            v3: None,
            v2: Arc::default(),
        };
        known.map_or_else(unknown, |known| Self {
            fresh: false,
            priorities: delegation.priorities,
            ..known.clone()
        })
    }

    fn is_of(&self, delegation: &Delegation) -> bool {
        self.group == delegation.group && self.version == delegation.version
    }
}

/// What is known of a delegation.
pub(super) fn of(server: &Server, delegation: &Delegation) -> Option<Arc<Remote>> {
    server.served.borrow().remotes.iter().find(|remote| remote.is_of(delegation)).cloned()
}

/// Serves what became known of a delegation.
pub(super) fn publish(server: &Server, delegation: &Delegation, remote: Remote) {
    if of(server, delegation).is_some_and(|known| *known == remote) {
        return;
    }
    server.served.send_modify(|served| {
        let others = served.remotes.iter().filter(|known| !known.is_of(delegation)).cloned();
        let remotes = others.chain([Arc::new(remote)]).collect();
        *served = Arc::new(served.with_remotes(remotes));
    });
}

/// Forgets what belongs to no delegation any more.
pub(super) fn keep_only(server: &Server, known: &Delegations) {
    let kept = |remote: &Arc<Remote>| known.0.values().any(|delegation| remote.is_of(delegation));
    if !server.served.borrow().remotes.iter().all(kept) {
        server.served.send_modify(|served| {
            let remotes = served.remotes.iter().filter(|remote| kept(remote)).cloned().collect();
            *served = Arc::new(served.with_remotes(remotes));
        });
    }
}

/// The OpenAPI 3.0 document of a delegated version, which its server writes, in the encoding that it answers with;
/// `None` if the path names none.
pub(crate) async fn openapi_v3(server: &Server, path: &str, encoding: Encoding) -> Option<Document> {
    let group_version = path.strip_prefix("/openapi/v3/apis/")?;
    let delegation = super::find(server, &format!("/apis/{group_version}"))?;
    let remote = of(server, &delegation)?;
    let url = remote.v3.as_deref()?;
    match proxy::get(server, &delegation, url, encoding.v3_media_type()).await {
        Ok((StatusCode::OK, media, body)) => {
            let encoding = if media.contains("protobuf") { Encoding::Protobuf } else { Encoding::Json };
            Some(Document::plain(encoding.v3_media_type(), body.to_vec()))
        }
        _ => None,
    }
}

/// Asks the server for its documents. The large one is read again only when the small ones say that it changed,
/// or cannot say.
pub(super) async fn read(server: &Server, delegation: &Delegation, known: Option<&Remote>) -> Remote {
    let resources = match resources(server, delegation).await {
        Ok(resources) => resources,
        Err(problem) => {
            tracing::info!(api_service = delegation.name, problem, "its discovery could not be read");
            return Remote::stale(delegation, known);
        }
    };
    let path = format!("apis/{}/{}", delegation.group, delegation.version);
    let v3 = match json(server, delegation, "/openapi/v3", JSON).await {
        Ok(index) => index["paths"][&path]["serverRelativeURL"].as_str().map(str::to_owned),
        Err(_) => None,
    };
    let v2 = match known.filter(|known| v3.is_some() && known.v3 == v3) {
        Some(known) => Arc::clone(&known.v2),
        None => match json(server, delegation, "/openapi/v2", JSON).await {
            Ok(document) => Arc::new(Swagger::below(&format!("/{path}/"), document)),
            Err(_) => Arc::default(),
        },
    };
    Remote { resources, fresh: true, v3, v2, ..Remote::stale(delegation, None) }
}

/// A JSON document.
async fn json(server: &Server, delegation: &Delegation, path: &str, accept: &str) -> Result<Value, String> {
    match proxy::get(server, delegation, path, accept).await? {
        (StatusCode::OK, _, body) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
        (code, ..) => Err(format!("failed to download {path}: {code}")),
    }
}

/// Its resources: from aggregated discovery if the server has it, else from the version's own list.
async fn resources(server: &Server, delegation: &Delegation) -> Result<Vec<Value>, String> {
    let Delegation { group, version, .. } = delegation;
    let (code, media, body) = proxy::get(server, delegation, "/apis", AGGREGATED).await?;
    if code == StatusCode::OK && media.contains("as=APIGroupDiscoveryList") && media.contains("v=v2;") {
        let list: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let items = list["items"].as_array().into_iter().flatten();
        let ours = items.filter(|item| item["metadata"]["name"] == **group);
        let versions = ours.flat_map(|item| item["versions"].as_array().into_iter().flatten());
        let found = versions.into_iter().find(|item| item["version"] == **version);
        return Ok(found.and_then(|item| item["resources"].as_array().cloned()).unwrap_or_default());
    }
    let list = json(server, delegation, &format!("/apis/{group}/{version}"), JSON).await?;
    Ok(aggregated(list["resources"].as_array().map_or(&[], Vec::as_slice)))
}

/// `APIResource`s as `APIResourceDiscovery`s: subresources stand in the resource they belong to.
fn aggregated(resources: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for resource in resources {
        let name = resource["name"].as_str().unwrap_or_default();
        let kind = json!({
            "group": resource["group"].as_str().unwrap_or_default(),
            "version": resource["version"].as_str().unwrap_or_default(),
            "kind": resource["kind"],
        });
        let Some((parent, subresource)) = name.split_once('/') else {
            let mut row = json!({
                "resource": name, "responseKind": kind,
                "scope": if resource["namespaced"] == true { "Namespaced" } else { "Cluster" },
                "singularResource": resource["singularName"], "verbs": resource["verbs"],
            });
            for key in ["shortNames", "categories"] {
                if resource[key].is_array() {
                    row[key] = resource[key].clone();
                }
            }
            out.push(row);
            continue;
        };
        let row = json!({"subresource": subresource, "responseKind": kind, "verbs": resource["verbs"]});
        if let Some(parent) = out.iter_mut().find(|row| row["resource"] == parent) {
            match parent["subresources"].as_array_mut() {
                Some(rows) => rows.push(row),
                None => parent["subresources"] = json!([row]),
            }
        }
    }
    out
}

impl Swagger {
    /// What of a document lies below a path, with the definitions it needs.
    fn below(prefix: &str, mut document: Value) -> Self {
        let mut take = |key: &str| match document[key].take() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let (mut paths, mut all) = (take("paths"), take("definitions"));
        paths.retain(|path, _| path.starts_with(prefix));
        let mut wanted = BTreeSet::new();
        paths.values().for_each(|item| references(item, &mut wanted));
        let mut definitions = Map::new();
        while let Some(name) = wanted.pop_first() {
            if let Some(definition) = all.remove(&name) {
                references(&definition, &mut wanted);
                definitions.insert(name, definition);
            }
        }
        Self { paths, definitions }
    }
}

/// Names of the definitions a part of a document refers to.
fn references(part: &Value, names: &mut BTreeSet<String>) {
    match part {
        Value::Object(map) => {
            let name =
                map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/definitions/"));
            names.extend(name.map(str::to_owned));
            map.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_go_to_their_resource() {
        let rows = aggregated(&[
            json!({"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                   "verbs": ["get"], "shortNames": ["fl"]}),
            json!({"name": "flunders/status", "namespaced": true, "kind": "Flunder", "verbs": ["update"]}),
        ]);
        let kind = json!({"group": "", "version": "", "kind": "Flunder"});
        assert_eq!(
            rows,
            [json!({"resource": "flunders", "responseKind": kind, "scope": "Namespaced",
                    "singularResource": "flunder", "verbs": ["get"], "shortNames": ["fl"],
                    "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["update"]}]})]
        );
    }

    #[test]
    fn a_part_of_a_document_brings_what_it_refers_to() {
        let document = json!({
            "paths": {"/apis/a/v1/x": {"get": {"schema": {"$ref": "#/definitions/X"}}}, "/apis/b/v1/y": {}},
            "definitions": {"X": {"items": [{"$ref": "#/definitions/Y"}]}, "Y": {"$ref": "#/definitions/X"}, "Z": {}},
        });
        let part = Swagger::below("/apis/a/v1/", document);
        assert_eq!(part.paths.keys().collect::<Vec<_>>(), ["/apis/a/v1/x"]);
        assert_eq!(part.definitions.keys().collect::<Vec<_>>(), ["X", "Y"]);
    }
}
