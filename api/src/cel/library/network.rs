//! `ip('…')`, `cidr('…')` and their methods. Zones and IPv4 in IPv6 are refused.

use std::net::IpAddr;

use super::{Args, Run, go};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::value::{Eval, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "ip" => ip,
        "isIP" => |args| {
            let [text] = args.texts()?;
            Ok(Value::Bool(parse_ip(text).is_ok()))
        },
        "ip.isCanonical" => |args| {
            let [text] = args.texts()?;
            Ok(Value::Bool(parse_ip(text)?.to_string() == text))
        },
        "family" => |args| on_ip(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |args| on_ip(args, |ip| Value::Bool(ip.is_unspecified())),
        "isLoopback" => |args| on_ip(args, |ip| Value::Bool(ip.is_loopback())),
        "isLinkLocalMulticast" => |args| on_ip(args, |ip| Value::Bool(is_link_local_multicast(ip))),
        "isLinkLocalUnicast" => |args| on_ip(args, |ip| Value::Bool(is_link_local_unicast(ip))),
        "isGlobalUnicast" => |args| on_ip(args, |ip| Value::Bool(is_global_unicast(ip))),
        "cidr" => |args| {
            let [text] = args.texts()?;
            let (address, bits) = parse_cidr(text).map_err(|error| cidr_error(&error))?;
            Ok(Value::Extension(Extension::Cidr(address, bits)))
        },
        "isCIDR" => |args| {
            let [text] = args.texts()?;
            Ok(Value::Bool(parse_cidr(text).is_ok()))
        },
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "prefixLength" => |args| match &args.values[..] {
            [Value::Extension(Extension::Cidr(_, bits))] => Ok(Value::Int(i64::from(*bits))),
            _ => args.refuse(),
        },
        "masked" => |args| match &args.values[..] {
            [Value::Extension(Extension::Cidr(address, bits))] => {
                Ok(Value::Extension(Extension::Cidr(masked(*address, *bits), *bits)))
            }
            _ => args.refuse(),
        },
        _ => return None,
    })
}

fn parse_ip(text: &str) -> Eval<IpAddr> {
    let quoted = go::quote(text);
    let address = text.split('%').next().unwrap_or_default();
    let Ok(parsed) = address.parse::<IpAddr>() else {
        let why = if text.is_empty() {
            "unable to parse IP".to_owned()
        } else {
            format!("ParseAddr({quoted}): unable to parse IP")
        };
        return Err(EvalError::new(format!(
            "IP Address {quoted} parse error during conversion from string: {why}"
        )));
    };
    if text.contains('%') {
        return Err(EvalError::new(format!("IP address {quoted} with zone value is not allowed")));
    }
    if is_mapped(parsed) {
        return Err(EvalError::new(format!("IPv4-mapped IPv6 address {quoted} is not allowed")));
    }
    Ok(parsed)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn cidr_error(error: &str) -> EvalError {
    EvalError::new(format!("network address parse error during conversion from string: {error}"))
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let quoted = go::quote(text);
    let wrong = |why: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({quoted}): {why}"
        )
    };
    let Some((address, bits)) = text.rsplit_once('/') else { return Err(wrong("no '/'")) };
    if address.contains('%') {
        return Err(wrong("IPv6 zones cannot be present in a prefix"));
    }
    let parsed: IpAddr = address
        .parse()
        .map_err(|_| wrong(&format!("ParseAddr({}): unable to parse IP", go::quote(address))))?;
    let plain = !bits.is_empty()
        && bits.bytes().all(|c| c.is_ascii_digit())
        && (bits == "0" || !bits.starts_with('0'));
    let Some(length) = bits.parse::<u8>().ok().filter(|_| plain) else {
        return Err(wrong(&format!("bad bits after slash: {}", go::quote(bits))));
    };
    if length > width(parsed) {
        return Err(wrong("prefix length out of range"));
    }
    if is_mapped(parsed) {
        return Err(format!("IPv4-mapped IPv6 address {quoted} is not allowed"));
    }
    Ok((parsed, length))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with what is behind the prefix set to zero.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn holds(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    network.is_ipv4() == address.is_ipv4() && masked(network, bits) == masked(address, bits)
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments().first().is_some_and(|head| head & 0xffc0 == 0xfe80),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => ip.segments().first().is_some_and(|head| head & 0xff0f == 0xff02),
    }
}

/// As Go: private addresses count, broadcast does not.
fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local_unicast(ip))
}

fn on_ip<'a>(args: Args<'_, 'a>, with: fn(IpAddr) -> Value<'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Extension(Extension::Ip(address))] => Ok(with(*address)),
        _ => args.refuse(),
    }
}

/// `ip('…')`, or the address of a network.
fn ip<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::String(text)] => Ok(Value::Extension(Extension::Ip(parse_ip(text)?))),
        [Value::Extension(Extension::Cidr(address, _))] => Ok(Value::Extension(Extension::Ip(*address))),
        _ => args.refuse(),
    }
}

fn contains_ip<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Cidr(network, bits)), other] = &args.values[..] else {
        return args.refuse();
    };
    let address = match other {
        Value::Extension(Extension::Ip(address)) => *address,
        Value::String(text) => parse_ip(text)?,
        _ => return args.refuse(),
    };
    Ok(Value::Bool(holds(*network, *bits, address)))
}

fn contains_cidr<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Cidr(network, bits)), other] = &args.values[..] else {
        return args.refuse();
    };
    let (address, length) = match other {
        Value::Extension(Extension::Cidr(address, length)) => (*address, *length),
        Value::String(text) => parse_cidr(text).map_err(|error| cidr_error(&error))?,
        _ => return args.refuse(),
    };
    Ok(Value::Bool(*bits <= length && holds(*network, *bits, address)))
}
