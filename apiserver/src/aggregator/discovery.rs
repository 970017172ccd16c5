//! Other servers' versions in our discovery documents. Pure, on the finished JSON: both kinds of document are lists
//! of groups with lists of versions.
//!
//! Entry points: [`groups`], [`group`] and [`aggregated`]. Groups and versions stand where their API service's
//! priorities say; a version that is delegated is not ours any more.

use api::kinds::aggregation_priority;
use serde_json::{Value, json};

use super::Remote;

/// How a kind of document spells groups and versions.
struct Form {
    name_of: fn(&Value) -> &str,
    empty: fn(&Remote) -> Value,
    version: fn(&Remote) -> Value,
}

const LIST: Form = Form {
    name_of: |group| group["name"].as_str().unwrap_or_default(),
    empty: |remote| json!({"name": remote.group, "versions": []}),
    version: |remote| json!({"groupVersion": format!("{}/{}", remote.group, remote.version), "version": remote.version}),
};

const AGGREGATED: Form = Form {
    name_of: |group| group["metadata"]["name"].as_str().unwrap_or_default(),
    empty: |remote| json!({"metadata": {"name": remote.group}, "versions": []}),
    version: |remote| {
        let freshness = if remote.fresh { "Current" } else { "Stale" };
        json!({"version": remote.version, "resources": remote.resources, "freshness": freshness})
    },
};

/// Completes an `APIGroupList`.
pub(crate) fn groups<'a>(list: &mut Value, remotes: impl Iterator<Item = &'a Remote> + Clone) {
    let Some(groups) = list["groups"].as_array_mut() else { return };
    merge(groups, remotes, &LIST);
    for group in groups {
        group["preferredVersion"] = group["versions"][0].clone();
    }
}

/// Completes an `APIGroup`, which may be nobody's but other servers'.
pub(crate) fn group<'a>(
    own: Option<Value>,
    name: &str,
    remotes: impl Iterator<Item = &'a Remote> + Clone,
) -> Option<Value> {
    let mut list = json!({"groups": own.into_iter().collect::<Vec<_>>()});
    groups(&mut list, remotes.filter(|remote| remote.group == name));
    let mut group = list["groups"].get_mut(0)?.take();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// Completes an `APIGroupDiscoveryList`.
pub(crate) fn aggregated<'a>(list: &mut Value, remotes: impl Iterator<Item = &'a Remote> + Clone) {
    if let Some(groups) = list["items"].as_array_mut() {
        merge(groups, remotes, &AGGREGATED);
    }
}

fn merge<'a>(groups: &mut Vec<Value>, remotes: impl Iterator<Item = &'a Remote> + Clone, form: &Form) {
    for remote in remotes.clone() {
        let at = groups.iter().position(|group| (form.name_of)(group) == remote.group);
        let at = at.unwrap_or_else(|| {
            let mine = (-remote.priorities.0, remote.group.as_str());
            let after = |group: &Value| {
                let name = (form.name_of)(group);
                (-group_priority(name, remotes.clone()), name) > mine
            };
            let at = groups.iter().position(after).unwrap_or(groups.len());
            groups.insert(at, (form.empty)(remote));
            at
        });
        if let Some(versions) = groups.get_mut(at).and_then(|group| group["versions"].as_array_mut()) {
            versions.retain(|version| version["version"] != *remote.version);
            let less = |version: &Value| {
                let name = version["version"].as_str().unwrap_or_default();
                version_priority(&remote.group, name, remotes.clone()) < remote.priorities.1
            };
            let at = versions.iter().position(less).unwrap_or(versions.len());
            versions.insert(at, (form.version)(remote));
        }
    }
}

fn group_priority<'a>(group: &str, mut remotes: impl Iterator<Item = &'a Remote>) -> i64 {
    let remote = remotes.find(|remote| remote.group == group);
    remote.map_or_else(|| i64::from(aggregation_priority(group, "").0.0), |remote| remote.priorities.0)
}

fn version_priority<'a>(group: &str, version: &str, mut remotes: impl Iterator<Item = &'a Remote>) -> i64 {
    let remote = remotes.find(|remote| remote.group == group && remote.version == version);
    remote.map_or_else(|| i64::from(aggregation_priority(group, version).0.1), |remote| remote.priorities.1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn remote(group: &str, version: &str, priorities: (i64, i64)) -> Remote {
        Remote {
            group: group.to_owned(),
            version: version.to_owned(),
            priorities,
            resources: vec![json!({"resource": "flunders"})],
            fresh: version != "v1alpha1",
            v3: None,
            v2: Arc::default(),
        }
    }

    #[test]
    fn priorities_say_where() {
        let own = |name: &str| json!({"name": name, "versions": [{"groupVersion": format!("{name}/v1"), "version": "v1"}]});
        let mut list = json!({"groups": [own("apps"), own("a.example.com"), own("z.example.com")]});
        let remotes = [
            remote("wardle.example.com", "v1alpha1", (1000, 10)),
            remote("wardle.example.com", "v1", (1000, 20)),
            remote("a.example.com", "v2", (1000, 200)),
            remote("first.example.com", "v1", (20_000, 1)),
        ];
        groups(&mut list, remotes.iter());
        let shown: Vec<String> = list["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .map(|group| {
                let versions = group["versions"].as_array().expect("versions");
                let versions: Vec<&str> = versions.iter().filter_map(|v| v["version"].as_str()).collect();
                format!("{} {}", group["preferredVersion"]["groupVersion"], versions.join(","))
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#""first.example.com/v1" v1"#,
                r#""apps/v1" v1"#,
                r#""a.example.com/v2" v2,v1"#,
                r#""wardle.example.com/v1" v1,v1alpha1"#,
                r#""z.example.com/v1" v1"#
            ]
        );
    }

    #[test]
    fn what_is_delegated_replaces_our_own() {
        let own = json!({"metadata": {"name": "metrics.k8s.io"},
                         "versions": [{"version": "v1beta1", "resources": [], "freshness": "Current"}]});
        let mut list = json!({"items": [own]});
        aggregated(&mut list, [remote("metrics.k8s.io", "v1beta1", (100, 100))].iter());
        assert_eq!(
            list["items"][0]["versions"],
            json!([{"version": "v1beta1", "resources": [{"resource": "flunders"}], "freshness": "Current"}])
        );
        let alone = [remote("wardle.example.com", "v1alpha1", (1000, 10))];
        let found = group(None, "wardle.example.com", alone.iter()).expect("a group");
        assert_eq!(found["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
        assert_eq!(group(None, "other", alone.iter()), None);
    }
}
