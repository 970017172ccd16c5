//! Ingresses and their classes.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, list, text};
use crate::strategy::{Context, Strategy};

/// The way to name a class before there were classes.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Parts that would let a path reach out of its prefix, or read differently on the other side.
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const MAX_CONTROLLER_BYTES: usize = 250;

/// How requests from outside reach services.
pub struct Ingress;

impl Strategy for Ingress {
    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let (rules, backend) = (list(spec, "rules"), &spec["defaultBackend"]);
        if rules.is_empty() && backend.is_null() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            causes.push(Cause::invalid("spec", &Value::Null, detail));
        }
        if !backend.is_null() {
            validate_backend(&mut causes, "spec.defaultBackend", backend);
        }
        for (at, rule) in rules.iter().enumerate() {
            validate_rule(&mut causes, &format!("spec.rules[{at}]"), rule);
        }
        for (at, entry) in list(spec, "tls").iter().enumerate() {
            for (index, host) in list(entry, "hosts").iter().enumerate() {
                validate_host(&mut causes, &format!("spec.tls[{at}].hosts[{index}]"), host);
            }
            let field = format!("spec.tls[{at}].secretName");
            check::optional(&mut causes, &field, &entry["secretName"], names::dns1123_subdomain);
        }
        if let Some(class) = spec["ingressClassName"].as_str() {
            let broken = names::dns1123_subdomain(class);
            check::rules(&mut causes, "spec.ingressClassName", &spec["ingressClassName"], broken);
        }
        if object["metadata"]["resourceVersion"].is_null() {
            causes.extend(two_classes(object));
        }
        causes
    }

    fn validate_change(&self, object: &Value, _old: &Value, subresource: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        if subresource == "status" {
            let points = list(&object["status"]["loadBalancer"], "ingress");
            for (at, point) in points.iter().enumerate() {
                let path = format!("status.loadBalancer.ingress[{at}]");
                if !text(point, "ip").is_empty() {
                    check::ip(&mut causes, &format!("{path}.ip"), &point["ip"]);
                }
                let field = format!("{path}.hostname");
                check::optional(&mut causes, &field, &point["hostname"], names::dns1123_subdomain);
                no_address(&mut causes, &field, &point["hostname"]);
            }
        }
        causes
    }
}

/// A new ingress names its class once, or twice alike.
fn two_classes(object: &Value) -> Option<Cause> {
    let annotation = &object["metadata"]["annotations"][CLASS_ANNOTATION];
    let class = &object["spec"]["ingressClassName"];
    (annotation.is_string() && class.is_string() && annotation != class).then(|| {
        let detail = "must match `ingressClassName` when both are specified";
        Cause::invalid(format!("annotations.{CLASS_ANNOTATION}"), annotation, detail)
    })
}

fn no_address(causes: &mut Vec<Cause>, field: &str, host: &Value) {
    if host.as_str().is_some_and(|host| host.parse::<IpAddr>().is_ok()) {
        causes.push(Cause::invalid(field, host, "must be a DNS name, not an IP address"));
    }
}

fn validate_host(causes: &mut Vec<Cause>, field: &str, host: &Value) {
    let name = host.as_str().unwrap_or_default();
    let broken =
        if name.contains('*') { names::wildcard_subdomain(name) } else { names::dns1123_subdomain(name) };
    check::rules(causes, field, host, broken);
}

fn validate_rule(causes: &mut Vec<Cause>, path: &str, rule: &Value) {
    let host = &rule["host"];
    if !text(rule, "host").is_empty() {
        let field = format!("{path}.host");
        no_address(causes, &field, host);
        validate_host(causes, &field, host);
    }
    if rule["http"].is_null() {
        return;
    }
    let paths = list(&rule["http"], "paths");
    if paths.is_empty() {
        causes.push(Cause::required(format!("{path}.http.paths"), ""));
    }
    for (at, item) in paths.iter().enumerate() {
        validate_path(causes, &format!("{path}.http.paths[{at}]"), item);
    }
}

fn validate_path(causes: &mut Vec<Cause>, at: &str, item: &Value) {
    let (kind, path, field) = (&item["pathType"], text(item, "path"), format!("{at}.path"));
    let shown = json!(path);
    match kind.as_str() {
        None => {
            causes.push(Cause::required(format!("{at}.pathType"), "pathType must be specified"));
            return;
        }
        Some("Exact" | "Prefix") => {
            if !path.starts_with('/') {
                causes.push(Cause::invalid(&field, &shown, "must be an absolute path"));
            }
            for part in BAD_SEQUENCES.iter().filter(|part| path.contains(**part)) {
                causes.push(Cause::invalid(&field, &shown, &format!("must not contain '{part}'")));
            }
            for end in BAD_ENDS.iter().filter(|end| path.ends_with(**end)) {
                causes.push(Cause::invalid(&field, &shown, &format!("cannot end with '{end}'")));
            }
        }
        Some("ImplementationSpecific") if !path.is_empty() && !path.starts_with('/') => {
            causes.push(Cause::invalid(&field, &shown, "must be an absolute path"));
        }
        Some("ImplementationSpecific") => {}
        Some(_) => causes.push(Cause::not_supported(format!("{at}.pathType"), kind, &PATH_TYPES)),
    }
    validate_backend(causes, &format!("{at}.backend"), &item["backend"]);
}

fn validate_backend(causes: &mut Vec<Cause>, path: &str, backend: &Value) {
    let (service, resource, nothing) = (&backend["service"], &backend["resource"], json!(""));
    match (resource.is_null(), service.is_null()) {
        (false, false) => {
            causes.push(Cause::invalid(path, &nothing, "cannot set both resource and service backends"));
        }
        (false, true) => validate_reference(causes, &format!("{path}.resource"), resource),
        (true, true) => {
            causes.push(Cause::invalid(path, &nothing, "resource or service backend is required"));
        }
        (true, false) => {
            let field = format!("{path}.service.name");
            check::required(causes, &field, &service["name"], Some(names::dns1035_label));
            let port = &service["port"];
            let number = port["number"].as_i64().unwrap_or_default();
            match (text(port, "name"), number) {
                ("", 0) => causes.push(Cause::required(path, "port name or number is required")),
                ("", _) => check::port(causes, &format!("{path}.service.port.number"), &port["number"]),
                (name, 0) => {
                    let field = format!("{path}.service.port.name");
                    check::rules(causes, &field, &port["name"], names::port_name(name));
                }
                _ => causes.push(Cause::invalid(path, &nothing, "cannot set both port name & port number")),
            }
        }
    }
}

/// A reference to an object of any kind in the same namespace.
fn validate_reference(causes: &mut Vec<Cause>, path: &str, reference: &Value) {
    if let Some(group) = reference["apiGroup"].as_str() {
        let broken = names::dns1123_subdomain(group);
        check::rules(causes, &format!("{path}.apiGroup"), &reference["apiGroup"], broken);
    }
    for field in ["kind", "name"] {
        let (value, at) = (text(reference, field), format!("{path}.{field}"));
        if value.is_empty() {
            causes.push(Cause::required(at, &format!("{field} is required")));
        } else {
            check::rules(causes, &at, &reference[field], names::path_segment(value));
        }
    }
}

/// A kind of ingress controller.
pub struct IngressClass;

impl Strategy for IngressClass {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (controller, field) = (&object["spec"]["controller"], "spec.controller");
        if controller.as_str().is_some_and(|name| name.len() > MAX_CONTROLLER_BYTES) {
            causes.push(Cause::too_long(field, MAX_CONTROLLER_BYTES));
        }
        domain_prefixed_path(&mut causes, field, controller);
        let parameters = &object["spec"]["parameters"];
        if !parameters.is_null() {
            validate_parameters(&mut causes, "spec.parameters", parameters);
        }
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let controller = |object: &Value| object["spec"]["controller"].clone();
        check::immutable(&mut causes, "spec.controller", &controller(object), &controller(old));
        causes
    }
}

fn domain_prefixed_path(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let path = value.as_str().unwrap_or_default();
    if path.is_empty() {
        causes.push(Cause::required(field, ""));
        return;
    }
    for (part, broken) in names::domain_prefixed_path(path) {
        causes.push(Cause::invalid(field, &json!(part), &broken));
    }
}

fn validate_parameters(causes: &mut Vec<Cause>, path: &str, parameters: &Value) {
    validate_reference(causes, path, parameters);
    let (scope, namespace) = (&parameters["scope"], &parameters["namespace"]);
    let field = format!("{path}.namespace");
    match scope.as_str() {
        None => causes.push(Cause::required(format!("{path}.scope"), "")),
        Some("Namespace") => match namespace.as_str() {
            None => causes.push(Cause::required(field, "`parameters.scope` is set to 'Namespace'")),
            Some(name) => check::rules(causes, &field, namespace, names::dns1123_label(name)),
        },
        Some("Cluster") if !namespace.is_null() => {
            causes.push(Cause::forbidden(field, "`parameters.scope` is set to 'Cluster'"));
        }
        Some("Cluster") => {}
        Some(_) => {
            causes.push(Cause::not_supported(format!("{path}.scope"), scope, &["Cluster", "Namespace"]));
        }
    }
}
