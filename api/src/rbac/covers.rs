//! Whether some rules grant everything that others do, and what is missing.
//!
//! Entry points: [`missing`] and [`describe`]. Source: `component-helpers/auth/rbac/validation` and
//! upstream's `policy_compact.go`.

use super::PolicyRule;

/// What of `wanted` the rules `held` do not grant, in the smallest parts.
pub fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(broken_down);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// Whether a path of a rule stands for another path, which may end in `*`, too.
pub fn url_covers(owner: &str, url: &str) -> bool {
    owner == url || (owner.ends_with('*') && url.starts_with(owner.trim_end_matches('*')))
}

/// One rule for every combination of one verb, group, resource and name, and of one verb and path.
fn broken_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| vec![text.clone()];
    let names: Vec<Vec<String>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(one).collect(),
    };
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                parts.extend(names.iter().map(|names| PolicyRule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    resource_names: names.clone(),
                    ..PolicyRule::default()
                }));
            }
        }
    }
    for url in &rule.non_resource_urls {
        parts.extend(rule.verbs.iter().map(|verb| PolicyRule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..PolicyRule::default()
        }));
    }
    parts
}

fn covers(held: &PolicyRule, part: &PolicyRule) -> bool {
    let all = |held: &[String], wanted: &[String]| {
        held.iter().any(|item| item == "*") || wanted.iter().all(|item| held.contains(item))
    };
    all(&held.verbs, &part.verbs)
        && all(&held.api_groups, &part.api_groups)
        && resources_cover(&held.resources, &part.resources)
        && names_cover(&held.resource_names, &part.resource_names)
        && part
            .non_resource_urls
            .iter()
            .all(|url| held.non_resource_urls.iter().any(|own| url_covers(own, url)))
}

fn resources_cover(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|item| item == "*")
        || wanted.iter().all(|resource| {
            let of_all = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
            held.contains(resource) || of_all.is_some_and(|of_all| held.contains(&of_all))
        })
}

/// Any name covers one name, but not the other way round.
fn names_cover(held: &[String], wanted: &[String]) -> bool {
    held.is_empty() || (!wanted.is_empty() && wanted.iter().all(|name| held.contains(name)))
}

/// The rules as upstream's refusals list them: one line each, those of one resource put together, sorted.
pub fn describe(rules: &[PolicyRule]) -> String {
    let mut lines: Vec<String> = compact(rules).iter().map(text).collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

fn compact(rules: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut compacted: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let same = compacted.iter_mut().find(|other| is_simple(rule) && same_object(rule, other));
        match same {
            Some(other) => {
                let more = rule.verbs.iter().filter(|verb| !other.verbs.contains(verb)).cloned();
                let more: Vec<String> = more.collect();
                other.verbs.extend(more);
            }
            None => compacted.push(rule.clone()),
        }
    }
    compacted
}

/// About one resource, and at most one name.
fn is_simple(rule: &PolicyRule) -> bool {
    rule.resource_names.len() <= 1
        && rule.non_resource_urls.is_empty()
        && rule.api_groups.len() == 1
        && rule.resources.len() == 1
}

fn same_object(a: &PolicyRule, b: &PolicyRule) -> bool {
    a.api_groups == b.api_groups
        && a.resources == b.resources
        && a.resource_names == b.resource_names
        && b.non_resource_urls.is_empty()
}

fn text(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown = parts.iter().filter(|(_, list)| !list.is_empty());
    let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    format!("{{{}}}", shown.join(", "))
}

/// A list as Go's `%q` prints it.
pub fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules(value: &Value) -> Vec<PolicyRule> {
        PolicyRule::all_of(&json!({ "rules": value }))
    }

    #[test]
    fn what_is_missing() {
        let pods = |verbs: Value| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]);
        for (held, wanted, expect) in [
            (pods(json!(["get", "list"])), pods(json!(["get"])), ""),
            (pods(json!(["*"])), pods(json!(["get", "*"])), ""),
            (
                pods(json!(["get"])),
                pods(json!(["get", "list", "watch"])),
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
            ),
            (
                json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}]),
                pods(json!(["get"])),
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#,
            ),
            (
                pods(json!(["get"])),
                json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"], "verbs": ["get", "list"]}]),
                "{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"a\"], Verbs:[\"list\"]}\n{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"b\"], Verbs:[\"list\"]}",
            ),
            (
                json!([{"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["get"]}]),
                json!([{"apiGroups": ["apps"], "resources": ["deployments/status", "deployments"], "verbs": ["get"]}]),
                r#"{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}"#,
            ),
            (
                json!([{"nonResourceURLs": ["/apis/*"], "verbs": ["get"]}]),
                json!([{"nonResourceURLs": ["/apis/a/*", "/apis"], "verbs": ["get"]}]),
                r#"{NonResourceURLs:["/apis"], Verbs:["get"]}"#,
            ),
        ] {
            assert_eq!(describe(&missing(&rules(&held), &rules(&wanted))), expect, "{held} {wanted}");
        }
    }
}
