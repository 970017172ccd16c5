//! YAML as Go's writer has it, byte for byte: scalars plain where that reads back as a string, else quoted;
//! several lines as a block; long ones folded at a space behind column 80.
//!
//! Entry point: [`emit`].

use serde_json::Value;

/// Behind this column a line is folded at the next space.
const WIDTH: usize = 80;

/// Writes a value in block style, two spaces a level, keys in the map's order, as `kubectl -o yaml` does.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    nested(value, 0, &mut out);
    out
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, inner) in map {
                pad(indent, out);
                key(name, out);
                out.push(':');
                if is_nested(inner) {
                    out.push('\n');
                    // Lists stay at their key's indent, as Go's writer has them.
                    nested(inner, if inner.is_array() { indent } else { indent + 2 }, out);
                } else {
                    out.push(' ');
                    scalar(inner, indent + 2, out);
                    out.push('\n');
                }
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                pad(indent, out);
                out.push_str("- ");
                // The first line of what is inside sits on the dash's line.
                let mut inside = String::new();
                nested(item, indent + 2, &mut inside);
                out.push_str(inside.get(indent + 2..).unwrap_or_default());
            }
        }
        other => {
            pad(indent, out);
            scalar(other, indent, out);
            out.push('\n');
        }
    }
}

fn is_nested(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty())
        || value.as_array().is_some_and(|list| !list.is_empty())
}

/// How a text may be written, from what it contains.
#[derive(Default)]
struct Nature {
    special: bool,
    indicators: bool,
    lines: bool,
    leading_blank: bool,
    trailing_blank: bool,
    trailing_space: bool,
    break_space: bool,
    space_break: bool,
}

impl Nature {
    fn of(text: &str) -> Self {
        let mut nature =
            Self { indicators: text.starts_with("---") || text.starts_with("..."), ..Self::default() };
        let letters: Vec<char> = text.chars().collect();
        let blank = |c: Option<&char>| c.is_none_or(|c| [' ', '\t', '\n', '\r'].contains(c));
        let mut before: Option<char> = None;
        for (at, letter) in letters.iter().enumerate() {
            let last = at + 1 == letters.len();
            let followed = blank(letters.get(at + 1));
            nature.indicators |= match (letter, before) {
                (
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                    | '`',
                    None,
                ) => true,
                ('?' | ':' | '-', None) => followed,
                (':', Some(_)) => followed,
                ('#', Some(before)) => blank(Some(&before)),
                _ => false,
            };
            nature.special |= !is_printable(*letter);
            match letter {
                ' ' => {
                    nature.leading_blank |= at == 0;
                    nature.trailing_blank |= last;
                    nature.trailing_space |= last;
                    nature.break_space |= before == Some('\n');
                }
                '\n' => {
                    nature.lines = true;
                    nature.leading_blank |= at == 0;
                    nature.trailing_blank |= last;
                    nature.space_break |= before == Some(' ');
                }
                _ => {}
            }
            before = Some(*letter);
        }
        nature
    }

    fn may_be_plain(&self) -> bool {
        !(self.special || self.indicators || self.lines || self.leading_blank || self.trailing_blank)
    }

    fn may_be_single_quoted(&self) -> bool {
        !(self.special || self.break_space || self.space_break)
    }

    fn may_be_a_block(&self) -> bool {
        !(self.special || self.space_break || self.trailing_space)
    }
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && letter != '\u{feff}'
}

/// A value that is no object and no list; lines that go on stand at `indent`.
fn scalar(value: &Value, indent: usize, out: &mut String) {
    let Value::String(text) = value else {
        out.push_str(&value.to_string());
        return;
    };
    let nature = Nature::of(text);
    if text.contains('\n') && nature.may_be_a_block() {
        block(text, indent, out);
    } else if text.contains('\n') || means_something_else(text) {
        double_quoted(text, Some(indent), out);
    } else if nature.may_be_plain() {
        folded(text, indent, out);
    } else if nature.may_be_single_quoted() {
        out.push('\'');
        folded(&text.replace('\'', "''"), indent, out);
        out.push('\'');
    } else {
        double_quoted(text, Some(indent), out);
    }
}

/// A key: on one line, whatever its length.
fn key(text: &str, out: &mut String) {
    let nature = Nature::of(text);
    if text.contains('\n') || means_something_else(text) || !nature.may_be_single_quoted() {
        double_quoted(text, None, out);
    } else if nature.may_be_plain() {
        out.push_str(text);
    } else {
        out.push_str(&format!("'{}'", text.replace('\'', "''")));
    }
}

fn column(out: &str) -> usize {
    out.chars().rev().take_while(|c| *c != '\n').count()
}

fn new_line(indent: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Text whose single spaces may become line ends.
fn folded(text: &str, indent: usize, out: &mut String) {
    let mut column = column(out);
    let mut before = ' ';
    let mut letters = text.chars().enumerate().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        let alone = letter == ' ' && before != ' ' && next.is_some_and(|next| next != ' ');
        if alone && at > 0 && column > WIDTH {
            new_line(indent, out);
            column = indent;
        } else {
            out.push(letter);
            column += 1;
        }
        before = letter;
    }
}

fn block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 if !body.is_empty() => {}
        _ => out.push('+'),
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if line.is_empty() {
            out.push('\n');
        } else {
            new_line(indent, out);
            out.push_str(line);
        }
    }
}

fn double_quoted(text: &str, fold: Option<usize>, out: &mut String) {
    out.push('"');
    let mut column = column(out);
    let mut before = ' ';
    let mut letters = text.chars().enumerate().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        match fold {
            Some(indent) if letter == ' ' && before != ' ' && at > 0 && next.is_some() && column > WIDTH => {
                new_line(indent, out);
                column = indent;
                if next == Some(' ') {
                    out.push('\\');
                    column += 1;
                }
            }
            _ => {
                let shown = escaped(letter);
                column += shown.chars().count();
                out.push_str(&shown);
            }
        }
        before = letter;
    }
    out.push('"');
}

fn escaped(letter: char) -> String {
    match letter {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\u{1b}' => "\\e".to_owned(),
        '\u{85}' => "\\N".to_owned(),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        letter if is_printable(letter) => letter.to_string(),
        letter => match u32::from(letter) {
            code @ ..=0xff => format!("\\x{code:02X}"),
            code @ ..=0xffff => format!("\\u{code:04X}"),
            code => format!("\\U{code:08X}"),
        },
    }
}

/// Words YAML 1.1 gives a meaning; `<<` merges.
const WORDS: [&str; 12] = ["", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "<<"];

/// Whether the text, unquoted, would be read as a bool, null, a number or a time.
fn means_something_else(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let one_case = text == lower || text == text.to_ascii_uppercase() || is_title(text);
    if one_case && WORDS.contains(&lower.as_str()) {
        return true;
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    if one_case && (unsigned == ".inf" || lower == ".nan") {
        return true;
    }
    let Some(first) = unsigned.chars().next() else { return false };
    if !first.is_ascii_digit() && first != '.' {
        return false;
    }
    is_number(&unsigned.replace('_', "")) || is_sexagesimal(unsigned) || is_time(&lower)
}

fn is_title(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(char::is_uppercase) && letters.all(|c| !c.is_uppercase())
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return digits(rest, radix);
        }
    }
    let (mantissa, exponent) = text.split_once('e').map_or((text, None), |(m, e)| (m, Some(e)));
    if let Some(exponent) = exponent
        && !digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10)
    {
        return false;
    }
    match mantissa.split_once('.') {
        None => digits(mantissa, 10),
        Some(("", after)) => digits(after, 10),
        Some((before, after)) => digits(before, 10) && (after.is_empty() || digits(after, 10)),
    }
}

/// `1:30` of old, which Go quotes for other readers' sake.
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = text.split(':');
    let first =
        parts.next().is_some_and(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit() || c == '_'));
    let rest: Vec<&str> = parts.collect();
    let small = |part: &&str| {
        let whole = part.split('.').next().unwrap_or_default();
        !whole.is_empty() && whole.len() <= 2 && whole.parse::<u8>().is_ok_and(|n| n < 60)
    };
    first && !rest.is_empty() && rest.iter().all(small)
}

/// `2026-01-02` and what may follow it.
fn is_time(text: &str) -> bool {
    let date = text.split(['t', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let number = |text: &str, longest: usize| {
        !text.is_empty() && text.len() <= longest && text.chars().all(|c| c.is_ascii_digit())
    };
    let [year, month, day] = parts.as_slice() else { return false };
    let is_date = year.len() == 4 && number(year, 4) && number(month, 2) && number(day, 2);
    let rest = text.get(date.len()..).unwrap_or_default().trim_start_matches(['t', ' ']);
    is_date && (rest.is_empty() || rest.matches(':').count() >= 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::emit;

    fn check(text: &str, expect: &str) {
        assert_eq!(emit(&json!({"a": text})), format!("a: {expect}\n"), "{text:?}");
    }

    #[test]
    fn styles() {
        for plain in ["abc", "a b", "a:b", "1.2.3", "10.0.0.0/8", "-x", "a'b", "5s", "tRue", "a#b", "100m"] {
            check(plain, plain);
        }
        for quoted in [
            "",
            "y",
            "No",
            "1",
            "0x1f",
            "1e3",
            "1_000",
            ".5",
            "12:30",
            "2026-01-02",
            "2026-01-02T03:04:05Z",
            "~",
        ] {
            check(quoted, &format!("\"{quoted}\""));
        }
        for (text, expect) in [
            ("a: b", "'a: b'"),
            ("*", "'*'"),
            ("{}", "'{}'"),
            ("it's: x", "'it''s: x'"),
            (" a", "' a'"),
            ("a\tb", "\"a\\tb\""),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n", "|\n  a"),
            ("a\n\n", "|+\n  a\n"),
            ("a \nb", "\"a \\nb\""),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn long_lines_are_folded() {
        let words = vec!["word"; 30].join(" ");
        let text = emit(&json!({"a": words}));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].len() > 80 && lines[1].starts_with("  word"), "{text}");
        assert_eq!(super::super::decode_all(&text).expect("YAML")[0]["a"], words);
    }

    proptest! {
        #[test]
        fn texts_read_back_as_written(
            key in "[a-z -~\u{85}\u{2028}é:#'\"\n]{0,6}",
            text in "([-a-y01.:#'\" \n\t~+_]{0,9}|.{0,200}|[a-z ]{60,200})",
            indented in any::<bool>(),
        ) {
            let inner = json!({key: text});
            let value = if indented { json!({"in": [[inner]]}) } else { inner };
            let written = emit(&value);
            prop_assert_eq!(&super::super::decode(written.as_bytes()).expect("YAML").value, &value, "{}", written);
        }
    }
}
