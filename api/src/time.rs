//! Times and durations as Kubernetes writes them: `metav1.Time`, `metav1.MicroTime`, Go durations and
//! the short human form of `kubectl get`.

use jiff::Timestamp;
use serde_json::Value;

/// Reads an RFC 3339 time with any fraction and offset; `None` if it is not one.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Reads the time in a field, `None` if absent, null or not a time.
pub fn read(value: &Value) -> Option<Timestamp> {
    parse(value.as_str()?)
}

/// `metav1.Time`: whole seconds, UTC.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: always six digits, UTC.
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Seconds from `then` to `now`, rounded towards zero.
pub fn seconds_between(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs()
}

/// Age as `kubectl get` prints it; `<unknown>` without a time.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| human(seconds_between(then, now)))
}

/// A duration of whole seconds in two units at most: `5d`, `3m20s`, `2y100d`
/// (`apimachinery/pkg/util/duration.HumanDuration`). Clocks may disagree by a second: that reads `0s`.
pub fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    if seconds < -1 {
        "<invalid>".to_owned()
    } else if seconds < 0 {
        "0s".to_owned()
    } else if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 365 * 2 {
        format!("{days}d")
    } else if days < 365 * 8 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// Nanoseconds as Go writes a duration: `1m30s`, `1h0m0s`, `1.5s`, `250ms`, `0s`.
pub fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    // A number of units with up to nine decimals, without trailing zeros.
    let decimal = |whole: u64, fraction: u64, digits: usize| {
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(total / 1_000, total % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(total / 1_000_000, total % 1_000_000, 6)),
        _ => {
            let (seconds, rest) = (total / 1_000_000_000, total % 1_000_000_000);
            let last = decimal(seconds % 60, rest, 9);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{last}s"),
                (0, minutes) => format!("{minutes}m{last}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{last}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A Go duration such as `1h30m`, `300ms`, `1.5s`, in nanoseconds; `None` if it is not one.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, scale) = UNITS.iter().find(|(unit, _)| *unit == &rest[..unit_end])?;
        total += number * scale;
        rest = &rest[unit_end..];
    }
    // A float holds every duration below 104 days to the nanosecond; larger ones lose nanoseconds only.
    (total < 9.2e18).then_some(if negative { -(total as i64) } else { total as i64 })
}

/// Why a text is no Go duration, in Go's words.
pub fn explain_go_duration(text: &str) -> String {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if !rest[..number].bytes().any(|b| b.is_ascii_digit()) {
            break;
        }
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        match &rest[..unit] {
            "" => return format!("time: missing unit in duration {text:?}"),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => {}
            other => return format!("time: unknown unit {other:?} in duration {text:?}"),
        }
        rest = &rest[unit..];
    }
    format!("time: invalid duration {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_durations() {
        for (seconds, expect) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (3600 * 7 + 60, "7h1m"),
            (3600 * 47, "47h"),
            (3600 * 48, "2d"),
            (3600 * 49, "2d1h"),
            (86_400 * 8, "8d"),
            (86_400 * 729, "729d"),
            (86_400 * 730, "2y"),
            (86_400 * 731, "2y1d"),
            (86_400 * 365 * 9, "9y"),
        ] {
            assert_eq!(human(seconds), expect, "{seconds}");
        }
    }

    #[test]
    fn times_round_trip() {
        let at = parse("2026-01-02T03:04:05.678901+01:00").unwrap();
        assert_eq!(seconds(at), "2026-01-02T02:04:05Z");
        assert_eq!(micros(at), "2026-01-02T02:04:05.678901Z");
        assert_eq!(micros(parse("2026-01-02T02:04:05Z").unwrap()), "2026-01-02T02:04:05.000000Z");
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn go_durations_written() {
        let cases = [
            (0, "0s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500_000_000, "1.5s"),
            (250_000_000, "250ms"),
            (-1_500, "-1.5µs"),
        ];
        for (nanos, expect) in cases {
            assert_eq!(go_duration(nanos), expect);
            assert_eq!(parse_go_duration(expect), Some(nanos));
        }
    }

    #[test]
    fn go_durations() {
        for (text, expect) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("300ms", Some(300_000_000)),
            ("5", None),
            ("", None),
            ("1d", None),
        ] {
            assert_eq!(parse_go_duration(text), expect, "{text}");
        }
    }
}
