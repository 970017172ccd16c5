//! What the server serves, from its discovery documents, and how users name it: `po`, `deploy/web`,
//! `deployments.apps web`.

use anyhow::anyhow;
use serde_json::Value;

use super::connection::Connection;
use super::{Failure, Outcome};

/// Asks for all groups and their resources in one document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One served resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Empty for core.
    pub group: String,
    /// Preferred version.
    pub version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// `deployment`.
    pub singular: String,
    /// `deploy`.
    pub short_names: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Resource {
    /// `deployment.apps`, as messages name it.
    pub fn singular_name(&self) -> String {
        qualified(&self.singular, &self.group)
    }

    /// `deployments.apps`.
    pub fn plural_name(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection; `namespace` `None` is all namespaces.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => {
                format!("{root}/{}/namespaces/{namespace}/{}", self.api_version(), self.plural)
            }
            None => format!("{root}/{}/{}", self.api_version(), self.plural),
        }
    }

    /// The path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }

    fn is_called(&self, word: &str) -> bool {
        let lower = word.to_lowercase();
        [&self.plural, &self.singular].into_iter().chain(&self.short_names).any(|name| *name == lower)
            || self.kind.to_lowercase() == lower
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Everything the server serves.
pub struct Resources(Vec<Resource>);

impl Resources {
    /// Asks the server.
    pub async fn discover(connection: &Connection) -> Outcome<Self> {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let document = connection.get_as(path, AGGREGATED).await?;
            all.extend(parse(&document));
        }
        Ok(Self(all))
    }

    /// The resource a word means: `po`, `pods`, `Pod`, `deployments.apps`, `deployments.v1.apps`.
    ///
    /// # Errors
    /// When the server has none, in kubectl's words.
    pub fn named(&self, word: &str) -> Outcome<&Resource> {
        let (name, suffix) = word.split_once('.').unwrap_or((word, ""));
        let fits = |r: &&Resource| {
            suffix.is_empty() || suffix == r.group || suffix == format!("{}.{}", r.version, r.group)
        };
        let abbreviated = |r: &&Resource| {
            let prefix = suffix.strip_suffix('.').unwrap_or(suffix);
            r.group.split('.').next() == Some(prefix) || (r.group.is_empty() && prefix == r.version)
        };
        let called = || self.0.iter().filter(|r| r.is_called(name));
        called()
            .find(fits)
            .or_else(|| called().find(abbreviated))
            .ok_or_else(|| Failure::Other(anyhow!("the server doesn't have a resource type {word:?}")))
    }

    /// The resources a word means: one, or all of a category such as `all`.
    pub fn group_of(&self, word: &str) -> Outcome<Vec<&Resource>> {
        let category: Vec<&Resource> =
            self.preferred().filter(|r| r.categories.iter().any(|c| c == word)).collect();
        if category.is_empty() { Ok(vec![self.named(word)?]) } else { Ok(category) }
    }

    /// Every resource in the version its group prefers.
    pub fn preferred(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter().enumerate().filter_map(|(at, resource)| {
            let same = |other: &Resource| other.group == resource.group && other.plural == resource.plural;
            self.0.iter().take(at).all(|earlier| !same(earlier)).then_some(resource)
        })
    }

    /// The resource of a kind in a version of a group, `None` when the server has none.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.0.iter().find(|r| r.kind == kind && r.api_version() == api_version)
    }

    /// The resource of an object from a file.
    ///
    /// # Errors
    /// When the server does not serve its kind, in kubectl's words.
    pub fn of(&self, object: &Value, source: &str) -> Outcome<&Resource> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        self.by_kind(version, kind).ok_or_else(|| {
            Failure::Other(anyhow!(
                "resource mapping not found for name: {:?} namespace: {:?} from {source:?}: no matches for kind {kind:?} in version {version:?}\nensure CRDs are installed first",
                api::object::name(object),
                api::object::namespace(object),
            ))
        })
    }

    /// Arguments such as `pod a b`, `pod/a deploy/b`, `pods,services`, as resources with their names (no
    /// name means all).
    pub fn select(&self, words: &[String]) -> Outcome<Vec<(&Resource, Option<String>)>> {
        if words.iter().any(|word| word.contains('/')) {
            let mut found = Vec::new();
            for word in words {
                let (kind, name) = word
                    .split_once('/')
                    .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
                    .ok_or_else(|| anyhow!("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'"))?;
                if name.contains('/') {
                    return Err(Failure::new(
                        "arguments in resource/name form may not have more than one slash",
                    ));
                }
                for kind in kind.split(',') {
                    found.push((self.named(kind)?, Some(name.to_owned())));
                }
            }
            return Ok(found);
        }
        let (kinds, names) = words.split_first().ok_or_else(nothing_chosen)?;
        let mut found = Vec::new();
        for kind in kinds.split(',') {
            for resource in self.group_of(kind)? {
                if names.is_empty() {
                    found.push((resource, None));
                }
                found.extend(names.iter().map(|name| (resource, Some(name.clone()))));
            }
        }
        Ok(found)
    }

    /// Objects, each with its name.
    pub fn several(&self, words: &[String]) -> Outcome<Vec<(&Resource, String)>> {
        let nameless = || Failure::new("resource(s) were provided, but no name was specified");
        let chosen = self.select(words)?;
        chosen.into_iter().map(|(resource, name)| Ok((resource, name.ok_or_else(nameless)?))).collect()
    }

    /// Exactly one named object, as `rollout` takes it.
    pub fn one(&self, words: &[String]) -> Outcome<(&Resource, String)> {
        let mut chosen = self.several(words)?;
        match (chosen.pop(), chosen.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Failure::new("expected exactly one object")),
        }
    }
}

/// Neither arguments nor files.
pub fn nothing_chosen() -> Failure {
    Failure::new(
        "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
    )
}

fn parse(document: &Value) -> Vec<Resource> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<Resource> = Vec::new();
    for group in document["items"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                let parsed = Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    plural: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    short_names: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                };
                // Versions come in order of preference; later ones are still found by `of`.
                found.push(parsed);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served() -> Resources {
        let resource = |plural: &str, kind: &str, short: &str| {
            json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced",
                "singularResource": kind.to_lowercase(), "shortNames": [short], "categories": ["all"], "verbs": ["get"]})
        };
        let group = |name: &str, resources: Value| json!({"metadata": {"name": name}, "versions": [{"version": "v1", "resources": resources}]});
        Resources(parse(&json!({"items": [
            group("", json!([resource("pods", "Pod", "po")])),
            group("apps", json!([resource("deployments", "Deployment", "deploy")])),
        ]})))
    }

    #[test]
    fn words_name_resources() {
        let served = served();
        for word in ["po", "pod", "pods", "Pod"] {
            assert_eq!(served.named(word).expect("found").plural, "pods", "{word}");
        }
        for word in ["deploy", "deployments.apps", "deployment.v1.apps"] {
            assert_eq!(
                served.named(word).expect("found").object("ns", "x"),
                "/apis/apps/v1/namespaces/ns/deployments/x"
            );
        }
        let error = served.named("dog").expect_err("unknown");
        assert_eq!(error.to_string(), "error: the server doesn't have a resource type \"dog\"");
    }

    #[test]
    fn arguments_select_objects() {
        let served = served();
        let select = |words: &[&str]| -> Vec<(String, Option<String>)> {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let found = served.select(&words).expect("selected");
            found.into_iter().map(|(r, n)| (r.plural.clone(), n)).collect()
        };
        let pod = |name: Option<&str>| ("pods".to_owned(), name.map(str::to_owned));
        assert_eq!(select(&["pods"]), [pod(None)]);
        assert_eq!(select(&["po", "a", "b"]), [pod(Some("a")), pod(Some("b"))]);
        assert_eq!(select(&["pod/a"]), [pod(Some("a"))]);
        assert_eq!(select(&["all"]).len(), 2);
        assert_eq!(select(&["po,deploy"]).len(), 2);
    }
}
