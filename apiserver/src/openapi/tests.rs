//! The documents as clients read them: every row is there, every reference leads somewhere.

use std::collections::BTreeSet;

use super::*;

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.content()).unwrap()
}

/// Every `$ref` in a tree.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_str().filter(|_| key == "$ref") {
                    Some(target) => drop(found.insert(target.rsplit('/').next().unwrap().to_owned())),
                    None => references(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[track_caller]
fn check_references(document: &Value, definitions: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    let missing: Vec<_> = found.iter().filter(|name| definitions.get(name).is_none()).collect();
    assert!(missing.is_empty() && found.len() > 10, "{missing:?}");
}

/// The PATCH that `kubectl` looks for, and its query parameters.
fn patch_parameters(document: &Value, kind: &Kind) -> Option<Vec<String>> {
    document["paths"].as_object().unwrap().iter().find_map(|(path, item)| {
        let patch = item.get("patch").filter(|_| path.ends_with("{name}"))?;
        let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        (patch["x-kubernetes-group-version-kind"] == gvk).then(|| {
            let parameters = patch["parameters"].as_array().unwrap();
            parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect()
        })
    })
}

#[track_caller]
fn check_rows(document: &Value, definitions: &Value, kinds: &[&Kind]) {
    for kind in kinds {
        let definition = &definitions[kind.definition.as_ref()];
        assert_eq!(definition["x-kubernetes-group-version-kind"][0]["kind"], *kind.kind);
        if kind.group != "metrics.k8s.io" {
            let described = definition["description"].is_string();
            assert!(described, "list {} in openapi/descriptions.rs", kind.kind);
        }
        if kind.verbs.contains(&"patch") {
            let parameters = patch_parameters(document, kind).unwrap();
            for wanted in ["dryRun", "fieldValidation", "fieldManager", "force"] {
                assert!(parameters.iter().any(|p| p == wanted), "{} {wanted}", kind.kind);
            }
        }
    }
}

#[test]
fn v2_describes_every_row() {
    let table = api::kinds::builtin();
    let kinds: Vec<&Kind> = table.iter().map(AsRef::as_ref).collect();
    let document = parsed(&OpenApi::new(table.clone()).serve("/openapi/v2", Encoding::Json).unwrap());
    check_references(&document, &document["definitions"]);
    check_rows(&document, &document["definitions"], &kinds);
    let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(containers["description"].is_string());
}

#[test]
fn v3_describes_every_row_and_names_its_hash() {
    let table = api::kinds::builtin();
    let openapi = OpenApi::new(table.clone());
    let index = parsed(&openapi.serve("/openapi/v3", Encoding::Json).unwrap());
    for (path, kinds) in group_versions(&table) {
        let url = index["paths"][&path]["serverRelativeURL"].as_str().unwrap();
        let (url, hash) = url.split_once("?hash=").unwrap();
        let document = openapi.serve(url, Encoding::Json).unwrap();
        assert_eq!((document.hash.as_str(), hash.len()), (hash, 128));
        let document = parsed(&document);
        check_references(&document, &document["components"]["schemas"]);
        let kinds: Vec<&Kind> = kinds.iter().map(AsRef::as_ref).collect();
        check_rows(&document, &document["components"]["schemas"], &kinds);
    }
    assert!(openapi.serve("/openapi/v3/apis/nope/v1", Encoding::Json).is_none());
    assert!(openapi.serve("/openapi/v1", Encoding::Json).is_none());
}

#[test]
fn operation_ids_are_unique() {
    let document = parsed(&OpenApi::new(api::kinds::builtin()).serve("/openapi/v2", Encoding::Json).unwrap());
    let mut seen = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values().filter(|o| o.is_object()) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(seen.insert(id.to_owned()), "{id}");
        }
    }
    assert!(
        seen.contains("patchAppsV1NamespacedDeployment") && seen.contains("listCoreV1PodForAllNamespaces")
    );
}

/// As upstream's handlers (kube-openapi's `handler` and `handler3`).
#[test]
fn the_encoding_is_what_the_caller_reads() {
    use Encoding::{Json, Protobuf};
    let cases = [
        ("/openapi/v2", "", Some(Json)),
        ("/openapi/v2", "*/*", Some(Json)),
        ("/openapi/v2", V2_PROTOBUF, Some(Protobuf)),
        ("/openapi/v2", V2_PROTOBUF_OLD, Some(Protobuf)),
        ("/openapi/v2", V3_PROTOBUF, None),
        ("/openapi/v2", "text/html", None),
        ("/openapi/v3/api/v1", "application/*", Some(Json)),
        ("/openapi/v3/api/v1", V3_PROTOBUF, Some(Protobuf)),
        ("/openapi/v3/api/v1", V3_PROTOBUF_OLD, Some(Protobuf)),
        ("/openapi/v3/api/v1", "text/html, application/json;q=0.1", Some(Json)),
        (
            "/openapi/v3/api/v1",
            "application/json;q=0.5, application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
            Some(Protobuf),
        ),
        ("/openapi/v3/api/v1", V2_PROTOBUF, None),
        ("/openapi/v3", V3_PROTOBUF, Some(Json)),
        ("/openapi/v3", "text/html", Some(Json)),
    ];
    for (path, accept, expect) in cases {
        let headers = HeaderMap::from_iter([(http::header::ACCEPT, accept.parse().unwrap())]);
        assert_eq!(Encoding::wanted(path, &headers), expect, "{path} {accept}");
    }
    let openapi = OpenApi::new(api::kinds::builtin());
    for (path, media) in [("/openapi/v2", V2_PROTOBUF), ("/openapi/v3/apis/apps/v1", V3_PROTOBUF)] {
        assert_eq!(openapi.serve(path, Protobuf).unwrap().content_type, media);
    }
}

/// As upstream's documents have them (`api/openapi-spec/v3`).
#[test]
fn parameters_and_defaults_stand_where_upstream_puts_them() {
    let document = OpenApi::new(api::kinds::builtin()).serve("/openapi/v3/apis/apps/v1", Encoding::Json);
    let document = parsed(&document.unwrap());
    let names = |owner: &Value| -> Vec<String> {
        let parameters = owner["parameters"].as_array().into_iter().flatten();
        parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    };
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(names(item), ["name", "namespace", "pretty"]);
    assert_eq!(names(&item["get"]), [""; 0]);
    assert_eq!(names(&item["patch"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let across = &document["paths"]["/apis/apps/v1/deployments"];
    assert_eq!((names(across).len(), names(&across["get"]).len()), (11, 0));
    let delete = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["delete"];
    assert!(names(delete).contains(&"timeoutSeconds".to_owned()));
    assert_eq!(delete["requestBody"].get("required"), None);

    let core =
        parsed(&OpenApi::new(api::kinds::builtin()).serve("/openapi/v3/api/v1", Encoding::Json).unwrap());
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let exec = ["command", "container", "name", "namespace", "stderr", "stdin", "stdout", "tty"];
    assert_eq!(names(&core["paths"][format!("{pod}/exec")]), exec);
    assert_eq!(names(&core["paths"][format!("{pod}/portforward")]), ["name", "namespace", "ports"]);
    assert_eq!(names(&core["paths"][format!("{pod}/log")]).len(), 12);

    let schemas = &document["components"]["schemas"];
    let cases = [
        ("apps.v1.Deployment", "spec", json!({})),
        ("apps.v1.DeploymentSpec", "replicas", Value::Null),
        ("apps.v1.DeploymentCondition", "type", json!("")),
        ("apps.v1.DeploymentCondition", "lastUpdateTime", Value::Null),
        ("apps.v1.DeploymentCondition", "reason", Value::Null),
        ("apps.v1.ReplicaSetStatus", "replicas", json!(0)),
        ("core.v1.ContainerPort", "protocol", json!("TCP")),
    ];
    for (definition, field, expect) in cases {
        let property = &schemas[format!("io.k8s.api.{definition}")]["properties"][field];
        assert_eq!(property["default"], expect, "{definition} {field}");
    }
    let list = &schemas["io.k8s.api.apps.v1.DeploymentList"]["properties"]["items"]["items"];
    assert_eq!(list["default"], json!({}));
    assert_eq!(list["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.Deployment");
    let command = &schemas["io.k8s.api.core.v1.Container"]["properties"]["command"]["items"];
    assert_eq!(command, &json!({"type": "string", "default": ""}));
    let required = &schemas["io.k8s.api.apps.v1.DeploymentCondition"]["required"];
    assert_eq!(required, &json!(["type", "status"]));
}
