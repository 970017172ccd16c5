//! Checks of one container.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::check::{self, entries, list, text};
use super::super::resources;
use super::volume;
use crate::names;
use crate::quantity::Quantity;
use crate::status::Cause;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ONE_HANDLER: &str = "may not specify more than 1 handler type";
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Which list of the pod the container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `containers`.
    Main,
    /// `initContainers`.
    Init,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// Checks a container at `path`; `volumes` are the pod's volume names.
pub(super) fn validate(
    causes: &mut Vec<Cause>,
    item: &Value,
    path: &str,
    kind: Kind,
    volumes: &BTreeSet<&str>,
    pod: &Value,
) {
    let at = |field: &str| format!("{path}.{field}");
    check::required(causes, &at("name"), &item["name"], Some(names::dns1123_label));
    check::required(causes, &at("image"), &item["image"], None);
    let policies = ["File", "FallbackToLogsOnError"];
    check::one_of(causes, &at("terminationMessagePolicy"), &item["terminationMessagePolicy"], &policies);
    ports(causes, item, &at("ports"));
    env(causes, item, path);
    mounts(causes, item, &at("volumeMounts"), volumes);
    let policies = ["Always", "IfNotPresent", "Never"];
    check::one_of(causes, &at("imagePullPolicy"), &item["imagePullPolicy"], &policies);
    requirements(causes, &item["resources"], &at("resources"));
    security_context(causes, &item["securityContext"], &at("securityContext"));
    let restarts = &item["restartPolicy"];
    match kind {
        Kind::Main if !restarts.is_null() => {
            causes.push(Cause::forbidden(at("restartPolicy"), "may not be set for non-init containers"));
        }
        Kind::Init if !restarts.is_null() => {
            check::one_of(causes, &at("restartPolicy"), restarts, &["Always"]);
        }
        _ => {}
    }
    if kind == Kind::Main || (kind == Kind::Init && restarts == "Always") {
        lifecycle(causes, item, path, pod);
    } else if kind == Kind::Ephemeral {
        ephemeral(causes, item, path, pod);
    } else {
        let detail = "may not be set for init containers without restartPolicy=Always";
        for field in ["lifecycle"].into_iter().chain(PROBES).filter(|field| !item[*field].is_null()) {
            causes.push(Cause::forbidden(at(field), detail));
        }
    }
}

/// What helps to look into a pod must not become part of its work.
fn ephemeral(causes: &mut Vec<Cause>, item: &Value, path: &str, pod: &Value) {
    let target = &item["targetContainerName"];
    let mut others = list(pod, "containers").iter().chain(list(pod, "initContainers"));
    if !text(item, "targetContainerName").is_empty() && !others.any(|other| other["name"] == *target) {
        causes.push(Cause::not_found(format!("{path}.targetContainerName"), target));
    }
    let given = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let work = ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "lifecycle"];
    for field in work.into_iter().chain(PROBES).filter(|field| given(&item[*field])) {
        causes.push(Cause::forbidden(format!("{path}.{field}"), NOT_EPHEMERAL));
    }
    for (at, mount) in list(item, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"].into_iter().filter(|field| !text(mount, field).is_empty()) {
            causes.push(Cause::forbidden(format!("{path}.volumeMounts[{at}].{field}"), NOT_EPHEMERAL));
        }
    }
}

fn ports(causes: &mut Vec<Cause>, item: &Value, path: &str) {
    let mut taken = BTreeSet::new();
    for (at, port) in list(item, "ports").iter().enumerate() {
        let at = |field: &str| format!("{path}[{at}].{field}");
        let name = text(port, "name");
        if !name.is_empty() {
            let broken = names::port_name(name);
            if broken.is_empty() && !taken.insert(name) {
                causes.push(Cause::duplicate(at("name"), &json!(name)));
            }
            check::rules(causes, &at("name"), &port["name"], broken);
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => causes.push(Cause::required(at("containerPort"), "")),
            _ => check::port(causes, &at("containerPort"), &port["containerPort"]),
        }
        if port["hostPort"].as_i64().unwrap_or_default() != 0 {
            check::port(causes, &at("hostPort"), &port["hostPort"]);
        }
        check::one_of(causes, &at("protocol"), &port["protocol"], &PROTOCOLS);
        if !text(port, "hostIP").is_empty() {
            check::ip(causes, &at("hostIP"), &port["hostIP"]);
        }
    }
}

/// No two containers may want one port of the host.
pub(super) fn unique_host_ports(
    causes: &mut Vec<Cause>,
    item: &Value,
    path: &str,
    taken: &mut BTreeSet<String>,
) {
    for (at, port) in list(item, "ports").iter().enumerate() {
        let number = port["hostPort"].as_i64().unwrap_or_default();
        let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if number != 0 && !taken.insert(key.clone()) {
            causes.push(Cause::duplicate(format!("{path}.ports[{at}].hostPort"), &json!(key)));
        }
    }
}

fn env(causes: &mut Vec<Cause>, item: &Value, path: &str) {
    for (at, variable) in list(item, "env").iter().enumerate() {
        let path = format!("{path}.env[{at}]");
        check::required(causes, &format!("{path}.name"), &variable["name"], Some(names::environment_name));
        value_from(causes, variable, &format!("{path}.valueFrom"));
    }
    let path = format!("{path}.envFrom");
    for (at, source) in list(item, "envFrom").iter().enumerate() {
        let field = format!("{path}[{at}].prefix");
        check::optional(causes, &field, &source["prefix"], names::environment_name);
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"].into_iter().filter(|kind| !source[*kind].is_null()) {
            sources += 1;
            let field = format!("{path}[{at}].{kind}.name");
            check::required(causes, &field, &source[kind]["name"], Some(names::dns1123_subdomain));
        }
        one_source(causes, &path, sources, "must specify one of: `configMapRef` or `secretRef`");
    }
}

fn one_source(causes: &mut Vec<Cause>, path: &str, sources: usize, none: &str) {
    match sources {
        0 => causes.push(Cause::invalid(path, &json!(""), none)),
        1 => {}
        _ => {
            let detail = "may not have more than one field specified at a time";
            causes.push(Cause::invalid(path, &json!(""), detail));
        }
    }
}

fn value_from(causes: &mut Vec<Cause>, variable: &Value, path: &str) {
    let source = &variable["valueFrom"];
    if source.is_null() {
        return;
    }
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
    let mut sources = 0;
    for kind in kinds.into_iter().filter(|kind| !source[*kind].is_null()) {
        sources += 1;
        let (inner, path) = (&source[kind], format!("{path}.{kind}"));
        match kind {
            "fieldRef" => check::required(causes, &format!("{path}.fieldPath"), &inner["fieldPath"], None),
            "resourceFieldRef" => {
                check::required(causes, &format!("{path}.resource"), &inner["resource"], None);
            }
            _ => {
                let name = format!("{path}.name");
                let broken = names::dns1123_subdomain(text(inner, "name"));
                check::rules(causes, &name, &json!(text(inner, "name")), broken);
                check::required(causes, &format!("{path}.key"), &inner["key"], Some(names::config_map_key));
            }
        }
    }
    if sources > 0 && !text(variable, "value").is_empty() {
        causes.push(Cause::invalid(path, &json!(""), "may not be specified when `value` is not empty"));
        return;
    }
    let none = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
    one_source(causes, path, sources, none);
}

fn mounts(causes: &mut Vec<Cause>, item: &Value, path: &str, volumes: &BTreeSet<&str>) {
    let mut taken = BTreeSet::new();
    for (at, mount) in list(item, "volumeMounts").iter().enumerate() {
        let at = |field: &str| format!("{path}[{at}].{field}");
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        check::required(causes, &at("name"), &mount["name"], None);
        if !volumes.contains(name) {
            causes.push(Cause::not_found(at("name"), &json!(name)));
        }
        check::required(causes, &at("mountPath"), &mount["mountPath"], None);
        if !taken.insert(target) {
            causes.push(Cause::invalid(at("mountPath"), &json!(target), "must be unique"));
        }
        let (plain, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        volume::descending(causes, &format!("{path}.subPath"), plain);
        if !plain.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            causes.push(Cause::invalid(at("subPathExpr"), &json!(expression), detail));
        }
        volume::descending(causes, &format!("{path}.subPathExpr"), expression);
        let modes = ["Bidirectional", "HostToContainer", "None"];
        if !mount["mountPropagation"].is_null() {
            check::one_of(causes, &format!("{path}.mountPropagation"), &mount["mountPropagation"], &modes);
        }
    }
}

/// An amount that must be a quantity and not negative.
pub(in crate::strategies) fn quantity(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    match Quantity::from_json(value) {
        Ok(amount) if amount.is_negative() => {
            causes.push(Cause::invalid(field, &json!(amount.to_string()), check::NEGATIVE));
        }
        Ok(_) => {}
        Err(error) => causes.push(Cause::invalid(field, value, &error.to_string())),
    }
}

/// Checks `limits` and `requests`.
pub(in crate::strategies) fn requirements(causes: &mut Vec<Cause>, asked: &Value, path: &str) {
    for (name, amount) in entries(&asked["limits"]) {
        let field = format!("{path}.limits[{name}]");
        resources::container_name(causes, &field, name);
        resources::amount(causes, &field, name, amount);
    }
    for (name, amount) in entries(&asked["requests"]) {
        let field = format!("{path}.requests");
        resources::container_name(causes, &format!("{field}[{name}]"), name);
        resources::amount(causes, &format!("{field}[{name}]"), name, amount);
        let limit = Quantity::from_json(&asked["limits"][name]).ok();
        let Ok(amount) = Quantity::from_json(amount) else { continue };
        let overcommit = resources::may_be_overcommitted(name);
        match limit {
            Some(limit) if !overcommit && amount != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                causes.push(Cause::invalid(field, &json!(amount.to_string()), &detail));
            }
            Some(limit) if amount > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                causes.push(Cause::invalid(field, &json!(amount.to_string()), &detail));
            }
            None if !overcommit => {
                let detail = "Limit must be set for non overcommitable resources";
                causes.push(Cause::required(format!("{path}.limits"), detail));
            }
            _ => {}
        }
    }
}

fn security_context(causes: &mut Vec<Cause>, context: &Value, path: &str) {
    for field in ["runAsUser", "runAsGroup"] {
        check::id(causes, &format!("{path}.{field}"), &context[field]);
    }
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            causes.push(Cause::invalid(path, context, detail));
        }
        if list(&context["capabilities"], "add").iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            causes.push(Cause::invalid(path, context, detail));
        }
    }
    seccomp(causes, &context["seccompProfile"], &format!("{path}.seccompProfile"));
}

/// Checks a seccomp profile.
pub(super) fn seccomp(causes: &mut Vec<Cause>, profile: &Value, path: &str) {
    if profile.is_null() {
        return;
    }
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    check::one_of(causes, &format!("{path}.type"), &profile["type"], &kinds);
    let (local, field) = (text(profile, "type") == "Localhost", format!("{path}.localhostProfile"));
    match (local, profile["localhostProfile"].is_null()) {
        (true, true) => causes.push(Cause::required(field, "must be set when seccomp type is Localhost")),
        (false, false) => {
            let detail = "can only be set when seccomp type is Localhost";
            causes.push(Cause::invalid(field, &profile["localhostProfile"], detail));
        }
        _ => {}
    }
}

fn lifecycle(causes: &mut Vec<Cause>, item: &Value, path: &str, pod: &Value) {
    for hook in ["postStart", "preStop"] {
        let action = &item["lifecycle"][hook];
        if !action.is_null() {
            handler(causes, action, &format!("{path}.lifecycle.{hook}"), pod);
        }
    }
    for name in PROBES {
        let probe = &item[name];
        if probe.is_null() {
            continue;
        }
        let path = format!("{path}.{name}");
        handler(causes, probe, &path, pod);
        let counts = [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ];
        for field in counts {
            check::not_negative(causes, &format!("{path}.{field}"), &probe[field]);
        }
        let (threshold, grace) = (&probe["successThreshold"], &probe["terminationGracePeriodSeconds"]);
        if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
            let field = format!("{path}.terminationGracePeriodSeconds");
            causes.push(Cause::invalid(field, grace, "must be greater than 0"));
        }
        if name == "readinessProbe" {
            if !grace.is_null() {
                let field = format!("{path}.terminationGracePeriodSeconds");
                causes.push(Cause::invalid(field, grace, "must not be set for readinessProbes"));
            }
        } else if threshold.as_i64().is_some_and(|count| count != 1) {
            causes.push(Cause::invalid(format!("{path}.successThreshold"), threshold, "must be 1"));
        }
    }
}

/// A probe or hook does exactly one thing.
fn handler(causes: &mut Vec<Cause>, handler: &Value, path: &str, pod: &Value) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let mut given = kinds.into_iter().filter(|kind| !handler[*kind].is_null());
    let Some(kind) = given.next() else {
        causes.push(Cause::required(path, "must specify a handler type"));
        return;
    };
    let (action, inner) = (&handler[kind], format!("{path}.{kind}"));
    match kind {
        "exec" if list(action, "command").is_empty() => {
            causes.push(Cause::required(format!("{inner}.command"), ""));
        }
        "httpGet" => {
            check::required(causes, &format!("{inner}.path"), &action["path"], None);
            check::port_or_name(causes, &format!("{inner}.port"), &action["port"]);
            check::one_of(causes, &format!("{inner}.scheme"), &action["scheme"], &["HTTP", "HTTPS"]);
        }
        "tcpSocket" => check::port_or_name(causes, &format!("{inner}.port"), &action["port"]),
        "grpc" => check::port(causes, &format!("{inner}.port"), &action["port"]),
        "sleep" => sleep(causes, action, &inner, pod),
        _ => {}
    }
    for other in given {
        causes.push(Cause::forbidden(format!("{path}.{other}"), ONE_HANDLER));
    }
}

fn sleep(causes: &mut Vec<Cause>, action: &Value, path: &str, pod: &Value) {
    let Some(grace) = pod["terminationGracePeriodSeconds"].as_i64() else { return };
    let seconds = action["seconds"].as_i64().unwrap_or_default();
    if !(0..=grace).contains(&seconds) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        causes.push(Cause::invalid(path, &json!(seconds), &detail));
    }
}
