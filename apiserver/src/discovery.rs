//! Projection of the table of kinds: which groups, versions, resources and verbs there are.
//!
//! Entry point [`serve`] answers `/api`, `/apis` and everything directly below; it returns `None` for
//! paths that are no discovery document. Aggregated discovery (KEP-3352) is what current clients ask for
//! by `Accept`; older ones walk the single documents.

use api::kinds::{GroupListing, Kind, KindTable, Subresource, VersionListing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::aggregator;
use crate::call::Served;
use crate::document::Document;

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The discovery document at `path` (no trailing slash), in the form `accept` prefers; versions that other servers
/// serve stand in the lists, their own documents are theirs to answer.
/// `address` is `host:port` that clients reach this server at.
pub(crate) fn serve(served: &Served, address: &str, path: &str, accept: &str) -> Option<Document> {
    let table = served.kinds.as_ref();
    let remotes = served.remotes.iter().map(AsRef::as_ref);
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if let (["api"] | ["apis"], Some(content_type)) = (parts.as_slice(), aggregated_form(accept)) {
        let version = if content_type == AGGREGATED_V2 { "v2" } else { "v2beta1" };
        let mut list = aggregated(table, path == "/api", version);
        if path == "/apis" {
            aggregator::discovery::aggregated(&mut list, remotes);
        }
        return Some(document(content_type, &list));
    }
    let body = match parts.as_slice() {
        ["api"] => core_versions(table, address),
        ["apis"] => {
            let mut list = groups(table);
            aggregator::discovery::groups(&mut list, remotes);
            list
        }
        ["api", version] => resources(table, "", version)?,
        ["apis", name] => aggregator::discovery::group(group(table, name), name, remotes)?,
        ["apis", group, version] if !group.is_empty() => resources(table, group, version)?,
        _ => return None,
    };
    Some(document(JSON, &body))
}

fn document(content_type: &'static str, body: &Value) -> Document {
    Document::plain(content_type, body.to_string().into_bytes())
}

/// The first of the media ranges that is plain JSON or an aggregated form decides; `None` means plain.
fn aggregated_form(accept: &str) -> Option<&'static str> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        if !matches!(media, JSON | "application/*" | "*/*") {
            return None;
        }
        let parameters: Vec<&str> = parts.collect();
        let wants = |parameter: &str| parameters.contains(&parameter);
        if !wants("as=APIGroupDiscoveryList") || !wants("g=apidiscovery.k8s.io") {
            return Some(None);
        }
        if wants("v=v2") {
            Some(Some(AGGREGATED_V2))
        } else if wants("v=v2beta1") {
            Some(Some(AGGREGATED_V2BETA1))
        } else {
            None
        }
    })?
}

/// `/api`: versions of the core group.
pub fn core_versions(table: &KindTable, address: &str) -> Value {
    let versions: Vec<String> = listing(table, "").map(version_names).unwrap_or_default();
    json!({
        "kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: the named groups.
pub fn groups(table: &KindTable) -> Value {
    let groups: Vec<Value> =
        table.discovery_order().iter().filter(|g| !g.group.is_empty()).map(api_group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn group(table: &KindTable, name: &str) -> Option<Value> {
    let mut body = api_group(&listing(table, name).filter(|_| !name.is_empty())?);
    body["kind"] = json!("APIGroup");
    body["apiVersion"] = json!("v1");
    Some(body)
}

fn api_group(listing: &GroupListing) -> Value {
    let versions: Vec<Value> = listing
        .versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{}/{}", listing.group, v.version), "version": v.version}))
        .collect();
    json!({"name": listing.group, "preferredVersion": versions.first(), "versions": versions})
}

fn listing(table: &KindTable, group: &str) -> Option<GroupListing> {
    table.discovery_order().into_iter().find(|g| g.group == group)
}

fn version_names(listing: GroupListing) -> Vec<String> {
    listing.versions.into_iter().map(|v| v.version).collect()
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`: resources and subresources, by name.
pub fn resources(table: &KindTable, group: &str, version: &str) -> Option<Value> {
    let listing = listing(table, group)?;
    let version: &VersionListing = listing.versions.iter().find(|v| v.version == version)?;
    let group_version = version.kinds.first()?.api_version();
    let mut rows = Vec::new();
    for kind in &version.kinds {
        rows.push(resource(kind));
        rows.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows,
    }))
}

fn resource(kind: &Kind) -> Value {
    let mut row = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced(),
        "kind": kind.kind, "verbs": kind.verbs,
    });
    if let Some(map) = row.as_object_mut() {
        names(kind, map);
    }
    if kind.is_stored() {
        row["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    row
}

fn names(kind: &Kind, row: &mut Map<String, Value>) {
    if !kind.short_names.is_empty() {
        row.insert("shortNames".to_owned(), json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        row.insert("categories".to_owned(), json!(kind.categories));
    }
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let (group, version, name) = response_kind(kind, sub);
    let mut row = json!({
        "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
        "namespaced": kind.namespaced(), "kind": name, "verbs": sub.verbs,
    });
    // Only where they differ from the list's.
    if (group, version) != (kind.group.as_ref(), kind.version.as_ref()) {
        row["group"] = json!(group);
        row["version"] = json!(version);
    }
    row
}

/// Group, version and kind a subresource speaks.
pub(crate) fn response_kind<'a>(kind: &'a Kind, sub: &'a Subresource) -> (&'a str, &'a str, &'a str) {
    match &sub.kind {
        Some((group, version, kind)) => (group, version, kind),
        None => (&kind.group, &kind.version, &kind.kind),
    }
}

/// Changes when objects are stored in another form; the form upstream computes it in.
fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = match kind.converted() {
        Some(other) => (other.group.as_ref(), other.version.as_ref()),
        None => (kind.group.as_ref(), kind.version.as_ref()),
    };
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    STANDARD.encode(&digest[..8])
}

/// `APIGroupDiscoveryList` of the core group or of all others, as `apidiscovery.k8s.io/VERSION`.
pub fn aggregated(table: &KindTable, core: bool, version: &str) -> Value {
    let items: Vec<Value> = table
        .discovery_order()
        .iter()
        .filter(|g| g.group.is_empty() == core)
        .map(|listing| {
            let versions: Vec<Value> = listing.versions.iter().map(aggregated_version).collect();
            let metadata = if core { json!({}) } else { json!({"name": listing.group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn aggregated_version(listing: &VersionListing) -> Value {
    let resources: Vec<Value> = listing.kinds.iter().map(|kind| aggregated_resource(kind)).collect();
    json!({"version": listing.version, "resources": resources, "freshness": "Current"})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut row = json!({
        "resource": kind.plural, "responseKind": response((&kind.group, &kind.version, &kind.kind)),
        "scope": if kind.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            json!({
                "subresource": sub.name, "responseKind": response(response_kind(kind, sub)), "verbs": sub.verbs,
            })
        })
        .collect();
    if let Some(map) = row.as_object_mut() {
        names(kind, map);
        if !subresources.is_empty() {
            map.insert("subresources".to_owned(), Value::Array(subresources));
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, accept: &str) -> Option<(&'static str, Value)> {
        let document = serve(&Served::new(api::kinds::builtin()), "127.0.0.1:6443", path, accept)?;
        Some((document.content_type, serde_json::from_slice(&document.content()).unwrap()))
    }

    #[test]
    fn every_row_is_found_both_ways() {
        let (_, core) = get("/api", AGGREGATED_V2).unwrap();
        let (_, named) = get("/apis", AGGREGATED_V2).unwrap();
        let all = [&core, &named].map(|list| list["items"].as_array().unwrap().clone()).concat();
        for kind in api::kinds::builtin().iter() {
            let group = all
                .iter()
                .find(|g| g["metadata"]["name"].as_str().unwrap_or_default() == kind.group)
                .unwrap();
            let version =
                group["versions"].as_array().unwrap().iter().find(|v| v["version"] == *kind.version).unwrap();
            let rows = version["resources"].as_array().unwrap();
            assert!(rows.iter().any(|r| r["resource"] == *kind.plural), "{}", kind.plural);
            let path = if kind.group.is_empty() {
                "/api/v1".to_owned()
            } else {
                format!("/apis/{}", kind.api_version())
            };
            let (_, list) = get(&path, "").unwrap();
            assert_eq!(list["groupVersion"], kind.api_version());
            let names: Vec<&str> =
                list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
            assert!(names.contains(&kind.plural.as_ref()) && names.is_sorted(), "{names:?}");
            for sub in &kind.subresources {
                assert!(names.contains(&format!("{}/{}", kind.plural, sub.name).as_str()));
            }
        }
    }

    #[test]
    fn the_first_acceptable_form_wins() {
        let client_go = format!("{AGGREGATED_V2},{AGGREGATED_V2BETA1},application/json");
        let cases = [
            ("", JSON),
            ("*/*", JSON),
            ("application/json, */*", JSON),
            (client_go.as_str(), AGGREGATED_V2),
            (AGGREGATED_V2BETA1, AGGREGATED_V2BETA1),
            ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", JSON),
        ];
        for (accept, expect) in cases {
            assert_eq!(get("/apis", accept).unwrap().0, expect, "{accept}");
        }
        let (_, beta) = get("/apis", AGGREGATED_V2BETA1).unwrap();
        assert_eq!(beta["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    }

    #[test]
    fn unknown_paths_are_no_discovery() {
        for path in ["/api/v2", "/apis/nope", "/apis/apps/v0", "/apis//v1", "/api/v1/pods", "/metrics"] {
            assert!(get(path, "").is_none(), "{path}");
        }
        let (_, apps) = get("/apis/apps", "").unwrap();
        assert_eq!(apps["preferredVersion"]["groupVersion"], "apps/v1");
        let (_, scale) = get("/apis/apps/v1", "").unwrap();
        let rows = scale["resources"].as_array().unwrap();
        let scale = rows.iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!(
            (&scale["group"], &scale["version"], &scale["kind"]),
            (&json!("autoscaling"), &json!("v1"), &json!("Scale"))
        );
        let deployments = rows.iter().find(|r| r["name"] == "deployments").unwrap();
        assert_eq!(deployments["storageVersionHash"], "8aSe+NMegvE=");
    }
}
