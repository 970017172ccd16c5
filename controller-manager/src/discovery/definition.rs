//! As much of a CustomResourceDefinition as it takes to know what is served; schemas are left out, they
//! would only fill memory.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, ClusterResourceScope, Version};
use serde::Deserialize;

use super::Served;

/// A definition.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Definition {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Deserialize)]
struct Spec {
    group: String,
    scope: String,
    versions: Vec<VersionName>,
}

#[derive(Debug, Clone, Deserialize)]
struct VersionName {
    name: String,
    served: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    accepted_names: Names,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Names {
    plural: String,
    kind: String,
}

/// Whoever may write the status may leave out what a condition should have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
}

impl Definition {
    /// What is served because of it, at the preferred version.
    pub(super) fn served(&self) -> Option<Served> {
        let established =
            |condition: &Condition| condition.name == "Established" && condition.status == "True";
        self.status.conditions.iter().flatten().find(|condition| established(condition))?;
        let versions = self.spec.versions.iter().filter(|version| version.served);
        let version = versions.max_by_key(|version| Version::parse(&version.name).priority())?;
        let (group, names) = (&self.spec.group, &self.status.accepted_names);
        Some(Served {
            resource: ApiResource {
                group: group.clone(),
                version: version.name.clone(),
                api_version: format!("{group}/{}", version.name),
                kind: names.kind.clone(),
                plural: names.plural.clone(),
            },
            namespaced: self.spec.scope == "Namespaced",
            watchable: true,
        })
    }
}

impl kube::Resource for Definition {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "CustomResourceDefinition".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "apiextensions.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "customresourcedefinitions".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_preferred_version_of_what_is_established() {
        let mut text = json!({
            "metadata": {"name": "oxen.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "oxen"}, "versions": [
                {"name": "v1beta1", "served": true}, {"name": "v2", "served": false}, {"name": "v1", "served": true}]},
            "status": {"acceptedNames": {"plural": "oxen", "kind": "Ox"}},
        });
        let read =
            |text: &serde_json::Value| serde_json::from_value::<Definition>(text.clone()).expect("read");
        assert_eq!(read(&text).served(), None);
        text["status"]["conditions"] = json!(null);
        assert_eq!(read(&text).served(), None);
        text["status"]["conditions"] =
            json!([{"message": "no more"}, {"type": "Established", "status": "True"}]);
        let served = read(&text).served().expect("served");
        assert_eq!(
            (served.resource.api_version.as_str(), served.resource.kind.as_str()),
            ("example.com/v1", "Ox")
        );
    }
}
