//! Who makes a request: what authentication found out, carried as a request extension.

use std::collections::BTreeMap;

/// An authenticated user (`authentication.k8s.io/v1 UserInfo`).
///
/// A request that arrives through the in-process service carries one as an `http` extension and is
/// not authenticated again; the TLS listener never takes it from the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// `system:admin`, `system:node:NAME`, …
    pub name: String,
    /// Unique over time, may be empty.
    pub uid: String,
    /// `system:masters`, `system:authenticated`, …
    pub groups: Vec<String>,
    /// Whatever else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A part of the control plane in the same process, such as `system:kube-scheduler`.
    pub fn component(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain(["system:authenticated"]).map(str::to_owned).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }
    }
}
