//! Controls of the restricted level: what hardened pods have to say for themselves.

use super::baseline::is_unsafe_profile;
use super::controls::{Pod, Violation, Words, named, plural, quoted, strings, violation};

/// What a volume may be made of.
const ALLOWED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn allow_privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.containers_where(|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    (!bad.is_empty()).then(|| {
        let who = named("container", "containers", &bad);
        let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
        violation("allowPrivilegeEscalation != false", detail)
    })
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let keeping = pod.containers_where(|container| {
        let mut dropped = strings(&container["securityContext"]["capabilities"]["drop"]);
        !dropped.any(|name| name == "ALL")
    });
    let mut others = Words::new();
    let adding = pod.containers_where(|container| {
        let added = strings(&container["securityContext"]["capabilities"]["add"]);
        let bad: Vec<&str> = added.filter(|name| *name != "NET_BIND_SERVICE").collect();
        others.extend(bad.iter().map(|name| (*name).to_owned()));
        !bad.is_empty()
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = named("container", "containers", &keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let (who, what) = (named("container", "containers", &adding), quoted(&others));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| violation("unrestricted capabilities", details.join("; ")))
}

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = Words::new();
    let mut bad = Vec::new();
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let set = |kind: &&str| volume.get(kind).is_some_and(|source| !source.is_null());
        if ALLOWED_VOLUMES.iter().any(&set) {
            continue;
        }
        bad.push(volume["name"].as_str().unwrap_or_default());
        let mut sources = volume.as_object().into_iter().flat_map(|map| map.keys()).map(String::as_str);
        kinds.insert(sources.find(|key| *key != "name" && set(key)).unwrap_or("unknown").to_owned());
    }
    (!bad.is_empty()).then(|| {
        let (who, use_) = (named("volume", "volumes", &bad), plural("uses", "use", bad.len()));
        let what = plural("restricted volume type", "restricted volume types", kinds.len());
        violation("restricted volume types", format!("{who} {use_} {what} {}", quoted(&kinds)))
    })
}

pub(super) fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let setters = pod.setters(|context| context["runAsNonRoot"] == false);
    if !setters.is_empty() {
        let who = setters.join(" and ");
        return Some(violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    if pod.spec["securityContext"]["runAsNonRoot"] == true {
        return None;
    }
    let silent = pod.containers_where(|container| !container["securityContext"]["runAsNonRoot"].is_boolean());
    (!silent.is_empty()).then(|| {
        let who = named("container", "containers", &silent);
        violation(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
    })
}

pub(super) fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["runAsUser"] == 0);
    (!setters.is_empty())
        .then(|| violation("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and "))))
}

pub(super) fn seccomp_profile(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "seccompProfile";
    let mut values = Words::new();
    let setters = pod.setters(|context| is_unsafe_profile(&context[REASON], &mut values));
    if !setters.is_empty() {
        let (who, values) = (setters.join(" and "), quoted(&values));
        let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
        return Some(violation(REASON, detail));
    }
    if pod.spec["securityContext"][REASON].is_object() {
        return None;
    }
    let silent = pod.containers_where(|container| !container["securityContext"][REASON].is_object());
    (!silent.is_empty()).then(|| {
        let who = named("container", "containers", &silent);
        let detail = format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        );
        violation(REASON, detail)
    })
}
