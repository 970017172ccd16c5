//! Rows of `rbac.authorization.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::rbac::{Role, RoleBinding};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural, scope| plain("rbac.authorization.k8s.io", "v1", kind, plural, scope);
    vec![
        row("ClusterRole", "clusterroles", Scope::Cluster)
            .rules(Role { namespaced: false })
            .printed(columns::role()),
        row("ClusterRoleBinding", "clusterrolebindings", Scope::Cluster)
            .rules(RoleBinding { namespaced: false })
            .printed(columns::role_binding()),
        row("Role", "roles", Scope::Namespaced).rules(Role { namespaced: true }).printed(columns::role()),
        row("RoleBinding", "rolebindings", Scope::Namespaced)
            .rules(RoleBinding { namespaced: true })
            .printed(columns::role_binding()),
    ]
}
