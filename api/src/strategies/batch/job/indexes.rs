//! Lists of indexes such as `1,3-5,7`.

/// The intervals of a list and how many indexes they hold, all below `completions`.
///
/// # Errors
/// Upstream's text for what is malformed, out of order or too large.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last = None;
    for (start, end) in
        intervals(text).map(|interval| parse(interval, completions)).collect::<Result<Vec<_>, _>>()?
    {
        if let Some(last) = last.filter(|last| *last >= start) {
            return Err(format!("non-increasing order, previous: {last}, current: {start}"));
        }
        total += end - start + 1;
        last = Some(end);
    }
    Ok(total)
}

/// An index both lists hold.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let readable = |text: &'_ str| -> Vec<(i64, i64)> {
        intervals(text).filter_map(|interval| parse(interval, completions).ok()).collect()
    };
    let others = readable(other);
    readable(one).into_iter().find_map(|(start, end)| {
        let clash = others.iter().find(|(from, to)| start <= *to && *from <= end)?;
        Some(start.max(clash.0))
    })
}

fn intervals(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

fn parse(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let index = |text: &str| -> Result<i64, String> {
        let number: i64 =
            text.parse().map_err(|_error| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    match interval.split('-').collect::<Vec<_>>().as_slice() {
        [only] => index(only).map(|only| (only, only)),
        [start, end] => match (index(start)?, index(end)?) {
            (start, end) if start >= end => {
                Err(format!("non-increasing order, previous: {start}, current: {end}"))
            }
            both => Ok(both),
        },
        _ => Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two \
             parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        for (text, expect) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("1,3-5,7", Ok(5)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("5-3", Err("non-increasing order, previous: 5, current: 3")),
            ("10", Err("too large index: \"10\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("1,,2", Err("cannot convert string to integer for index: \"\"")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ] {
            assert_eq!(count(text, 10), expect.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn lists_overlap() {
        assert_eq!(overlap("0-2,5", "3,4", 10), None);
        assert_eq!(overlap("0-2,5-7", "3,6", 10), Some(6));
        assert_eq!(overlap("", "1", 10), None);
    }
}
