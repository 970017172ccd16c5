//! Roles and their bindings.

use serde_json::Value;

use super::{Column, age, created_at, items, name, str, text};

/// Roles have no printer upstream: name and moment of creation.
pub(in crate::kinds) fn role() -> Vec<Column> {
    vec![name(), created_at()]
}

pub(in crate::kinds) fn role_binding() -> Vec<Column> {
    let role = text("Role", "The role that is granted.", |binding| {
        format!("{}/{}", str(binding, "/roleRef/kind"), str(binding, "/roleRef/name"))
    });
    vec![
        name(),
        role,
        age(),
        text("Users", "Users it is granted to.", |binding| subjects(binding, "User", false)).wide(),
        text("Groups", "Groups it is granted to.", |binding| subjects(binding, "Group", false)).wide(),
        text("ServiceAccounts", "Service accounts it is granted to.", |binding| {
            subjects(binding, "ServiceAccount", true)
        })
        .wide(),
    ]
}

fn subjects(binding: &Value, kind: &str, namespaced: bool) -> String {
    let names: Vec<String> = items(binding, "/subjects")
        .iter()
        .filter(|subject| str(subject, "/kind") == kind)
        .map(|subject| match (namespaced, str(subject, "/name")) {
            (true, name) => format!("{}/{name}", str(subject, "/namespace")),
            (false, name) => name.to_owned(),
        })
        .collect();
    names.join(", ")
}
