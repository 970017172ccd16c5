//! Network policies.

use serde_json::Value;

use super::address::holds;
use crate::status::Cause;
use crate::strategies::check::{self, list};
use crate::strategy::{Context, Strategy};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const POLICY_TYPES: [&str; 2] = ["Ingress", "Egress"];

/// Which traffic some pods may send and receive.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        true
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        check::label_selector(&mut causes, "spec.podSelector", &spec["podSelector"]);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (at, rule) in list(spec, direction).iter().enumerate() {
                let path = format!("spec.{direction}[{at}]");
                for (at, item) in list(rule, "ports").iter().enumerate() {
                    port(&mut causes, &format!("{path}.ports[{at}]"), item);
                }
                for (at, item) in list(rule, peers).iter().enumerate() {
                    peer(&mut causes, &format!("{path}.{peers}[{at}]"), item);
                }
            }
        }
        let types = list(spec, "policyTypes");
        if types.len() > POLICY_TYPES.len() {
            let detail = "may not specify more than two policyTypes";
            causes.push(Cause::invalid("spec.policyTypes", &spec["policyTypes"], detail));
            return causes;
        }
        for (at, kind) in types.iter().enumerate() {
            check::supported(&mut causes, &format!("spec.policyTypes[{at}]"), kind, &POLICY_TYPES);
        }
        causes
    }
}

fn port(causes: &mut Vec<Cause>, path: &str, item: &Value) {
    check::supported(causes, &format!("{path}.protocol"), &item["protocol"], &PROTOCOLS);
    let (port, end) = (&item["port"], &item["endPort"]);
    let (field, end_field) = (format!("{path}.port"), format!("{path}.endPort"));
    let refused = match (port, end.as_i64()) {
        (Value::Null, Some(_)) => Some("may not be specified when `port` is not specified"),
        (Value::String(_), Some(_)) => Some("may not be specified when `port` is non-numeric"),
        _ => None,
    };
    if let Some(detail) = refused {
        causes.push(Cause::invalid(&end_field, end, detail));
    }
    match (port.as_i64(), end.as_i64()) {
        (Some(first), Some(last)) => {
            check::port(causes, &field, port);
            if last < first {
                // The value shown is the first port: upstream's slip, which clients may match.
                causes.push(Cause::invalid(&end_field, port, "must be greater than or equal to `port`"));
            }
            check::port(causes, &end_field, end);
        }
        _ if !port.is_null() => check::port_or_name(causes, &field, port),
        _ => {}
    }
}

fn peer(causes: &mut Vec<Cause>, path: &str, item: &Value) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if !item[field].is_null() {
            peers += 1;
            check::label_selector(causes, &format!("{path}.{field}"), &item[field]);
        }
    }
    let block = &item["ipBlock"];
    if !block.is_null() {
        ip_block(causes, &format!("{path}.ipBlock"), block);
        if peers > 0 {
            causes.push(Cause::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if peers == 0 {
        causes.push(Cause::required(path, "must specify a peer"));
    }
}

fn ip_block(causes: &mut Vec<Cause>, path: &str, block: &Value) {
    let field = format!("{path}.cidr");
    if block["cidr"].as_str().unwrap_or_default().is_empty() {
        causes.push(Cause::required(field, ""));
        return;
    }
    let Some(range) = check::cidr(causes, &field, &block["cidr"]) else { return };
    for (at, except) in list(block, "except").iter().enumerate() {
        let field = format!("{path}.except[{at}]");
        let Some(hole) = check::cidr(causes, &field, except) else { continue };
        if !holds(range, hole.0) || range.1 >= hole.1 {
            causes.push(Cause::invalid(field, except, "must be a strict subset of `cidr`"));
        }
    }
}
