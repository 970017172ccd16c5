//! Look-ups over the table that discovery and the command line need.

use std::sync::Arc;

use super::{Kind, KindTable};

/// Groups in the order of `/apis`, with upstream's priorities; others follow by name.
const GROUP_ORDER: [(&str, u32); 21] = [
    ("", 18_000),
    ("apiregistration.k8s.io", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("resource.k8s.io", 15_900),
];
/// Priority of the groups of custom resources, and of their versions.
const CUSTOM_PRIORITY: (u32, u32) = (1000, 100);

/// Priorities of a group and a version of it, as the version's API service names them, and whether they are
/// fixed; custom resources share one pair.
pub fn aggregation_priority(group: &str, version: &str) -> ((u32, u32), bool) {
    let fixed = GROUP_ORDER.iter().find(|(name, _)| *name == group);
    let of_version = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", _) => 21,
        _ => 15,
    };
    fixed.map_or((CUSTOM_PRIORITY, false), |(_, of_group)| ((*of_group, of_version), true))
}

/// One group as discovery lists it.
#[derive(Clone)]
pub struct GroupListing {
    /// Empty for core.
    pub group: String,
    /// Most preferred first.
    pub versions: Vec<VersionListing>,
}

/// One version of a group.
#[derive(Clone)]
pub struct VersionListing {
    /// `v1`.
    pub version: String,
    /// By plural.
    pub kinds: Vec<Arc<Kind>>,
}

impl KindTable {
    /// All groups in discovery's order, the core group first, preferred versions first.
    pub fn discovery_order(&self) -> Vec<GroupListing> {
        let mut groups: Vec<GroupListing> = Vec::new();
        for kind in self.iter() {
            let group = match groups.iter().position(|g| g.group == kind.group) {
                Some(found) => &mut groups[found],
                None => {
                    groups.push(GroupListing { group: kind.group.to_string(), versions: Vec::new() });
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            match group.versions.iter_mut().find(|v| v.version == kind.version) {
                Some(version) => version.kinds.push(Arc::clone(kind)),
                None => group.versions.push(VersionListing {
                    version: kind.version.to_string(),
                    kinds: vec![Arc::clone(kind)],
                }),
            }
        }
        for group in &mut groups {
            group.versions.sort_by_key(|v| std::cmp::Reverse(version_rank(&v.version)));
        }
        groups.sort_by_key(|g| (group_rank(&g.group), g.group.clone()));
        groups
    }

    /// The row people mean by `word`: plural, singular, short name or kind, in any case, optionally with
    /// `.group` or `.version.group` (`deploy`, `Deployment`, `deployments.apps`, `deployments.v1.apps`).
    /// The group discovery lists first wins, then the preferred version.
    pub fn find(&self, word: &str) -> Option<Arc<Kind>> {
        let word = word.to_lowercase();
        let (name, rest) = word.split_once('.').unwrap_or((&word, ""));
        let matches = |kind: &Kind| {
            let named = kind.plural == name
                || (!kind.singular.is_empty() && kind.singular == name)
                || kind.kind.to_lowercase() == name
                || kind.short_names.iter().any(|short| short == name);
            let placed = rest.is_empty()
                || kind.group == rest
                || (kind.group.is_empty() && kind.version == rest)
                || rest == format!("{}.{}", kind.version, kind.group);
            named && placed
        };
        self.discovery_order()
            .into_iter()
            .flat_map(|group| group.versions)
            .flat_map(|version| version.kinds)
            .find(|kind| matches(kind))
    }

    /// Rows of a category (`all`), preferred versions only, in discovery's order.
    pub fn category(&self, category: &str) -> Vec<Arc<Kind>> {
        self.discovery_order()
            .into_iter()
            .filter_map(|group| group.versions.into_iter().next())
            .flat_map(|version| version.kinds)
            .filter(|kind| kind.categories.iter().any(|c| c == category))
            .collect()
    }
}

fn group_rank(group: &str) -> usize {
    GROUP_ORDER.iter().position(|(name, _)| *name == group).unwrap_or(GROUP_ORDER.len())
}

/// Kubernetes' version priority: GA over beta over alpha, then the larger numbers; others last.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        if tail.is_empty() {
            return Some((3, major, 0));
        }
        for (word, rank) in [("beta", 2), ("alpha", 1)] {
            if let Some(minor) = tail.strip_prefix(word) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        None
    };
    parse().unwrap_or((0, 0, 0))
}
