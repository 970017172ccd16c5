//! Every control of the published standards, with what passes and what does not. The pods are those of upstream's
//! fixtures (`pod-security-admission/test/testdata`): a minimal one of the level, changed in one place.

use serde_json::json;

use super::*;

/// Passes at every level.
fn hardened() -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": "registry.k8s.io/pause",
               "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
    };
    json!({"metadata": {"name": "base"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [container("i")], "containers": [container("c")]}})
}

fn level(text: &str) -> LevelVersion {
    let (level, version) = text.split_once(':').expect("LEVEL:VERSION");
    LevelVersion {
        level: Level::parse(level).expect("a level"),
        version: Version::parse(version).expect("a version"),
    }
}

/// Changes the hardened pod at a path (`p` the pod's security context, `c` and `i` those of the containers, else a
/// field of the spec) and evaluates it.
fn check(policy: &str, path: &str, value: Value, expect: &str) {
    let mut pod = hardened();
    let (place, rest) = path.split_once('.').unwrap_or((path, ""));
    let (mut slot, rest) = match place {
        "p" => (&mut pod["spec"]["securityContext"], rest),
        "c" => (&mut pod["spec"]["containers"][0]["securityContext"], rest),
        "i" => (&mut pod["spec"]["initContainers"][0]["securityContext"], rest),
        "container" => (&mut pod["spec"]["containers"][0], rest),
        "metadata" => (&mut pod["metadata"], rest),
        _ => (&mut pod["spec"], path),
    };
    for key in rest.split('.') {
        slot = &mut slot[key];
    }
    *slot = value;
    let policy = level(policy);
    assert_eq!(detail(&evaluate(policy, &pod)), expect, "{policy} {path}");
}

#[test]
fn the_hardened_pod_passes() {
    for policy in
        ["baseline:v1.0", "baseline:latest", "restricted:v1.0", "restricted:v1.25", "restricted:latest"]
    {
        assert_eq!(detail(&evaluate(level(policy), &hardened())), "", "{policy}");
    }
    assert_eq!(evaluate(LevelVersion::PRIVILEGED, &json!({"spec": {"hostPID": true}})), []);
}

#[test]
fn baseline() {
    const B: &str = "baseline:latest";
    check(B, "hostNetwork", json!(true), "host namespaces (hostNetwork=true)");
    check(B, "hostPID", json!(true), "host namespaces (hostPID=true)");
    check(B, "hostIPC", json!(true), "host namespaces (hostIPC=true)");
    check(B, "hostIPC", json!(false), "");
    check(B, "volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), "hostPath volumes (volume \"v\")");
    check(B, "volumes", json!([{"name": "v", "emptyDir": {}}]), "");
    check(
        B,
        "container.ports",
        json!([{"containerPort": 1, "hostPort": 12345}]),
        "hostPort (container \"c\" uses hostPort 12345)",
    );
    check(B, "container.ports", json!([{"containerPort": 1}]), "");
    let probe = json!({"httpGet": {"port": 1, "host": "10.0.0.1"}});
    let text = "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"10.0.0.1\")";
    check(B, "container.livenessProbe", probe.clone(), text);
    check(B, "container.lifecycle", json!({"preStop": {"tcpSocket": {"port": 1, "host": "10.0.0.1"}}}), text);
    check("baseline:v1.33", "container.livenessProbe", probe, "");
    check(
        B,
        "c.privileged",
        json!(true),
        "privileged (container \"c\" must not set securityContext.privileged=true)",
    );
    check(B, "c.privileged", json!(false), "");
    let text = "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")";
    check(B, "c.procMount", json!("Unmasked"), text);
    check(B, "c.procMount", json!("Default"), "");
    let text = "non-default capabilities (container \"c\" must not include \"NET_ADMIN\", \"NET_RAW\" in securityContext.capabilities.add)";
    check(B, "c.capabilities.add", json!(["NET_RAW", "CHOWN", "NET_ADMIN"]), text);
    check(B, "c.capabilities.add", json!(["CHOWN", "SYS_CHROOT"]), "");
    let text = "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)";
    check(B, "p.windowsOptions", json!({"hostProcess": true}), text);
    check(B, "p.windowsOptions", json!({}), "");
}

#[test]
fn baseline_profiles() {
    const B: &str = "baseline:latest";
    let text = "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")";
    check(B, "p.appArmorProfile", json!({"type": "Unconfined"}), text);
    check(B, "p.appArmorProfile", json!({"type": "RuntimeDefault"}), "");
    let annotation = json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"});
    let text = "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
                \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")";
    check(B, "metadata.annotations", annotation, text);
    let text = "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"other_t\"; user may not be set)";
    check(B, "c.seLinuxOptions", json!({"type": "other_t", "user": "u"}), text);
    let text = "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: role may not be set)";
    check(B, "p.seLinuxOptions", json!({"role": "r"}), text);
    check(B, "p.seLinuxOptions", json!({"type": "container_engine_t"}), "");
    let text =
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")";
    check("baseline:v1.30", "p.seLinuxOptions", json!({"type": "container_engine_t"}), text);
    let text =
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")";
    check(B, "c.seccompProfile", json!({"type": "Unconfined"}), text);
    check(B, "c.seccompProfile", json!({"type": "Localhost"}), "");
    let annotation = json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"});
    let text =
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")";
    check("baseline:v1.18", "metadata.annotations", annotation.clone(), text);
    check(B, "metadata.annotations", annotation, "");
    let sysctls = |name: &str| json!([{"name": name, "value": "1"}]);
    check(B, "p.sysctls", sysctls("kernel.sem"), "forbidden sysctls (kernel.sem)");
    check(B, "p.sysctls", sysctls("net.ipv4.tcp_rmem"), "");
    check(
        "baseline:v1.31",
        "p.sysctls",
        sysctls("net.ipv4.tcp_rmem"),
        "forbidden sysctls (net.ipv4.tcp_rmem)",
    );
    // Not yet safe in this release.
    let late = "net.ipv4.tcp_notsent_lowat";
    check(B, "p.sysctls", sysctls(late), &format!("forbidden sysctls ({late})"));
}

#[test]
fn restricted() {
    const R: &str = "restricted:latest";
    let text = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)";
    check(R, "c.allowPrivilegeEscalation", json!(null), text);
    check("restricted:v1.7", "c.allowPrivilegeEscalation", json!(null), "");
    let text =
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])";
    check(R, "c.capabilities", json!({}), text);
    check("restricted:v1.21", "c.capabilities", json!({}), "");
    let text = "unrestricted capabilities (container \"i\" must not include \"CHOWN\" in securityContext.capabilities.add)";
    check(R, "i.capabilities.add", json!(["CHOWN"]), text);
    check(R, "i.capabilities.add", json!(["NET_BIND_SERVICE"]), "");
    let text = "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")";
    check(R, "volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), text);
    let text =
        "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"iscsi\", \"nfs\")";
    check(R, "volumes", json!([{"name": "v", "nfs": {}}, {"name": "w", "iscsi": {}}]), text);
    check(R, "volumes", json!([{"name": "v", "image": {"reference": "x"}}, {"name": "w", "csi": {}}]), "");
    let text =
        "runAsNonRoot != true (pod or containers \"i\", \"c\" must set securityContext.runAsNonRoot=true)";
    check(R, "p.runAsNonRoot", json!(null), text);
    let text = "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)";
    check(R, "p.runAsNonRoot", json!(false), text);
    let text = "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)";
    check(R, "c.runAsNonRoot", json!(false), text);
    check(R, "c.runAsUser", json!(0), "runAsUser=0 (container \"c\" must not set runAsUser=0)");
    check(R, "c.runAsUser", json!(1000), "");
    check("restricted:v1.22", "c.runAsUser", json!(0), "");
    let text = "seccompProfile (pod or containers \"i\", \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    check(R, "p.seccompProfile", json!(null), text);
    let text =
        "seccompProfile (container \"i\" must not set securityContext.seccompProfile.type to \"Unconfined\")";
    check(R, "i.seccompProfile", json!({"type": "Unconfined"}), text);
}

#[test]
fn windows_and_user_namespaces() {
    let windows = json!({"spec": {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true},
                                  "containers": [{"name": "c"}]}});
    assert_eq!(detail(&evaluate(level("restricted:v1.25"), &windows)), "");
    assert_eq!(evaluate(level("restricted:v1.24"), &windows).len(), 3);
    let own_users = json!({"spec": {"hostUsers": false, "securityContext": {"runAsUser": 0},
                                    "containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]}});
    assert_eq!(evaluate(level("baseline:v1.35"), &own_users), []);
    let text = reason(&evaluate(level("baseline:v1.34"), &own_users));
    assert_eq!(text, "procMount");
    // The restricted level keeps the older form of that control only.
    let text = reason(&evaluate(level("restricted:v1.35"), &own_users));
    assert_eq!(
        text,
        "allowPrivilegeEscalation != false, unrestricted capabilities, procMount, seccompProfile"
    );
}

#[test]
fn policies_of_labels() {
    let check = |labels: Value, expect: &str, wrong: usize| {
        let (policy, causes) = Policy::of_labels(&labels, Policy::default());
        let text = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
        assert_eq!((text.as_str(), causes.len()), (expect, wrong), "{labels}");
    };
    let label = |mode: &str, word: &str| json!({format!("{PREFIX}{mode}"): word});
    check(json!({}), "privileged:latest privileged:latest privileged:latest", 0);
    // Whoever enforces is warned as well.
    check(label("enforce", "baseline"), "baseline:latest privileged:latest baseline:latest", 0);
    check(label("audit", "restricted"), "privileged:latest restricted:latest privileged:latest", 0);
    check(label("enforce", "tight"), "restricted:latest privileged:latest privileged:latest", 1);
    check(label("warn-version", "v1.07"), "privileged:latest privileged:latest privileged:latest", 1);
    let pinned = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.25"});
    check(pinned, "restricted:v1.25 privileged:latest restricted:v1.25", 0);
}
