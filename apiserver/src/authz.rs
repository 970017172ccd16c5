//! May they: one table of rules until RBAC objects decide.
//!
//! Entry point: [`authorize`]. Administrators and in-process components may do everything; nodes and
//! service accounts what the table says. A refusal has upstream's words.

use api::Status;
use component_base::user::UserInfo;
use serde_json::{Value, json};

use crate::request::RequestInfo;

/// What somebody wants to do; without a resource it is about a path.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// Plural, empty for a path.
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) path: &'a str,
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        Self {
            verb: info.verb,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            path: &info.path,
        }
    }
}

/// One line of the table: members of `group` may use `verbs` on `resources` of API group `api_group`.
struct Rule {
    group: &'static str,
    verbs: &'static [&'static str],
    api_group: &'static str,
    /// `pods`, `pods/status`; `*` for all.
    resources: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete"];
const NODES: &str = "system:nodes";
const AUTHENTICATED: &str = "system:authenticated";

/// What nodes need to run pods (upstream's `system:node` role and node authoriser, without the
/// restriction to the node's own objects), and what everybody may.
const RULES: &[Rule] = &[
    Rule {
        group: NODES,
        verbs: READ,
        api_group: "",
        resources: &[
            "pods",
            "nodes",
            "services",
            "endpoints",
            "namespaces",
            "configmaps",
            "secrets",
            "serviceaccounts",
        ],
    },
    Rule { group: NODES, verbs: WRITE, api_group: "", resources: &["nodes", "nodes/status"] },
    Rule { group: NODES, verbs: WRITE, api_group: "", resources: &["pods", "pods/status", "pods/eviction"] },
    Rule { group: NODES, verbs: &["create"], api_group: "", resources: &["serviceaccounts/token"] },
    Rule { group: NODES, verbs: WRITE, api_group: "", resources: &["events"] },
    Rule { group: NODES, verbs: WRITE, api_group: "events.k8s.io", resources: &["events"] },
    Rule { group: NODES, verbs: READ, api_group: "discovery.k8s.io", resources: &["endpointslices"] },
    Rule { group: NODES, verbs: READ, api_group: "coordination.k8s.io", resources: &["leases"] },
    Rule { group: NODES, verbs: WRITE, api_group: "coordination.k8s.io", resources: &["leases"] },
    // Everybody may ask about themselves: upstream's `system:basic-user`.
    Rule {
        group: AUTHENTICATED,
        verbs: &["create"],
        api_group: "authorization.k8s.io",
        resources: &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    Rule {
        group: AUTHENTICATED,
        verbs: &["create"],
        api_group: "authentication.k8s.io",
        resources: &["selfsubjectreviews"],
    },
];

/// Users that are parts of the control plane.
const COMPONENTS: [&str; 4] =
    ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver", "system:kube-proxy"];

/// Paths any authenticated user may read: upstream's `system:discovery`.
const DISCOVERY: [&str; 5] = ["/api", "/apis", "/openapi", "/version", "/openid"];

/// Paths that need no credentials at all: upstream's `system:public-info-viewer`.
const OPEN: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];

/// Whether the request needs no credentials at all.
pub(crate) fn open_to_all(info: &RequestInfo) -> bool {
    is_open(&info.into())
}

fn is_open(wish: &Attributes<'_>) -> bool {
    matches!(wish.verb, "get" | "head")
        && wish.resource.is_empty()
        && (["/version", "/version/"].contains(&wish.path)
            || OPEN.iter().skip(1).any(|root| below(wish.path, root)))
}

/// Lets the request through or says why not.
pub(crate) fn authorize(user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
    if allows(user, &info.into()) { Ok(()) } else { Err(refusal(user, info)) }
}

/// Whether a user may do something.
pub(crate) fn allows(user: &UserInfo, wish: &Attributes<'_>) -> bool {
    is_open(wish)
        || may_all(user)
        || if wish.resource.is_empty() { discovery_allows(user, wish) } else { rule_allows(user, wish) }
}

fn may_all(user: &UserInfo) -> bool {
    is_member(user, "system:masters") || COMPONENTS.contains(&user.name.as_str())
}

fn is_member(user: &UserInfo, group: &str) -> bool {
    user.groups.iter().any(|g| g == group)
}

/// What a user may do, as `SelfSubjectRulesReview` lists it: rules about resources and about paths.
pub(crate) fn rules_for(user: &UserInfo) -> (Vec<Value>, Vec<Value>) {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if may_all(user) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in RULES.iter().filter(|rule| is_member(user, rule.group)) {
        resources
            .push(json!({"verbs": rule.verbs, "apiGroups": [rule.api_group], "resources": rule.resources}));
    }
    let discovery: &[&str] = if is_member(user, AUTHENTICATED) { &DISCOVERY } else { &[] };
    let roots = discovery.iter().chain(OPEN.iter().filter(|root| !discovery.contains(*root)));
    let urls: Vec<String> = roots.flat_map(|root| [(*root).to_owned(), format!("{root}/*")]).collect();
    paths.push(json!({"verbs": ["get"], "nonResourceURLs": urls}));
    (resources, paths)
}

fn rule_allows(user: &UserInfo, wish: &Attributes<'_>) -> bool {
    let resource = qualified(wish.resource, wish.subresource);
    RULES.iter().any(|rule| {
        is_member(user, rule.group)
            && rule.verbs.contains(&wish.verb)
            && rule.api_group == wish.group
            && rule.resources.iter().any(|r| *r == "*" || *r == resource)
    })
}

fn discovery_allows(user: &UserInfo, wish: &Attributes<'_>) -> bool {
    is_member(user, AUTHENTICATED)
        && matches!(wish.verb, "get" | "head")
        && DISCOVERY.iter().any(|root| below(wish.path, root))
}

fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn qualified(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") }
}

fn refusal(user: &UserInfo, info: &RequestInfo) -> Status {
    if !info.is_resource() {
        let message = format!("forbidden: User {:?} cannot {} path {:?}", user.name, info.verb, info.path);
        return Status::new(api::Reason::Forbidden, message);
    }
    let scope = if info.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", info.namespace)
    };
    let detail = format!(
        "User {:?} cannot {} resource {:?} in API group {:?} {scope}",
        user.name,
        info.verb,
        qualified(&info.resource, &info.subresource),
        info.group
    );
    Status::forbidden(&info.group, &info.resource, &info.name, &detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(verb: &'static str, resource: &str, namespace: &str, name: &str) -> RequestInfo {
        RequestInfo {
            verb,
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    fn check(user: &str, groups: &[&str], info: &RequestInfo, expect: &str) {
        let got = authorize(&UserInfo::component(user, groups), info).err().map(|s| s.message);
        assert_eq!(got.unwrap_or_default(), expect);
    }

    #[test]
    fn who_may_what() {
        check("admin", &["system:masters"], &info("delete", "nodes", "", "n"), "");
        check("system:kube-scheduler", &[], &info("create", "pods", "a", "p"), "");
        check("system:node:n", &["system:nodes"], &info("list", "pods", "", ""), "");
        check(
            "system:node:n",
            &["system:nodes"],
            &info("delete", "namespaces", "", "a"),
            "namespaces \"a\" is forbidden: User \"system:node:n\" cannot delete resource \"namespaces\" in API group \"\" at the cluster scope",
        );
        check(
            "jane",
            &[],
            &info("list", "pods", "default", ""),
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        );
        let path = |path: &str| RequestInfo { verb: "get", path: path.to_owned(), ..RequestInfo::default() };
        check("jane", &[], &path("/apis/apps/v1"), "");
        check("jane", &[], &path("/readyz/store"), "");
        check("jane", &[], &path("/metrics"), "forbidden: User \"jane\" cannot get path \"/metrics\"");
    }
}
