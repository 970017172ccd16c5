//! A point in time: whole years 1 to 9999, to the nanosecond.
//!
//! Not [`jiff::Timestamp`], which ends a day before the year 9999 does: `9999-12-31T23:59:59Z` is what
//! people write for "never".

use std::fmt;

/// Seconds since 1970, and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
}

/// A point in time on the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallClock {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) millisecond: i64,
    /// From 0.
    pub(crate) day_of_year: i64,
    /// From 0, Sunday.
    pub(crate) weekday: i64,
}

const DAY: i64 = 86_400;
const NANOS: i128 = 1_000_000_000;

impl Instant {
    /// The first second of the year 1: Go's zero time.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    /// None outside the years 1 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (Self::ZERO.seconds..=253_402_300_799).contains(&seconds).then_some(Self { seconds, nanos })
    }

    /// Seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// Later by so many nanoseconds; none out of range.
    pub(crate) fn plus(self, nanos: i128) -> Option<Self> {
        let total = self.total_nanos() + nanos;
        Self::new(i64::try_from(total.div_euclid(NANOS)).ok()?, total.rem_euclid(NANOS) as u32)
    }

    /// Nanoseconds since another; none if there are too many.
    pub(crate) fn since(self, other: Self) -> Option<i64> {
        i64::try_from(self.total_nanos() - other.total_nanos()).ok()
    }

    /// Reads RFC 3339. Without `lenient` the offset must be there.
    pub(crate) fn parse(text: &str, lenient: bool) -> Result<Self, ParseError> {
        let (seconds, nanos) = parse(text, lenient).ok_or(ParseError::Form)?;
        Self::new(seconds, nanos).ok_or(ParseError::Range)
    }

    /// Midnight of a date `2026-01-02`.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        let days = date(text).filter(|_| text.len() == 10)?;
        Self::new(days * DAY, 0)
    }

    /// The clock on the wall where it is so many seconds later than in UTC.
    pub(crate) fn on_wall(self, offset_seconds: i64) -> WallClock {
        let local = self.seconds + offset_seconds;
        let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        WallClock {
            year,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            millisecond: i64::from(self.nanos / 1_000_000),
            day_of_year: days - days_from_civil(year, 1, 1),
            // 1970 began on a Thursday.
            weekday: (days + 4).rem_euclid(7),
        }
    }
}

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// It does not read so.
    Form,
    /// It is out of the years 1 to 9999.
    Range,
}

/// `2026-01-02T03:04:05Z` with as few decimals as needed.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WallClock { year, month, day, hour, minute, second, .. } = self.on_wall(0);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos > 0 {
            let decimals = format!("{:09}", self.nanos);
            write!(f, ".{}", decimals.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Digits only, in a range.
fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|value| digits && range.contains(value))
}

/// Days since 1970 of the date a text starts with.
fn date(text: &str) -> Option<i64> {
    let year = number(text.get(..4)?, 0..=9999)?;
    let month = number(text.get(5..7)?, 1..=12)?;
    let day = number(text.get(8..10)?, 1..=31)?;
    if text.get(4..5)? != "-" || text.get(7..8)? != "-" {
        return None;
    }
    let days = days_from_civil(year, month, day);
    (civil(days) == (year, month, day)).then_some(days)
}

fn parse(text: &str, lenient: bool) -> Option<(i64, u32)> {
    let days = date(text)?;
    let hour = number(text.get(11..13)?, 0..=23)?;
    let minute = number(text.get(14..16)?, 0..=59)?;
    let second = number(text.get(17..19)?, 0..=59)?;
    if text.get(10..11)? != "T" || text.get(13..14)? != ":" || text.get(16..17)? != ":" {
        return None;
    }
    let (nanos, zone) = decimals(text.get(19..)?)?;
    let offset = match zone {
        "Z" => 0,
        "" if lenient => 0,
        zone => {
            let hours = number(zone.get(1..3)?, 0..=23)?;
            let minutes = number(zone.get(4..)?, 0..=59)?;
            let sign = match zone.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            if zone.len() != 6 || zone.get(3..4)? != ":" {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
    };
    Some((days * DAY + hour * 3600 + minute * 60 + second - offset, nanos))
}

/// Nanoseconds from `.123`, and what follows; digits beyond the ninth do not count.
fn decimals(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    Some((nine.parse().ok().filter(|_| !digits.is_empty())?, rest))
}

/// Days since 1970 (Howard Hinnant's algorithm, years counted from March).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month, day of a number of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn read_and_written() {
        for (text, expect) in [
            ("2026-01-02T03:04:05Z", Ok("2026-01-02T03:04:05Z")),
            ("2024-02-29T23:30:00.5+01:00", Ok("2024-02-29T22:30:00.5Z")),
            ("9999-12-31T23:59:59.999999999Z", Ok("9999-12-31T23:59:59.999999999Z")),
            ("0001-01-01T00:00:00Z", Ok("0001-01-01T00:00:00Z")),
            ("9999-12-31T23:59:59-01:00", Err(ParseError::Range)),
            ("2023-02-29T00:00:00Z", Err(ParseError::Form)),
            ("2026-01-02T03:04:05", Err(ParseError::Form)),
            ("2026-01-02T03:04:05.Z", Err(ParseError::Form)),
            ("2026-01-02 03:04:05Z", Err(ParseError::Form)),
            ("2026-01-02T24:00:00Z", Err(ParseError::Form)),
        ] {
            let read = Instant::parse(text, false).map(|at| at.to_string());
            assert_eq!(read.as_deref().map_err(|error| *error), expect, "{text}");
        }
        assert!(Instant::parse("2026-01-02T03:04:05", true).is_ok());
        assert_eq!(Instant::parse_date("1970-01-02").unwrap().seconds(), DAY);
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(seconds in -62_135_596_800_i64..253_402_207_200, nanos in 0_u32..1_000_000_000) {
            let ours = Instant::new(seconds, nanos).unwrap();
            let theirs = jiff::Timestamp::new(seconds, 0).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let wall = ours.on_wall(0);
            prop_assert_eq!(wall.year, i64::from(theirs.year()));
            prop_assert_eq!(wall.day_of_year, i64::from(theirs.day_of_year()) - 1);
            prop_assert_eq!(wall.weekday, i64::from(theirs.weekday().to_sunday_zero_offset()));
            prop_assert_eq!(Instant::parse(&ours.to_string(), false), Ok(ours));
        }
    }
}
