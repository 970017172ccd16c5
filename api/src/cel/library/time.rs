//! Times and durations: reading, writing, and their parts in a time zone.

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use super::{Args, Run};
use crate::cel::error::EvalError;
use crate::cel::instant::{Instant, WallClock};
use crate::cel::value::{Eval, Value};

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "getFullYear" => |args| part(args, |at| at.year, None),
        "getMonth" => |args| part(args, |at| at.month - 1, None),
        "getDayOfYear" => |args| part(args, |at| at.day_of_year, None),
        "getDayOfMonth" => |args| part(args, |at| at.day - 1, None),
        "getDate" => |args| part(args, |at| at.day, None),
        "getDayOfWeek" => |args| part(args, |at| at.weekday, None),
        "getHours" => |args| part(args, |at| at.hour, Some(3_600_000_000_000)),
        "getMinutes" => |args| part(args, |at| at.minute, Some(60_000_000_000)),
        "getSeconds" => |args| part(args, |at| at.second, Some(1_000_000_000)),
        "getMilliseconds" => |args| part(args, |at| at.millisecond, Some(1_000_000)),
        _ => return None,
    })
}

/// A part of a time, or how many such units are in a duration.
fn part<'a>(args: Args<'_, 'a>, of: fn(WallClock) -> i64, nanos: Option<i64>) -> Eval<Value<'a>> {
    match (&args.values[..], nanos) {
        ([Value::Timestamp(at)], _) => Ok(Value::Int(of(at.on_wall(0)))),
        ([Value::Timestamp(at), Value::String(zone)], _) => {
            Ok(Value::Int(of(at.on_wall(offset(zone, *at)?))))
        }
        ([Value::Duration(length)], Some(nanos)) => Ok(Value::Int(length / nanos)),
        _ => args.refuse(),
    }
}

/// Seconds east of UTC in a zone given by name, or as an offset such as `-08:00`.
fn offset(zone: &str, at: Instant) -> Eval<i64> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        if matches!(zone, "" | "UTC") {
            return Ok(0);
        }
        // The data compiled in, not the machine's: the result depends on nothing outside.
        let found = TimeZoneDatabase::bundled().get(zone);
        let zone = found.map_err(|_| EvalError::new(format!("unknown time zone {zone}")))?;
        // The library's range ends a day early; no zone changes there.
        let at = at.seconds().clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let at = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
        return Ok(zone.to_offset(at).seconds().into());
    };
    let number = |text: &str| {
        let wrong = || EvalError::new(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        text.parse::<i32>().map(i64::from).map_err(|_| wrong())
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if !(0..=59).contains(&minutes) {
        return Err(EvalError::new(format!("timezone offset minutes out of range [0, 59]: {zone}")));
    }
    Ok(hours * 3600 + if zone.starts_with('-') { -minutes } else { minutes } * 60)
}

/// Seconds with as many decimals as needed: `3600s`, `1.5s`.
pub(crate) fn seconds_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}
