//! Rules of services.
//!
//! Cluster IPs and node ports come from the server's allocators, which run after these rules; so an
//! absent address is fine here, a changed one is not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{self, list, text};
use crate::names;
use crate::object;
use crate::status::Cause;
use crate::strategy::{Context, Strategy};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// One day: longer affinity is refused.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

/// A stable address for a set of pods.
pub struct Service;

impl Strategy for Service {
    fn answers_deleted(&self) -> bool {
        true
    }

    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1035_label(name)
    }

    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn takes_addresses(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        // Whoever turns affinity off need not take back the timeout the server filled in.
        if object["spec"]["sessionAffinity"] == "None" {
            object::remove(&mut object["spec"], "sessionAffinityConfig");
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"loadBalancer": {}});
        pair_cluster_ips(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, context: &Context) {
        if context.subresource.is_empty() {
            keep_allocated(object, old);
            pair_cluster_ips(object, Some(old));
            drop_what_the_type_forbids(object, old);
        }
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let kind = text(spec, "type");
        if list(spec, "ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
            causes.push(Cause::required("spec.ports", ""));
        }
        by_type(&mut causes, spec, kind);
        ports(&mut causes, spec);
        check::labels(&mut causes, "spec.selector", &spec["selector"]);
        affinity(&mut causes, spec);
        for (at, address) in list(spec, "clusterIPs").iter().enumerate() {
            if address != "None" && address != "" {
                check::ip(&mut causes, &format!("spec.clusterIPs[{at}]"), address);
            }
        }
        for (at, address) in list(spec, "externalIPs").iter().enumerate() {
            check::ip(&mut causes, &format!("spec.externalIPs[{at}]"), address);
        }
        check::one_of(&mut causes, "spec.type", &spec["type"], &TYPES);
        unique_ports(&mut causes, spec, kind);
        policies(&mut causes, spec, kind);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (new, old) = (&object["spec"], &old["spec"]);
        let external = |spec: &Value| text(spec, "type") == "ExternalName";
        let (address, before) = (text(new, "clusterIP"), text(old, "clusterIP"));
        if !external(new) && !external(old) && !before.is_empty() && address != before {
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!([address]), "may not change once set"));
        }
        causes
    }
}

/// Whether the service has no cluster IP by wish.
fn is_headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None" || list(spec, "clusterIPs").first().is_some_and(|ip| ip == "None")
}

fn by_type(causes: &mut Vec<Cause>, spec: &Value, kind: &str) {
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), &detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec[field].is_null() && spec[field] != json!([]) {
                    let detail = "may not be set for ExternalName services";
                    causes.push(Cause::forbidden(format!("spec.{field}"), detail));
                }
            }
            let name = text(spec, "externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => causes.push(Cause::required("spec.externalName", "")),
                name => {
                    let broken = names::dns1123_subdomain(name);
                    check::rules(causes, "spec.externalName", &json!(name), broken);
                }
            }
        }
        _ => {}
    }
}

fn ports(causes: &mut Vec<Cause>, spec: &Value) {
    let ports = list(spec, "ports");
    let mut taken = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{at}].{field}");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(at("name"), ""));
            }
        } else {
            check::rules(causes, &at("name"), &port["name"], names::dns1123_label(name));
            if !taken.insert(name) {
                causes.push(Cause::duplicate(at("name"), &json!(name)));
            }
        }
        check::port(causes, &at("port"), &port["port"]);
        check::one_of(causes, &at("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        check::port_or_name(causes, &at("targetPort"), &port["targetPort"]);
        check::optional(causes, &at("appProtocol"), &port["appProtocol"], names::qualified_name);
    }
}

fn unique_ports(causes: &mut Vec<Cause>, spec: &Value, kind: &str) {
    let (mut node_ports, mut pairs) = (BTreeSet::new(), BTreeSet::new());
    let ports = list(spec, "ports");
    let number = |port: &Value, key: &str| port[key].as_i64().unwrap_or_default();
    for (at, port) in ports.iter().enumerate() {
        let node_port = number(port, "nodePort");
        let field = format!("spec.ports[{at}].nodePort");
        if node_port != 0 && kind == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(field, detail));
        } else if node_port != 0 && !node_ports.insert((text(port, "protocol"), node_port)) {
            causes.push(Cause::duplicate(field, &json!(node_port)));
        }
    }
    for (at, port) in ports.iter().enumerate() {
        if !pairs.insert((text(port, "protocol"), number(port, "port"))) {
            let shown = json!({"protocol": port["protocol"], "port": port["port"], "targetPort": 0});
            causes.push(Cause::duplicate(format!("spec.ports[{at}]"), &shown));
        }
    }
}

fn affinity(causes: &mut Vec<Cause>, spec: &Value) {
    check::one_of(causes, "spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    let config = &spec["sessionAffinityConfig"];
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            let seconds = &config["clientIP"]["timeoutSeconds"];
            match seconds.as_i64() {
                None => causes.push(Cause::required(field, "when session affinity type is ClientIP")),
                Some(value) if !(1..=MAX_AFFINITY_SECONDS).contains(&value) => {
                    let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
                    causes.push(Cause::invalid(field, seconds, &detail));
                }
                Some(_) => {}
            }
        }
        "None" if !config.is_null() => {
            let detail = "must not be set when session affinity is None";
            causes.push(Cause::forbidden("spec.sessionAffinityConfig", detail));
        }
        _ => {}
    }
}

fn policies(causes: &mut Vec<Cause>, spec: &Value, kind: &str) {
    let external = is_external(spec, kind);
    let policy = &spec["externalTrafficPolicy"];
    if external {
        check::one_of(causes, "spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
    } else if !text(spec, "externalTrafficPolicy").is_empty() {
        let detail = "may only be set for externally-accessible services";
        causes.push(Cause::invalid("spec.externalTrafficPolicy", policy, detail));
    }
    if !spec["internalTrafficPolicy"].is_null() {
        let field = "spec.internalTrafficPolicy";
        check::one_of(causes, field, &spec["internalTrafficPolicy"], &["Cluster", "Local"]);
    }
    if kind != "LoadBalancer" {
        for (field, name) in [
            ("loadBalancerSourceRanges", "LoadBalancerSourceRanges"),
            ("allocateLoadBalancerNodePorts", "allocateLoadBalancerNodePorts"),
            ("loadBalancerClass", "loadBalancerClass"),
        ] {
            if !spec[field].is_null() && spec[field] != json!([]) {
                let detail = "may only be used when `type` is 'LoadBalancer'";
                causes.push(Cause::forbidden(format!("spec.{name}"), detail));
            }
        }
    }
    let health = &spec["healthCheckNodePort"];
    let local = kind == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
    if !local && health.as_i64().unwrap_or_default() != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.push(Cause::invalid("spec.healthCheckNodePort", health, detail));
    }
}

fn is_external(spec: &Value, kind: &str) -> bool {
    let addressed = kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    kind == "LoadBalancer" || kind == "NodePort" || addressed
}

fn has_cluster_ip(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

fn has_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(spec, "type"))
}

/// An update that leaves out what the server chose keeps it: `kubectl replace` of a plain manifest
/// must not lose the service's address.
fn keep_allocated(object: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = object.get_mut("spec") else { return };
    if has_cluster_ip(before) && has_cluster_ip(spec) {
        if text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").is_empty() {
            check::copy(spec, before, "clusterIP");
            check::copy(spec, before, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() {
                check::copy(spec, before, field);
            }
        }
    }
    if has_node_ports(before) && has_node_ports(spec) {
        let used: Vec<Value> = list(spec, "ports").iter().map(|port| port["nodePort"].clone()).collect();
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let same =
                |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
            let known = list(before, "ports").iter().find(same);
            let wanted = known.map(|known| known["nodePort"].clone()).filter(|number| number.is_number());
            if port["nodePort"].as_i64().unwrap_or_default() == 0
                && let Some(number) = wanted.filter(|number| !used.contains(number))
            {
                check::set(port, "nodePort", number);
            }
        }
    }
    let local =
        |spec: &Value| text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
    if local(before) && local(spec) && spec["healthCheckNodePort"].as_i64().unwrap_or_default() == 0 {
        check::copy(spec, before, "healthCheckNodePort");
    }
}

/// `clusterIP` is the first of `clusterIPs`; a client may have written only one of them.
fn pair_cluster_ips(object: &mut Value, old: Option<&Value>) {
    let Some(spec) = object.get_mut("spec") else { return };
    let single = text(spec, "clusterIP").to_owned();
    let first = list(spec, "clusterIPs").first().and_then(Value::as_str).unwrap_or_default().to_owned();
    if !single.is_empty() && first.is_empty() {
        check::set(spec, "clusterIPs", json!([single]));
    } else if single.is_empty() && !first.is_empty() {
        let cleared = old.is_some_and(|old| text(&old["spec"], "clusterIP") == first);
        if cleared && !has_cluster_ip(spec) {
            object::remove(spec, "clusterIPs");
        } else {
            check::set(spec, "clusterIP", first.into());
        }
    } else if let Some(old) = old
        && single != first
        && text(&old["spec"], "clusterIP") == first
    {
        // An old client changed the only field it knows.
        check::set(spec, "clusterIPs", json!([single]));
    }
    for field in ["clusterIP", "clusterIPs"] {
        if spec[field].is_null() {
            object::remove(spec, field);
        }
    }
}

/// A change of type drops what the new type has no use for, unless the caller changed it as well.
fn drop_what_the_type_forbids(object: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = object.get_mut("spec") else { return };
    if has_cluster_ip(before) && !has_cluster_ip(spec) && spec["clusterIP"] == before["clusterIP"] {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            object::remove(spec, field);
        }
    }
    if has_node_ports(before) && !has_node_ports(spec) {
        let known: Vec<Value> = list(before, "ports").iter().map(|port| port["nodePort"].clone()).collect();
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if known.contains(&port["nodePort"]) {
                object::remove(port, "nodePort");
            }
        }
    }
    let kind = text(spec, "type").to_owned();
    if !is_external(spec, &kind) && spec["externalTrafficPolicy"] == before["externalTrafficPolicy"] {
        object::remove(spec, "externalTrafficPolicy");
    }
    if kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"] {
            if spec[field] == before[field] {
                object::remove(spec, field);
            }
        }
    }
    if spec["healthCheckNodePort"].is_null() {
        object::remove(spec, "healthCheckNodePort");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::merge;

    fn service(changes: Value) -> Value {
        let base = json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "selector": {"a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]}});
        merge::apply(&base, &changes).unwrap()
    }

    fn check(changes: Value, expect: &[&str]) {
        let texts: Vec<_> =
            Service.validate(&service(changes.clone())).iter().map(Cause::to_string).collect();
        assert_eq!(texts, expect, "{changes}");
    }

    #[test]
    fn rules_of_services() {
        check(json!({}), &[]);
        check(json!({"spec": {"ports": []}}), &["spec.ports: Required value"]);
        check(json!({"spec": {"ports": [], "clusterIP": "None"}}), &[]);
        check(
            json!({"spec": {"ports": [{"port": 0, "protocol": "TCP", "targetPort": 1}]}}),
            &["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
        );
        check(
            json!({"spec": {"ports": [{"port": 1, "protocol": "TCP", "targetPort": 1},
                {"name": "a", "port": 1, "protocol": "TCP", "targetPort": 1}]}}),
            &[
                "spec.ports[0].name: Required value",
                "spec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\",\"targetPort\":0}",
            ],
        );
        check(
            json!({"spec": {"type": "Magic"}}),
            &["spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \
               \"LoadBalancer\", \"NodePort\""],
        );
        check(
            json!({"spec": {"type": "NodePort", "clusterIP": "None", "externalTrafficPolicy": "Cluster"}}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        );
        check(json!({"spec": {"type": "ExternalName"}}), &["spec.externalName: Required value"]);
    }

    #[test]
    fn affinity_is_turned_off_whole() {
        let config = json!({"clientIP": {"timeoutSeconds": 10800}});
        for (affinity, stays) in [("None", false), ("ClientIP", true)] {
            let changes = json!({"spec": {"sessionAffinity": affinity, "sessionAffinityConfig": config}});
            let mut service = service(changes);
            Service.default(&mut service);
            assert_eq!(service["spec"]["sessionAffinityConfig"] == config, stays, "{affinity}");
            assert_eq!(Service.validate(&service), []);
        }
    }

    #[test]
    fn addresses_stay() {
        let context = Context { now: String::new(), subresource: String::new() };
        let old =
            service(json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]}}));
        let mut new = service(json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster"}}));
        Service.prepare_for_update(&mut new, &old, &context);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30000);
        let mut moved = old.clone();
        moved["spec"]["clusterIP"] = "10.0.0.2".into();
        Service.prepare_for_update(&mut moved, &old, &context);
        assert_eq!(
            Service.validate_update(&moved, &old)[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
        let mut plain = old.clone();
        plain["spec"]["type"] = "ClusterIP".into();
        Service.prepare_for_update(&mut plain, &old, &context);
        assert!(plain["spec"]["ports"][0].get("nodePort").is_none());
        assert_eq!(Service.validate(&plain), []);
    }
}
