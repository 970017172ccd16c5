//! The `format`s of strings that are checked; others mean nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a text has a format, `None` for a format nobody checks.
pub(super) fn fits(format: &str, text: &str) -> Option<bool> {
    Some(match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "email" => email(text),
        "hostname" => text.len() <= 255 && text.split('.').all(host_label),
        "uri" => uri(text),
        "byte" => base64(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            [3, 6].contains(&digits.len()) && hex(digits)
        }
        "duration" => duration(text),
        _ => return None,
    })
}

/// The formats upstream recognises; others draw a warning.
pub const RECOGNISED: [&str; 28] = [
    "int32",
    "int64",
    "float",
    "double",
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "date-time",
];

fn hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn mac(text: &str) -> bool {
    [':', '-'].into_iter().any(|separator| {
        let parts: Vec<&str> = text.split(separator).collect();
        [6, 8, 20].contains(&parts.len()) && parts.iter().all(|part| part.len() == 2 && hex(part))
    })
}

/// Eight, four, four, four and twelve digits, dashes optional.
fn uuid(text: &str, version: Option<char>) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let digits = parts.concat();
    [vec![8, 4, 4, 4, 12], vec![32]].contains(&lengths)
        && hex(&digits)
        && version.is_none_or(|version| digits.chars().nth(12) == Some(version))
}

fn email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !local.contains(char::is_whitespace)
            && !domain.is_empty()
            && domain.split('.').all(host_label)
    })
}

fn host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Go's `url.ParseRequestURI`: absolute, or a rooted path.
fn uri(text: &str) -> bool {
    if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return false;
    }
    text.starts_with('/')
        || text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
                && !rest.is_empty()
        })
}

fn base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// Go's durations, and days and weeks as go-openapi adds them.
fn duration(text: &str) -> bool {
    const UNITS: [&str; 12] =
        ["ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "hours", "minutes", "seconds"];
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let tail = tail.trim_start();
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        if digits.parse::<f64>().is_err() || !UNITS.contains(&unit) {
            return false;
        }
        any = true;
        rest = tail.trim_start();
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_formats() {
        let cases = [
            ("date-time", "2026-01-01T00:00:00Z", true),
            ("date-time", "2026-01-01", false),
            ("date", "2026-02-30", false),
            ("ipv4", "1.2.3.4", true),
            ("ipv6", "1.2.3.4", false),
            ("cidr", "10.0.0.0/33", false),
            ("mac", "00:11:22:33:44:55", true),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", true),
            ("uuid4", "123e4567-e89b-12d3-a456-426614174000", false),
            ("email", "a@b.c", true),
            ("hostname", "-a", false),
            ("uri", "https://a/b", true),
            ("uri", "a b", false),
            ("byte", "aGk=", true),
            ("duration", "1h30m", true),
            ("duration", "h", false),
        ];
        for (format, text, expect) in cases {
            assert_eq!(fits(format, text), Some(expect), "{format} {text}");
        }
        assert_eq!(fits("made-up", "x"), None);
    }
}
