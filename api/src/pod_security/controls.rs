//! The table of controls, and what they share in looking at a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Level, baseline, restricted};

/// A control a pod breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is, in few words.
    pub reason: String,
    /// Who breaks it, and how.
    pub detail: String,
}

pub(super) type Check = fn(&Pod<'_>) -> Option<Violation>;

/// One control and how it changed.
struct Control {
    id: &'static str,
    level: Level,
    /// From which minor version on which check counts.
    versions: &'static [(u32, Check)],
    /// The weaker control that this one takes the place of.
    overrides: &'static str,
}

/// Sorted by level and id: the order in which violations are told.
const CONTROLS: &[Control] = &[
    baseline("appArmorProfile", &[(0, baseline::app_armor_profile)]),
    baseline("capabilities_baseline", &[(0, baseline::capabilities)]),
    baseline("hostNamespaces", &[(0, baseline::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, baseline::host_path_volumes)]),
    baseline("hostPorts", &[(0, baseline::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, baseline::host_probes_and_lifecycle)]),
    baseline("privileged", &[(0, baseline::privileged)]),
    baseline("procMount", &[(0, baseline::proc_mount), (35, |pod| in_host_users(pod, baseline::proc_mount))]),
    baseline(
        "seLinuxOptions",
        &[(0, |pod| baseline::selinux_options(pod, 3)), (31, |pod| baseline::selinux_options(pod, 4))],
    ),
    baseline(
        "seccompProfile_baseline",
        &[(0, baseline::seccomp_annotations), (19, baseline::seccomp_profile)],
    ),
    baseline(
        "sysctls",
        &[
            (0, |pod| baseline::sysctls(pod, 5)),
            (27, |pod| baseline::sysctls(pod, 6)),
            (29, |pod| baseline::sysctls(pod, 10)),
            (32, |pod| baseline::sysctls(pod, 12)),
        ],
    ),
    baseline("windowsHostProcess", &[(0, baseline::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        "",
        &[
            (8, restricted::allow_privilege_escalation),
            (25, |pod| unless_windows(pod, restricted::allow_privilege_escalation)),
        ],
    ),
    restricted(
        "capabilities_restricted",
        "capabilities_baseline",
        &[(22, restricted::capabilities), (25, |pod| unless_windows(pod, restricted::capabilities))],
    ),
    restricted("procMount_restricted", "procMount", &[(35, baseline::proc_mount)]),
    restricted("restrictedVolumes", "hostPathVolumes", &[(0, restricted::volumes)]),
    restricted(
        "runAsNonRoot",
        "",
        &[(0, restricted::run_as_non_root), (35, |pod| in_host_users(pod, restricted::run_as_non_root))],
    ),
    restricted(
        "runAsUser",
        "",
        &[(23, restricted::run_as_user), (35, |pod| in_host_users(pod, restricted::run_as_user))],
    ),
    restricted(
        "seccompProfile_restricted",
        "seccompProfile_baseline",
        &[(19, restricted::seccomp_profile), (25, |pod| unless_windows(pod, restricted::seccomp_profile))],
    ),
];

const fn baseline(id: &'static str, versions: &'static [(u32, Check)]) -> Control {
    Control { id, level: Level::Baseline, versions, overrides: "" }
}

const fn restricted(id: &'static str, overrides: &'static str, versions: &'static [(u32, Check)]) -> Control {
    Control { id, level: Level::Restricted, versions, overrides }
}

/// The checks of a level as of a minor version.
pub(super) fn of(level: Level, minor: u32) -> impl Iterator<Item = Check> {
    let current = move |control: &'static Control| {
        let check =
            control.versions.iter().rev().find(|(from, _)| *from <= minor).map(|(_, check)| *check)?;
        (control.level <= level).then_some((control, check))
    };
    let overridden = move |id: &str| CONTROLS.iter().filter_map(current).any(|(by, _)| by.overrides == id);
    CONTROLS
        .iter()
        .filter_map(current)
        .filter(move |(control, _)| !overridden(control.id))
        .map(|(_, check)| check)
}

/// A user namespace takes the edge off root (KEP-127).
fn in_host_users(pod: &Pod<'_>, check: Check) -> Option<Violation> {
    if pod.spec["hostUsers"] == false { None } else { check(pod) }
}

/// Windows knows no such thing.
fn unless_windows(pod: &Pod<'_>, check: Check) -> Option<Violation> {
    if pod.spec["os"]["name"] == "windows" { None } else { check(pod) }
}

/// What controls look at.
pub(super) struct Pod<'a> {
    pub(super) annotations: &'a Value,
    pub(super) spec: &'a Value,
    /// Init containers, containers, ephemeral containers.
    pub(super) containers: Vec<&'a Value>,
}

impl<'a> Pod<'a> {
    /// Of a pod or a template.
    pub(super) fn of(pod: &'a Value) -> Self {
        let spec = &pod["spec"];
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|list| spec[list].as_array().into_iter().flatten()).collect();
        Self { annotations: &pod["metadata"]["annotations"], spec, containers }
    }

    /// Names of containers of which something holds.
    pub(super) fn containers_where(&self, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|c| bad(c)).map(|c| c["name"].as_str().unwrap_or_default()).collect()
    }

    /// Who sets something bad in a security context, the pod or containers: `pod and container "a"`.
    pub(super) fn setters(&self, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<String> {
        let mut setters = Vec::new();
        if bad(&self.spec["securityContext"]) {
            setters.push("pod".to_owned());
        }
        let containers = self.containers_where(|container| bad(&container["securityContext"]));
        if !containers.is_empty() {
            setters.push(named("container", "containers", &containers));
        }
        setters
    }
}

/// A violation, if there is something to say.
pub(super) fn violation(reason: &str, detail: String) -> Violation {
    Violation { reason: reason.to_owned(), detail }
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `containers "a", "b"`.
pub(super) fn named<S: AsRef<str>>(one: &str, many: &str, names: &[S]) -> String {
    format!("{} {}", plural(one, many, names.len()), quoted(names))
}

/// `"a", "b"`.
pub(super) fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The strings of a list.
pub(super) fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A set of words, which are told in order.
pub(super) type Words = BTreeSet<String>;
