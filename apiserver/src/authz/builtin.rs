//! Rules this server has from the start, until RBAC objects decide.
//!
//! Entry points: [`decide`] and [`rules_for`].

use component_base::user::UserInfo;
use serde_json::{Value, json};

use super::{Attributes, Decision, Verdict};

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

fn is_open(wish: &Attributes<'_>) -> bool {
    matches!(wish.verb, "get" | "head")
        && !wish.is_resource
        && (["/version", "/version/"].contains(&wish.path)
            || OPEN.iter().skip(1).any(|root| below(wish.path, root)))
}

/// Whether a rule allows it.
pub(super) fn decide(user: &UserInfo, wish: &Attributes<'_>) -> Decision {
    let allowed = is_open(wish)
        || may_all(user)
        || if wish.is_resource { rule_allows(user, wish) } else { discovery_allows(user, wish) };
    Decision::new(if allowed { Verdict::Allow } else { Verdict::NoOpinion }, "")
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
    let resource = wish.qualified_resource();
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
