//! Controls of the baseline level: no known way to gain privileges.

use serde_json::Value;

use super::controls::{Pod, Violation, Words, named, plural, quoted, strings, violation};

const APP_ARMOR_ANNOTATIONS: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER_ANNOTATIONS: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// What a container runtime gives anyway.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The first three are as old as the control, the last one came with 1.31.
const SELINUX_TYPES: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// In the order they became safe: five at first, one in 1.27, four in 1.29, two in 1.32.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

pub(super) fn app_armor_profile(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = Words::new();
    let mut setters = pod.setters(|context| {
        let profile = &context["appArmorProfile"];
        is_unsafe_profile(profile, &mut values)
    });
    let annotations = pod.annotations.as_object().into_iter().flatten();
    let forbidden: Words = annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| {
            let allowed = value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR_ANNOTATIONS) && !allowed
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !forbidden.is_empty() {
        setters.push(plural("annotation", "annotations", forbidden.len()).to_owned());
    }
    let told: Vec<&String> = values.iter().chain(&forbidden).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", told.len());
    (!setters.is_empty()).then(|| {
        let detail =
            format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&told));
        violation(reason, detail)
    })
}

/// Whether a profile of AppArmor or seccomp is there and neither the runtime's nor one of the node.
pub(super) fn is_unsafe_profile(profile: &Value, values: &mut Words) -> bool {
    let kind = profile["type"].as_str().unwrap_or_default();
    let bad = profile.is_object() && !["RuntimeDefault", "Localhost"].contains(&kind);
    if bad {
        values.insert(kind.to_owned());
    }
    bad
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let mut others = Words::new();
    let containers = pod.containers_where(|container| {
        let added = strings(&container["securityContext"]["capabilities"]["add"]);
        let bad: Vec<&str> = added.filter(|name| !DEFAULT_CAPABILITIES.contains(name)).collect();
        others.extend(bad.iter().map(|name| (*name).to_owned()));
        !bad.is_empty()
    });
    (!containers.is_empty()).then(|| {
        let who = named("container", "containers", &containers);
        let detail =
            format!("{who} must not include {} in securityContext.capabilities.add", quoted(&others));
        violation("non-default capabilities", detail)
    })
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| violation("host namespaces", shared.join(", ")))
}

pub(super) fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<&str> = volumes
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| volume["name"].as_str().unwrap_or_default())
        .collect();
    (!bad.is_empty()).then(|| violation("hostPath volumes", named("volume", "volumes", &bad)))
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = Words::new();
    let containers = pod.containers_where(|container| {
        let list = container["ports"].as_array().into_iter().flatten();
        let taken: Vec<i64> = list.filter_map(|port| port["hostPort"].as_i64()).filter(|n| *n != 0).collect();
        ports.extend(taken.iter().map(ToString::to_string));
        !taken.is_empty()
    });
    (!containers.is_empty()).then(|| {
        let (who, use_) =
            (named("container", "containers", &containers), plural("uses", "use", containers.len()));
        let what = plural("hostPort", "hostPorts", ports.len());
        let list = ports.into_iter().collect::<Vec<_>>().join(", ");
        violation("hostPort", format!("{who} {use_} {what} {list}"))
    })
}

pub(super) fn host_probes_and_lifecycle(pod: &Pod<'_>) -> Option<Violation> {
    let mut hosts = Words::new();
    let names = pod.containers_where(|container| {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let actions = handlers.iter().flat_map(|of| [&of["httpGet"], &of["tcpSocket"]]);
        let named: Vec<&str> =
            actions.filter_map(|action| action["host"].as_str()).filter(|host| !host.is_empty()).collect();
        hosts.extend(named.iter().map(|host| (*host).to_owned()));
        !named.is_empty()
    });
    let names: Words = names.into_iter().map(str::to_owned).collect();
    (!names.is_empty()).then(|| {
        let (who, use_) =
            (plural("container", "containers", names.len()), plural("uses", "use", names.len()));
        let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
        let detail = format!("{who} {} {use_} {what} {}", quoted(&names), quoted(&hosts));
        violation("probe or lifecycle host", detail)
    })
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let containers = pod.containers_where(|container| container["securityContext"]["privileged"] == true);
    (!containers.is_empty()).then(|| {
        let who = named("container", "containers", &containers);
        violation("privileged", format!("{who} must not set securityContext.privileged=true"))
    })
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = Words::new();
    let containers = pod.containers_where(|container| {
        let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        kinds.extend(kind.map(str::to_owned));
        kind.is_some()
    });
    (!containers.is_empty()).then(|| {
        let who = named("container", "containers", &containers);
        violation("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(&kinds)))
    })
}

/// `known` says how many of [`SELINUX_TYPES`] are allowed.
pub(super) fn selinux_options(pod: &Pod<'_>, known: usize) -> Option<Violation> {
    let mut types = Words::new();
    let (mut user, mut role) = (false, false);
    let setters = pod.setters(|context| {
        let options = &context["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or_default();
        let kind = text("type");
        let bad = !kind.is_empty() && !SELINUX_TYPES.iter().take(known).any(|allowed| *allowed == kind);
        if bad {
            types.insert(kind.to_owned());
        }
        user |= !text("user").is_empty();
        role |= !text("role").is_empty();
        bad || !text("user").is_empty() || !text("role").is_empty()
    });
    if setters.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    for (set, text) in [(user, "user may not be set"), (role, "role may not be set")] {
        if set {
            data.push(text.to_owned());
        }
    }
    let (who, data) = (setters.join(" and "), data.join("; "));
    Some(violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {data}")))
}

pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let of_containers = pod.containers.iter().filter_map(|container| container["name"].as_str());
    let keys = of_containers.map(|name| format!("{SECCOMP_CONTAINER_ANNOTATIONS}{name}"));
    let forbidden: Words = std::iter::once(SECCOMP_POD_ANNOTATION.to_owned())
        .chain(keys)
        .filter_map(|key| Some((pod.annotations.get(&key)?.as_str()?, key)))
        .filter(|(value, _)| {
            !["runtime/default", "docker/default"].contains(value) && !value.starts_with("localhost/")
        })
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    (!forbidden.is_empty()).then(|| {
        let what = plural("annotation", "annotations", forbidden.len());
        let list = forbidden.into_iter().collect::<Vec<_>>().join(", ");
        violation("seccompProfile", format!("forbidden {what} {list}"))
    })
}

pub(super) fn seccomp_profile(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = Words::new();
    let setters = pod.setters(|context| is_unsafe_profile(&context["seccompProfile"], &mut values));
    (!setters.is_empty()).then(|| {
        let (who, values) = (setters.join(" and "), quoted(&values));
        let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
        violation("seccompProfile", detail)
    })
}

/// `known` says how many of [`SAFE_SYSCTLS`] are safe.
pub(super) fn sysctls(pod: &Pod<'_>, known: usize) -> Option<Violation> {
    let list = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let names = list.map(|sysctl| sysctl["name"].as_str().unwrap_or_default());
    let bad: Vec<&str> =
        names.filter(|name| !SAFE_SYSCTLS.iter().take(known).any(|safe| safe == name)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

pub(super) fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true);
    (!setters.is_empty()).then(|| {
        let who = setters.join(" and ");
        violation(
            "hostProcess",
            format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
        )
    })
}
