//! Ingresses, their classes, network policies, and the addresses of services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Column, NONE, age, few, is_marked, items, list_text, name, or, selector_text, str, text};

/// Hosts shown before "more".
const MAX_HOSTS: usize = 3;

pub(in crate::kinds) fn ingress() -> Vec<Column> {
    vec![
        name(),
        text("Class", "Class of the controllers that may serve it.", |ingress| {
            or(str(ingress, "/spec/ingressClassName"), NONE)
        }),
        text("Hosts", "Hosts its rules are for.", hosts),
        text("Address", "Where the load balancer listens.", addresses),
        text("Ports", "Ports that are open, for TLS too.", |ingress| {
            if items(ingress, "/spec/tls").is_empty() { "80" } else { "80, 443" }.to_owned()
        }),
        age(),
    ]
}

fn hosts(ingress: &Value) -> String {
    let all: Vec<String> = items(ingress, "/spec/rules")
        .iter()
        .map(|rule| str(rule, "/host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    or(&few(&all, MAX_HOSTS), "*")
}

fn addresses(ingress: &Value) -> String {
    let all: BTreeSet<String> = items(ingress, "/status/loadBalancer/ingress")
        .iter()
        .map(|point| or(str(point, "/ip"), str(point, "/hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

pub(in crate::kinds) fn ingress_class() -> Vec<Column> {
    let mut columns = vec![
        is_marked(&["ingressclass.kubernetes.io/is-default-class"]),
        text("Controller", "Who serves ingresses of the class.", |class| {
            str(class, "/spec/controller").to_owned()
        }),
        text("Parameters", "The object that configures the controller.", |class| {
            let Some(parameters) = class.pointer("/spec/parameters").filter(|p| p.is_object()) else {
                return NONE.to_owned();
            };
            let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", str(parameters, "/kind"), str(parameters, "/name"))
        }),
    ];
    columns.push(age());
    columns
}

pub(in crate::kinds) fn network_policy() -> Vec<Column> {
    let selector =
        text("Pod-Selector", "Which pods it is for.", |policy| selector_text(&policy["spec"]["podSelector"]));
    vec![name(), selector, age()]
}

pub(in crate::kinds) fn ip_address() -> Vec<Column> {
    let parent = text("ParentRef", "What the address belongs to.", |address| {
        let Some(parent) = address.pointer("/spec/parentRef").filter(|p| p.is_object()) else {
            return NONE.to_owned();
        };
        let mut text = str(parent, "/resource").to_lowercase();
        for (separator, field) in [(".", "/group"), ("/", "/namespace"), ("/", "/name")] {
            let part = str(parent, field);
            if !part.is_empty() || field == "/name" {
                text.push_str(separator);
                text.push_str(&if field == "/group" { part.to_lowercase() } else { part.to_owned() });
            }
        }
        text
    });
    vec![name(), parent]
}

pub(in crate::kinds) fn service_cidr() -> Vec<Column> {
    let ranges = text("CIDRs", "Ranges services get their addresses from.", |range| {
        list_text(items(range, "/spec/cidrs"))
    });
    vec![name(), ranges, age()]
}
