//! Checks of a `PodSpec`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::check::{self, list, text};
use super::affinity;
use super::container::{self, Kind};
use super::volume;
use crate::names;
use crate::status::Cause;

/// What the specification belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A pod.
    Pod,
    /// The template of a workload.
    Template,
}

/// Checks a specification at `path`.
pub(super) fn validate(causes: &mut Vec<Cause>, spec: &Value, path: &str, owner: Owner) {
    let volumes = volume::validate(causes, spec, &format!("{path}.volumes"));
    containers(causes, spec, path, &volumes, owner);
    if spec["hostNetwork"] == true {
        host_network_ports(causes, spec, path, owner);
    }
    let at = |field: &str| format!("{path}.{field}");
    let policies = ["Always", "OnFailure", "Never"];
    check::one_of(causes, &at("restartPolicy"), &spec["restartPolicy"], &policies);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check::one_of(causes, &at("dnsPolicy"), &spec["dnsPolicy"], &policies);
    check::labels(causes, &at("nodeSelector"), &spec["nodeSelector"]);
    security_context(causes, &spec["securityContext"], spec, &at("securityContext"));
    check::optional(causes, &at("serviceAccountName"), &spec["serviceAccountName"], names::dns1123_subdomain);
    check::optional(causes, &at("nodeName"), &spec["nodeName"], names::dns1123_subdomain);
    check::not_negative(causes, &at("terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"]);
    let deadline = &spec["activeDeadlineSeconds"];
    check::between(causes, &at("activeDeadlineSeconds"), deadline, 1, i64::from(i32::MAX));
    check::optional(causes, &at("hostname"), &spec["hostname"], names::dns1123_label);
    check::optional(causes, &at("subdomain"), &spec["subdomain"], names::dns1123_label);
    check::optional(causes, &at("priorityClassName"), &spec["priorityClassName"], names::dns1123_subdomain);
    affinity::validate(causes, &spec["affinity"], &at("affinity"));
    validate_tolerations(causes, spec, &at("tolerations"));
    host_aliases(causes, spec, &at("hostAliases"));
    dns_config(causes, spec, &at("dnsConfig"));
    spread(causes, spec, &at("topologySpreadConstraints"));
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let field = format!("{path}.readinessGates[{index}].conditionType");
        let value = &gate["conditionType"];
        check::rules(causes, &field, value, names::qualified_name(text(gate, "conditionType")));
    }
    gates(causes, spec, path);
}

fn containers(causes: &mut Vec<Cause>, spec: &Value, path: &str, volumes: &BTreeSet<&str>, owner: Owner) {
    let mut taken = BTreeSet::new();
    let main = list(spec, "containers");
    if main.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let lists = [
        ("containers", main, Kind::Main),
        ("initContainers", list(spec, "initContainers"), Kind::Init),
        ("ephemeralContainers", list(spec, "ephemeralContainers"), Kind::Ephemeral),
    ];
    for (field, containers, kind) in lists {
        let mut host_ports = BTreeSet::new();
        for (at, item) in containers.iter().enumerate() {
            let path = format!("{path}.{field}[{at}]");
            container::validate(causes, item, &path, kind, volumes, spec);
            let name = text(item, "name");
            if !name.is_empty() && !taken.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
            }
            // Init containers run one by one, so only their own ports can clash.
            if kind == Kind::Init {
                host_ports.clear();
            }
            container::unique_host_ports(causes, item, &path, &mut host_ports);
        }
    }
    if owner == Owner::Template && !list(spec, "ephemeralContainers").is_empty() {
        let field = format!("{path}.ephemeralContainers");
        causes.push(Cause::forbidden(field, "ephemeral containers not allowed in pod template"));
    }
}

fn host_network_ports(causes: &mut Vec<Cause>, spec: &Value, path: &str, owner: Owner) {
    for (at, item) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(item, "ports").iter().enumerate() {
            let number = |key: &str| port[key].as_i64().unwrap_or_default();
            let (host, inner) = (number("hostPort"), number("containerPort"));
            if host != inner && (owner == Owner::Pod || host != 0) {
                let field = format!("{path}.containers[{at}].ports[{index}].hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                causes.push(Cause::invalid(field, &json!(host), detail));
            }
        }
    }
}

fn security_context(causes: &mut Vec<Cause>, context: &Value, spec: &Value, path: &str) {
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        check::id(causes, &format!("{path}.{field}"), &context[field]);
    }
    for (at, group) in list(context, "supplementalGroups").iter().enumerate() {
        check::id(causes, &format!("{path}.supplementalGroups[{at}]"), group);
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.push(Cause::invalid(format!("{path}.shareProcessNamespace"), &json!(true), detail));
    }
    let policy = &context["fsGroupChangePolicy"];
    if !policy.is_null() {
        check::one_of(causes, &format!("{path}.fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    for (at, sysctl) in list(context, "sysctls").iter().enumerate() {
        check::required(causes, &format!("{path}.sysctls[{at}].name"), &sysctl["name"], None);
    }
    container::seccomp(causes, &context["seccompProfile"], &format!("{path}.seccompProfile"));
}

/// Checks the tolerations of a pod, or of what adds some to pods.
pub(in crate::strategies) fn validate_tolerations(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    for (at, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = format!("{path}[{at}]");
        let (key, value) = (text(toleration, "key"), text(toleration, "value"));
        let (operator, effect) = (text(toleration, "operator"), text(toleration, "effect"));
        if !key.is_empty() {
            check::rules(causes, &format!("{path}.key"), &json!(key), names::qualified_name(key));
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.push(Cause::invalid(format!("{path}.operator"), &json!(operator), detail));
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(Cause::invalid(format!("{path}.effect"), &json!(effect), detail));
        }
        match operator {
            "" | "Equal" => {
                let broken = names::label_value(value).join(";");
                if !broken.is_empty() {
                    causes.push(Cause::invalid(format!("{path}.operator"), &json!(value), &broken));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                causes.push(Cause::invalid(format!("{path}.operator"), toleration, detail));
            }
            "Exists" => {}
            _ => {
                let field = format!("{path}.operator");
                causes.push(Cause::not_supported(field, &json!(operator), &["Equal", "Exists"]));
            }
        }
        if !effect.is_empty() {
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            check::one_of(causes, &format!("{path}.effect"), &json!(effect), &effects);
        }
    }
}

fn host_aliases(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    for (at, alias) in list(spec, "hostAliases").iter().enumerate() {
        check::ip(causes, &format!("{path}[{at}].ip"), &alias["ip"]);
        for (index, name) in list(alias, "hostnames").iter().enumerate() {
            let field = format!("{path}[{at}].hostnames[{index}]");
            check::rules(causes, &field, name, names::dns1123_subdomain(name.as_str().unwrap_or_default()));
        }
    }
}

fn dns_config(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let config = &spec["dnsConfig"];
    let servers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            causes.push(Cause::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
        } else if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            causes.push(Cause::required(format!("{path}.nameservers"), detail));
        }
    }
    if servers.len() > 3 {
        let field = format!("{path}.nameservers");
        causes.push(Cause::invalid(field, &config["nameservers"], "must not have more than 3 nameservers"));
    }
    for (at, server) in servers.iter().enumerate() {
        check::ip(causes, &format!("{path}.nameservers[{at}]"), server);
    }
    if list(config, "searches").len() > 32 {
        let field = format!("{path}.searches");
        causes.push(Cause::invalid(field, &config["searches"], "must not have more than 32 search paths"));
    }
    for (at, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            causes.push(Cause::required(format!("{path}.options[{at}]"), "must not be empty"));
        }
    }
}

fn spread(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    for (at, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}[{at}]");
        let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
        if skew <= 0 {
            causes.push(Cause::invalid(format!("{path}.maxSkew"), &json!(skew), "must be greater than zero"));
        }
        if text(constraint, "topologyKey").is_empty() {
            causes.push(Cause::required(format!("{path}.topologyKey"), "can not be empty"));
        }
        let field = format!("{path}.whenUnsatisfiable");
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        check::one_of(causes, &field, &constraint["whenUnsatisfiable"], &actions);
        check::label_selector(causes, &format!("{path}.labelSelector"), &constraint["labelSelector"]);
    }
}

fn gates(causes: &mut Vec<Cause>, spec: &Value, path: &str) {
    let mut seen = BTreeSet::new();
    for (at, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let field = format!("{path}.schedulingGates[{at}]");
        let name = text(gate, "name");
        check::rules(causes, &field, &json!(name), names::qualified_name(name));
        if !seen.insert(name) {
            causes.push(Cause::duplicate(field, &json!(name)));
        }
    }
    if !seen.is_empty() && !text(spec, "nodeName").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        causes.push(Cause::forbidden(format!("{path}.nodeName"), detail));
    }
}
