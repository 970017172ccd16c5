//! Discovery and OpenAPI documents, until the projections land.

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::call::Server;
use crate::output;

/// Discovery and OpenAPI documents.
pub(crate) fn describe(server: &Server, path: &str, _headers: &HeaderMap) -> Option<Response<Body>> {
    let kinds = server.kinds();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let list = |group: &str, version: &str| {
        let resources: Vec<Value> = kinds
            .iter()
            .filter(|k| k.group == group && k.version == version)
            .flat_map(|k| {
                let main = json!({"name": k.plural, "singularName": k.singular, "namespaced": k.namespaced(),
                    "kind": k.kind, "verbs": k.verbs, "shortNames": k.short_names, "categories": k.categories});
                let subs = k.subresources.iter().map(|s| {
                    let (group, version, kind) = s.kind.clone().unwrap_or((k.group.clone(), k.version.clone(), k.kind.clone()));
                    json!({"name": format!("{}/{}", k.plural, s.name), "singularName": "", "namespaced": k.namespaced(),
                        "group": group, "version": version, "kind": kind, "verbs": s.verbs})
                }).collect::<Vec<_>>();
                std::iter::once(main).chain(subs).collect::<Vec<_>>()
            })
            .collect();
        let gv = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        (!resources.is_empty()).then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": resources}))
    };
    let value = match parts.as_slice() {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["api", version] => list("", version)?,
        ["apis"] => {
            let groups: Vec<Value> = kinds.discovery_order().iter().filter(|g| !g.group.is_empty()).map(|g| {
                let versions: Vec<Value> = g.versions.iter().map(|v| json!({"groupVersion": format!("{}/{}", g.group, v.version), "version": v.version})).collect();
                json!({"name": g.group, "versions": versions, "preferredVersion": versions[0]})
            }).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", group, version] => list(group, version)?,
        _ => return None,
    };
    Some(output::json_value(StatusCode::OK, &value))
}
