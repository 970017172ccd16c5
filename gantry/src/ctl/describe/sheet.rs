//! What a description is written on: lines at levels of two spaces, columns laid out at the end.

use serde_json::Value;

use crate::ctl::tabs::DESCRIPTION;

/// Annotations longer than this stand on their own lines.
const LONGEST_ANNOTATION: usize = 140;

/// A description being written.
#[derive(Default)]
pub struct Sheet {
    done: String,
    open: String,
}

impl Sheet {
    /// A line, `\t` between its cells.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.open.push_str(&"  ".repeat(level));
        self.open.push_str(text.as_ref());
        self.open.push('\n');
    }

    /// `LABEL:` and a value.
    pub fn field(&mut self, level: usize, label: &str, value: impl std::fmt::Display) {
        self.line(level, format!("{label}:\t{value}"));
    }

    /// `LABEL:` and a value, if there is one.
    pub fn field_if(&mut self, level: usize, label: &str, value: &Value) {
        let value = text(value);
        if !value.is_empty() {
            self.field(level, label, value);
        }
    }

    /// Lines of one title: the first beside it, the others below.
    pub fn lines(&mut self, indent: &str, label: &str, values: &[String]) {
        match values.split_first() {
            None => self.line(0, format!("{indent}{label}:\t<none>")),
            Some((first, rest)) => {
                self.line(0, format!("{indent}{label}:\t{first}"));
                rest.iter().for_each(|value| self.line(0, format!("{indent}\t{value}")));
            }
        }
    }

    /// `KEY=VALUE` a line.
    pub fn labels(&mut self, indent: &str, label: &str, labels: &Value) {
        let pairs: Vec<String> =
            labels.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", text(v))).collect();
        self.lines(indent, label, &pairs);
    }

    /// Annotations; long ones are cut, and the form applied last is left out.
    pub fn annotations(&mut self, indent: &str, annotations: &Value) {
        let mut lines = Vec::new();
        for (key, value) in annotations.as_object().into_iter().flatten() {
            if key == api::three_way::LAST_APPLIED {
                continue;
            }
            let value = text(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > LONGEST_ANNOTATION || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|line| format!("  {}", shortened(line))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        self.lines(indent, "Annotations", &lines);
    }

    /// A heading and a table below it: names, dashes of their length, rows.
    pub fn table(&mut self, level: usize, title: &str, names: &[&str], rows: &[Vec<String>]) {
        if !title.is_empty() {
            self.line(level.saturating_sub(1), format!("{title}:"));
        }
        self.line(level, names.join("\t"));
        let dashes: Vec<String> = names.iter().map(|name| "-".repeat(name.len())).collect();
        self.line(level, dashes.join("\t"));
        rows.iter().for_each(|row| self.line(level, row.join("\t")));
    }

    /// What follows has columns of its own.
    pub fn flush(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.done.push_str(&DESCRIPTION.lay_out(&open));
    }

    /// What is written, its cells still ending with tabs.
    pub fn raw(self) -> String {
        self.open
    }

    /// The description.
    pub fn finish(mut self) -> String {
        self.flush();
        self.done
    }
}

fn shortened(line: &str) -> String {
    let most = LONGEST_ANNOTATION - 2;
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// A field's text; empty when it is not there.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The text at a JSON pointer.
pub fn at(object: &Value, path: &str) -> String {
    object.pointer(path).map(text).unwrap_or_default()
}

/// A number; 0 when it is not there.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The items of a list; none when it is not there.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

/// A list as Go prints it: `[a b]`.
pub fn go_list(value: &Value) -> String {
    format!("[{}]", items(value).iter().map(text).collect::<Vec<_>>().join(" "))
}

/// `a=b,c=d`, or `<none>`.
pub fn pairs(labels: &Value) -> String {
    crate::ctl::get::joined_labels(labels)
}

/// `True` or `False`.
pub fn truth(value: &Value) -> &'static str {
    if value == &Value::Bool(true) { "True" } else { "False" }
}

/// A time as Go's RFC1123Z, in the user's time zone.
pub fn time(value: &Value) -> String {
    match api::time::read(value) {
        Some(at) => {
            at.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
        }
        None => "<unknown>".to_owned(),
    }
}

/// A selector object as text: `a=b,c in (d,e)`; `<none>` when it selects everything.
pub fn format_selector(selector: &Value) -> String {
    let mut parts: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    for expression in items(&selector["matchExpressions"]) {
        let key = text(&expression["key"]);
        let mut values: Vec<String> = items(&expression["values"]).iter().map(text).collect();
        values.sort();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn titles_and_lists() {
        let mut sheet = Sheet::default();
        sheet.field(0, "Name", "x");
        sheet.labels("", "Labels", &json!({"a": "b", "c": "d"}));
        sheet.annotations("", &json!({"k": "v"}));
        sheet.table(1, "Conditions", &["Type", "Status"], &[vec!["Ready".to_owned(), "True".to_owned()]]);
        let expect = "Name:         x\nLabels:       a=b\n              c=d\nAnnotations:  k: v\nConditions:\n  Type   Status\n  ----   ------\n  Ready  True\n";
        assert_eq!(sheet.finish(), expect);
    }

    #[test]
    fn selectors_as_text() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "k", "operator": "In", "values": ["y", "x"]}, {"key": "e", "operator": "Exists"}]});
        assert_eq!(format_selector(&selector), "a=b,k in (x,y),e");
        assert_eq!(format_selector(&json!({})), "<none>");
    }
}
