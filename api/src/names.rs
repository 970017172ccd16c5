//! Group, version, kind, resource; storage keys; the forms names may take.

use std::fmt;

mod forms;

pub use forms::{
    condition_reason, config_map_key, dns1035_label, dns1123_label, dns1123_subdomain, domain_prefixed_path,
    environment_name, label_value, path_segment, port_name, qualified_name, wildcard_subdomain,
};

/// Group and version, such as `apps/v1` or `v1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// Empty for the core group.
    pub group: String,
    /// `v1`, `v1beta1`, …
    pub version: String,
}

impl GroupVersion {
    /// From `apiVersion`.
    pub fn parse(api_version: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// Storage key of an object: `/registry/[group/]plural/[namespace/]name`, as upstream lays etcd out
/// (always with the group, so that a prefix names one resource).
pub fn storage_key(group: &str, plural: &str, namespace: Option<&str>, name: &str) -> String {
    let group = stored_group(group);
    match namespace {
        Some(namespace) => ["/registry/", group, "/", plural, "/", namespace, "/", name].concat(),
        None => ["/registry/", group, "/", plural, "/", name].concat(),
    }
}

/// Prefix of all keys of a resource, optionally in one namespace; ends in `/`.
pub fn storage_prefix(group: &str, plural: &str, namespace: Option<&str>) -> String {
    storage_key(group, plural, namespace, "")
}

fn stored_group(group: &str) -> &str {
    if group.is_empty() { "core" } else { group }
}
