//! Projection of the table of kinds: which groups, versions, resources and verbs there are.
//!
//! Entry point [`serve`] answers `/api`, `/apis` and everything directly below; it returns `None` for
//! paths that are no discovery document. Aggregated discovery (KEP-3352) is what current clients ask for
//! by `Accept`; older ones walk the single documents.

use api::Status;
use api::codec::protobuf;
use api::kinds::{GroupListing, Kind, KindTable, Subresource, VersionListing};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::call::Served;
use crate::document::{Caching, Document};
use crate::negotiation::{Media, negotiate_discovery};
use crate::{aggregator, output};

const AGGREGATED_JSON: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_YAML: &str = "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The answer to a GET of the discovery document at `path` (no trailing slash), in the form the headers ask
/// for; versions that other servers serve stand in the lists, their own documents are theirs to answer.
/// `address` is `host:port` that clients reach this server at.
///
/// # Errors
/// 406 when nothing the caller accepts can be served.
pub(crate) fn serve(
    served: &Served,
    address: &str,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>, Status> {
    let Some(body) = plain(served, address, path) else { return Ok(None) };
    let is_root = matches!(path, "/api" | "/apis");
    let (is_aggregated, media) = negotiate_discovery(headers, is_root)?;
    if !is_aggregated {
        return Ok(Some(output::json_value(StatusCode::OK, &body)));
    }
    let mut list = aggregated(&served.kinds, path == "/api");
    if path == "/apis" {
        aggregator::discovery::aggregated(&mut list, served.remotes.iter().map(AsRef::as_ref));
    }
    let json = Document::plain(AGGREGATED_JSON, format!("{list}\n").into_bytes());
    let other = match media {
        Media::Json => None,
        Media::Yaml => Some((AGGREGATED_YAML, api::codec::yaml::emit(&list).into_bytes())),
        Media::Protobuf => protobuf::encode(&list).map(|content| (AGGREGATED_PROTOBUF, content)),
    };
    let document = match other {
        Some((media_type, content)) => Document::plain(media_type, content).known_as(&json.hash),
        None => json,
    };
    Ok(Some(document.respond(headers, Caching::Public)))
}

/// The document at `path` that is about nothing else.
fn plain(served: &Served, address: &str, path: &str) -> Option<Value> {
    let table = served.kinds.as_ref();
    let remotes = served.remotes.iter().map(AsRef::as_ref);
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match parts.as_slice() {
        ["api"] => Some(core_versions(table, address)),
        ["apis"] => {
            let mut list = groups(table);
            aggregator::discovery::groups(&mut list, remotes);
            Some(list)
        }
        ["api", version] => resources(table, "", version),
        ["apis", name] => aggregator::discovery::group(group(table, name), name, remotes),
        ["apis", group, version] if !group.is_empty() => resources(table, group, version),
        _ => None,
    }
}

/// Whether `path` (no trailing slash) is a discovery document.
pub(crate) fn is_served(served: &Served, path: &str) -> bool {
    plain(served, "", path).is_some()
}

/// `/api`: versions of the core group.
fn core_versions(table: &KindTable, address: &str) -> Value {
    let versions: Vec<String> = listing(table, "").map(version_names).unwrap_or_default();
    json!({
        "kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: the named groups.
fn groups(table: &KindTable) -> Value {
    let groups: Vec<Value> =
        table.discovery_order().iter().filter(|g| !g.group.is_empty()).map(api_group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
fn group(table: &KindTable, name: &str) -> Option<Value> {
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

/// `/api/VERSION` and `/apis/GROUP/VERSION`: resources and subresources, by name. The core group's has no
/// `apiVersion`, nor has [`core_versions`]: it had none when there was one group only.
fn resources(table: &KindTable, group: &str, version: &str) -> Option<Value> {
    let listing = listing(table, group)?;
    let version: &VersionListing = listing.versions.iter().find(|v| v.version == version)?;
    let group_version = version.kinds.first()?.api_version();
    let mut rows = Vec::new();
    for kind in &version.kinds {
        rows.push(resource(kind));
        rows.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": rows});
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
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

/// `APIGroupDiscoveryList` of the core group or of all others.
fn aggregated(table: &KindTable, core: bool) -> Value {
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
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
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
    use http::header::{ACCEPT, CONTENT_TYPE};

    use super::*;

    fn document(path: &str) -> Option<Value> {
        plain(&Served::new(api::kinds::builtin()), "127.0.0.1:6443", path)
    }

    /// Code and content type of an answer.
    fn ask(path: &str, accept: &str) -> (u16, String) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        match serve(&Served::new(api::kinds::builtin()), "127.0.0.1:6443", path, &headers) {
            Ok(Some(response)) => {
                let form = response.headers()[CONTENT_TYPE].to_str().unwrap();
                (response.status().as_u16(), form.to_owned())
            }
            Ok(None) => (404, String::new()),
            Err(status) => (status.code(), String::new()),
        }
    }

    #[test]
    fn every_row_is_found_both_ways() {
        let (core, named) = [true, false].map(|core| aggregated(&api::kinds::builtin(), core)).into();
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
            let list = document(&path).unwrap();
            assert_eq!(list["apiVersion"] == "v1", !kind.group.is_empty());
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
        let client_go = format!(
            "{AGGREGATED_JSON},application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
        );
        let cases = [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("application/json, */*", "application/json"),
            (client_go.as_str(), AGGREGATED_JSON),
            (AGGREGATED_YAML, AGGREGATED_YAML),
            // Gone since 1.33; clients of before 1.30 go on to the next range.
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                "application/json",
            ),
        ];
        for (accept, expect) in cases {
            assert_eq!(ask("/apis", accept), (200, expect.to_owned()), "{accept}");
        }
        assert_eq!(
            ask("/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList").0,
            406
        );
        assert_eq!(ask("/apis/apps/v1", AGGREGATED_JSON).0, 406);
        assert_eq!(ask("/apis", "image/png").0, 406);
    }

    #[test]
    fn unknown_paths_are_no_discovery() {
        for path in ["/api/v2", "/apis/nope", "/apis/apps/v0", "/apis//v1", "/api/v1/pods", "/metrics"] {
            assert!(document(path).is_none(), "{path}");
        }
        let apps = document("/apis/apps").unwrap();
        assert_eq!(apps["preferredVersion"]["groupVersion"], "apps/v1");
        let scale = document("/apis/apps/v1").unwrap();
        let rows = scale["resources"].as_array().unwrap();
        let scale = rows.iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!(
            (&scale["group"], &scale["version"], &scale["kind"]),
            (&json!("autoscaling"), &json!("v1"), &json!("Scale"))
        );
        let deployments = rows.iter().find(|r| r["name"] == "deployments").unwrap();
        assert_eq!(deployments["storageVersionHash"], "8aSe+NMegvE=");
    }

    /// The aggregated list as protobuf is the same list under the same tag.
    #[test]
    fn both_encodings_of_the_aggregated_list_say_the_same() {
        for path in ["/api", "/apis"] {
            let answer = |accept: &str| {
                let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
                let served = Served::new(api::kinds::builtin());
                let response = serve(&served, "127.0.0.1:6443", path, &headers).unwrap().unwrap();
                let heads = [CONTENT_TYPE, http::header::ETAG].map(|name| response.headers()[name].clone());
                let body = axum::body::to_bytes(response.into_body(), usize::MAX);
                (heads, futures::executor::block_on(body).unwrap())
            };
            let ([_, tag], json) = answer(AGGREGATED_JSON);
            let ([media, same], bytes) = answer(AGGREGATED_PROTOBUF);
            assert_eq!((media.to_str().unwrap(), same), (AGGREGATED_PROTOBUF, tag));
            let json: Value = serde_json::from_slice(&json).unwrap();
            let list = protobuf::decode(&bytes).unwrap();
            assert_eq!((&list["kind"], &list["apiVersion"]), (&json["kind"], &json["apiVersion"]));
            let items = |list: &Value| list["items"].as_array().unwrap().clone();
            assert_eq!(items(&list).len(), items(&json).len());
            for (read, written) in items(&list).iter().zip(items(&json)) {
                assert_eq!(
                    read["metadata"]["name"].as_str().unwrap_or_default(),
                    written["metadata"]["name"].as_str().unwrap_or_default()
                );
                assert_eq!(read["versions"], written["versions"]);
            }
        }
    }

    /// As upstream's `api/discovery` has them.
    #[test]
    fn storage_versions_are_named_as_upstream_names_them() {
        let cases = [
            ("/api/v1", "configmaps", "qFsyl6wFWjQ="),
            ("/api/v1", "events", "r2yiGXH7wu8="),
            ("/api/v1", "pods", "xPOwRZ+Yhw8="),
            ("/api/v1", "services", "0/CO1lhkEBI="),
            ("/apis/events.k8s.io/v1", "events", "r2yiGXH7wu8="),
            ("/apis/apps/v1", "controllerrevisions", "85nkx63pcBU="),
            ("/apis/apps/v1", "statefulsets", "H+vl74LkKdo="),
            ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
            ("/apis/autoscaling/v2", "horizontalpodautoscalers", "qwQve8ut294="),
        ];
        for (path, resource, expect) in cases {
            let list = document(path).unwrap();
            let row =
                list["resources"].as_array().unwrap().iter().find(|row| row["name"] == resource).unwrap();
            assert_eq!(row["storageVersionHash"], expect, "{path}/{resource}");
        }
        let core = document("/api/v1").unwrap();
        let computed =
            core["resources"].as_array().unwrap().iter().find(|row| row["name"] == "bindings").unwrap();
        assert_eq!(computed.get("storageVersionHash"), None);
    }
}
