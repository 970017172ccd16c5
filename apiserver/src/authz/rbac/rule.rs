//! Whether one rule of a role allows a wish.
//!
//! Entry point: [`allows`]. Source: upstream's `pkg/apis/rbac/v1/evaluation_helpers.go`.

use api::rbac::{PolicyRule, url_covers};

use crate::authz::Attributes;

/// `*` in any list of a rule.
const ALL: &str = "*";

/// Whether the rule grants the wish.
pub(crate) fn allows(rule: &PolicyRule, wish: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, wish.verb) {
        return false;
    }
    if !wish.is_resource {
        return rule.non_resource_urls.iter().any(|url| url_covers(url, wish.path));
    }
    has(&rule.api_groups, wish.group)
        && rule.resources.iter().any(|resource| names(resource, wish))
        && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|name| name == wish.name))
}

/// Whether a list has a word, or everything.
fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|item| item == ALL || item == word)
}

/// Whether a rule's resource is what is wished for; `*/status` is that subresource of all resources.
fn names(resource: &str, wish: &Attributes<'_>) -> bool {
    match resource.split_once('/') {
        None => resource == ALL || (wish.subresource.is_empty() && resource == wish.resource),
        Some((owner, subresource)) => {
            !wish.subresource.is_empty()
                && subresource == wish.subresource
                && (owner == ALL || owner == wish.resource)
        }
    }
}
