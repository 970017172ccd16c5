//! Operations that belong to no kind: discovery's own, the version, the token keys.
//!
//! Entry point: [`item`]. Each stands in a document of its own in 3.0, and with all others in 2.0.

use serde_json::{Value, json};

use super::definitions::Dialect;
use super::paths::{capitalised, group_word};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Documents that are not of a group, by their path below `/openapi/v3/`.
pub(super) const ALONE: [&str; 5] =
    ["api", "apis", "version", ".well-known/openid-configuration", "openid/v1/jwks"];

/// What there is to know of an operation.
struct Service {
    id: String,
    tag: String,
    about: &'static str,
    /// Short name of the definition of the answer; `None` for JSON of another form.
    answer: Option<&'static str>,
    produced: &'static [&'static str],
}

impl Service {
    /// The service at a document's path; `None` if there is none.
    fn of(path: &str) -> Option<Self> {
        let objects = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        let (id, tag, about, answer) = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["api"] => {
                ("getCoreAPIVersions".into(), "core".into(), "Versions of the core group.", "APIVersions")
            }
            ["apis"] => {
                ("getAPIVersions".into(), "apis".into(), "Groups and their versions.", "APIGroupList")
            }
            ["apis", group] => {
                let word = group_word(group);
                (format!("get{}APIGroup", capitalised(&word)), word, "Versions of the group.", "APIGroup")
            }
            ["api" | "apis", groups @ .., version] => {
                let word = group_word(&groups.concat());
                let id = format!("get{}{}APIResources", capitalised(&word), capitalised(version));
                (id, format!("{word}_{version}"), "What the version has.", "APIResourceList")
            }
            _ => return Self::other(path),
        };
        Some(Self { id, tag, about, answer: Some(answer), produced: objects })
    }

    fn other(path: &str) -> Option<Self> {
        let (id, tag, about, produced): (_, _, _, &[&str]) = match path {
            "version" => ("getCodeVersion", "version", "What runs here.", &["application/json"]),
            ".well-known/openid-configuration" => (
                "getServiceAccountIssuerOpenIDConfiguration",
                "WellKnown",
                "Who issues tokens of service accounts.",
                &["application/json"],
            ),
            "openid/v1/jwks" => (
                "getServiceAccountIssuerOpenIDKeyset",
                "openid",
                "Keys that tokens of service accounts are signed with.",
                &["application/jwk-set+json"],
            ),
            _ => return None,
        };
        Some(Self { id: id.to_owned(), tag: tag.to_owned(), about, answer: None, produced })
    }
}

/// The definition that the answer of a document's service leads to.
pub(super) fn definition(path: &str) -> Option<String> {
    Some(format!("{META}{}", Service::of(path)?.answer?))
}

/// The path of a document's service, and its item.
pub(super) fn item(path: &str, dialect: Dialect) -> Option<(String, Value)> {
    let service = Service::of(path)?;
    let schema = match service.answer {
        Some(name) => dialect.reference(&format!("{META}{name}")),
        None => json!({"type": "object"}),
    };
    let ok = match dialect {
        Dialect::V2 => json!({"description": "OK", "schema": schema}),
        Dialect::V3 => {
            let content: serde_json::Map<String, Value> =
                service.produced.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema}))).collect();
            json!({"description": "OK", "content": content})
        }
    };
    let mut get = json!({
        "tags": [service.tag], "description": service.about, "operationId": service.id,
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
    });
    if dialect == Dialect::V2 {
        get["schemes"] = json!(["https"]);
        get["produces"] = json!(service.produced);
    }
    Some((format!("/{path}/"), json!({ "get": get })))
}
