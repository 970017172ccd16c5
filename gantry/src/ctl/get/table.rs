//! A server's table as rows of text.

use serde_json::{Value, json};

use crate::ctl::resources::Resource;

/// Asks for a table; whole objects when the server cannot.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// Flags of tables.
#[derive(clap::Args, Default, Clone)]
#[group(skip)]
pub struct Flags {
    /// Every namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Without headings.
    #[arg(long)]
    pub no_headers: bool,
    /// Labels as a column.
    #[arg(long)]
    pub show_labels: bool,
    /// These labels as columns.
    #[arg(short = 'L', long, value_name = "KEYS", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Names with their kind.
    #[arg(long)]
    pub show_kind: bool,
}

/// What rows of one resource are made of.
pub struct Rows<'a> {
    /// As the user wants them.
    pub flags: &'a Flags,
    /// The resource.
    pub resource: &'a Resource,
    /// With the columns of lower priority.
    pub wide: bool,
    /// Names with their kind.
    pub with_kind: bool,
}

impl Rows<'_> {
    /// The rows, the headings first if wanted.
    pub fn of(&self, table: &Value, headings: bool) -> Vec<Vec<String>> {
        let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        let shown = |definition: &Value| self.wide || definition["priority"].as_i64().unwrap_or(0) == 0;
        let keep: Vec<usize> =
            definitions.iter().zip(0..).filter(|(d, _)| shown(d)).map(|(_, i)| i).collect();
        let mut lines = Vec::new();
        if headings {
            let names = definitions.iter().filter(|d| shown(d));
            let mut line: Vec<String> =
                names.map(|d| d["name"].as_str().unwrap_or_default().to_uppercase()).collect();
            let keys = self.flags.label_columns.iter();
            line.extend(keys.map(|key| key.rsplit('/').next().unwrap_or(key).to_uppercase()));
            self.frame(&mut line, "NAMESPACE", "LABELS");
            lines.push(line);
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            let mut line: Vec<String> = keep.iter().map(|i| cell(&row["cells"][*i])).collect();
            if self.with_kind
                && let Some(first) = line.first_mut()
            {
                *first = format!("{}/{first}", self.resource.singular_name());
            }
            let labels = &row["object"]["metadata"]["labels"];
            let keys = self.flags.label_columns.iter();
            line.extend(keys.map(|key| labels[key].as_str().unwrap_or_default().to_owned()));
            self.frame(&mut line, api::object::namespace(&row["object"]), &joined(labels));
            lines.push(line);
        }
        lines
    }

    fn frame(&self, line: &mut Vec<String>, namespace: &str, labels: &str) {
        if self.flags.all_namespaces && self.resource.namespaced {
            line.insert(0, namespace.to_owned());
        }
        if self.flags.show_labels {
            line.push(labels.to_owned());
        }
    }
}

/// A table as it is; an object of a subresource that has none as its name and age.
pub fn or_plain(answer: Value) -> Value {
    if answer["kind"] == "Table" {
        return answer;
    }
    let now = component_base::clock::RealClock::shared().now();
    let age = api::time::age(api::time::read(&answer["metadata"]["creationTimestamp"]), now);
    let columns = json!([{"name": "Name"}, {"name": "Age"}]);
    let row = json!({"cells": [api::object::name(&answer), age], "object": answer});
    json!({"kind": "Table", "columnDefinitions": columns, "rows": [row]})
}

/// Adds another table's rows.
pub fn append(table: &mut Value, mut next: Value) {
    if let (Some(rows), Some(more)) = (table["rows"].as_array_mut(), next["rows"].as_array_mut()) {
        rows.append(more);
    }
}

/// A cell; only the first line of several is shown.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => match text.find(['\n', '\r', '\u{c}']) {
            Some(end) => format!("{}...", text.get(..end).unwrap_or_default()),
            None => text.clone(),
        },
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn joined(labels: &Value) -> String {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}
