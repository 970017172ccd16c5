//! Addresses of services, and the ranges they come from (KEP-1880).

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::names;
use crate::status::Cause;
use crate::strategies::check::{self, list};
use crate::strategy::{Context, Strategy};

/// An address that is taken; its name is the address.
pub struct IpAddress;

impl Strategy for IpAddress {
    fn name_errors(&self, name: &str) -> Vec<String> {
        match name.parse::<IpAddr>() {
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
            Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
                vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
            }
            Ok(address) if address.to_string() != name => {
                vec![format!("must be in canonical form (\"{address}\")")]
            }
            Ok(_) => Vec::new(),
        }
    }

    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let parent = &object["spec"]["parentRef"];
        if parent.is_null() {
            causes.push(Cause::required("spec.parentRef", ""));
            return causes;
        }
        let at = |field: &str| format!("spec.parentRef.{field}");
        check::optional(&mut causes, &at("group"), &parent["group"], names::dns1123_subdomain);
        for field in ["resource", "name"] {
            check::required(&mut causes, &at(field), &parent[field], Some(names::path_segment));
        }
        check::optional(&mut causes, &at("namespace"), &parent["namespace"], names::path_segment);
        causes
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let parent = |object: &Value| object["spec"]["parentRef"].clone();
        check::immutable(&mut causes, "spec.parentRef", &parent(object), &parent(old));
        causes
    }
}

/// Ranges services get their addresses from.
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn numbers_changes(&self, _has_status: bool) -> bool {
        false
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        object["status"] = json!({});
    }

    fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        let spec = &object["spec"];
        let ranges = list(spec, "cidrs");
        let field = "spec.cidrs";
        match ranges {
            [] => causes.push(Cause::required(field, "at least one CIDR required")),
            [_] => {}
            [first, second] => {
                let family = |range: &Value| {
                    check::parse_cidr(range.as_str().unwrap_or_default())
                        .map(|(address, _)| address.is_ipv4())
                };
                let (first, second) = (family(first), family(second));
                if first.is_none() || second.is_none() || first == second {
                    let detail = "may specify no more than one IP for each IP family, \
                        i.e 192.168.0.0/24 and 2001:db8::/64";
                    causes.push(Cause::invalid(field, spec, detail));
                    return causes;
                }
            }
            _ => {
                causes.push(Cause::invalid(field, spec, "may only hold up to 2 values"));
                return causes;
            }
        }
        for (at, range) in ranges.iter().enumerate() {
            canonical(&mut causes, &format!("{field}[{at}]"), range);
        }
        causes
    }

    fn validate_change(&self, object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        if subresource.is_empty() {
            let ranges = |object: &Value| object["spec"]["cidrs"].clone();
            check::immutable(&mut causes, "spec.cidrs", &ranges(object), &ranges(old));
        }
        causes
    }
}

/// A range written in the one way that every program reads alike.
fn canonical(causes: &mut Vec<Cause>, field: &str, range: &Value) {
    let Some((address, length)) = check::cidr(causes, field, range) else { return };
    if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        causes.push(Cause::invalid(field, range, "must not have an IPv4-mapped IPv6 address"));
    } else if has_host_bits(address, length) {
        causes.push(Cause::invalid(field, range, "must not have bits set beyond the prefix length"));
    } else if format!("{address}/{length}") != range.as_str().unwrap_or_default() {
        let detail = format!("must be in canonical form (\"{address}/{length}\")");
        causes.push(Cause::invalid(field, range, &detail));
    }
}

fn has_host_bits(address: IpAddr, length: u32) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits() & u32::MAX.checked_shr(length).unwrap_or(0) != 0,
        IpAddr::V6(address) => address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) != 0,
    }
}

/// Whether a range holds an address of the same family.
pub(super) fn holds((range, length): (IpAddr, u32), address: IpAddr) -> bool {
    match (range, address) {
        (IpAddr::V4(range), IpAddr::V4(address)) => {
            (range.to_bits() ^ address.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(range), IpAddr::V6(address)) => {
            (range.to_bits() ^ address.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}
