//! May they: one table of rules until RBAC objects decide.
//!
//! Entry point: [`authorize`]. Administrators and in-process components may do everything; nodes and
//! service accounts what the table says. A refusal has upstream's words.

use api::Status;
use component_base::user::UserInfo;

use crate::request::RequestInfo;

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

/// What nodes need to run pods (upstream's `system:node` role and node authoriser, without the
/// restriction to the node's own objects), and nothing for anybody else.
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
];

/// Users that are parts of the control plane.
const COMPONENTS: [&str; 4] =
    ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver", "system:kube-proxy"];

/// Paths any authenticated user may read: upstream's `system:discovery`.
const DISCOVERY: [&str; 5] = ["/api", "/apis", "/openapi", "/version", "/openid"];

/// Whether the path needs no credentials at all: upstream's `system:public-info-viewer`.
pub(crate) fn open_to_all(info: &RequestInfo) -> bool {
    matches!(info.verb, "get" | "head")
        && !info.is_resource()
        && (["/version", "/version/"].contains(&info.path.as_str())
            || ["/healthz", "/livez", "/readyz"].iter().any(|root| below(&info.path, root)))
}

/// Lets the request through or says why not.
pub(crate) fn authorize(user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
    let allowed = open_to_all(info)
        || user.groups.iter().any(|g| g == "system:masters")
        || COMPONENTS.contains(&user.name.as_str())
        || if info.is_resource() { rule_allows(user, info) } else { discovery_allows(user, info) };
    if allowed { Ok(()) } else { Err(refusal(user, info)) }
}

fn rule_allows(user: &UserInfo, info: &RequestInfo) -> bool {
    let resource = qualified(info);
    RULES.iter().any(|rule| {
        user.groups.iter().any(|g| g == rule.group)
            && rule.verbs.contains(&info.verb)
            && rule.api_group == info.group
            && rule.resources.iter().any(|r| *r == "*" || *r == resource)
    })
}

fn discovery_allows(user: &UserInfo, info: &RequestInfo) -> bool {
    user.groups.iter().any(|g| g == "system:authenticated")
        && matches!(info.verb, "get" | "head")
        && DISCOVERY.iter().any(|root| below(&info.path, root))
}

fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn qualified(info: &RequestInfo) -> String {
    if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    }
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
        qualified(info),
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
