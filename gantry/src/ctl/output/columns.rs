//! `-o custom-columns`: a table of headings and JSONPaths.

use api::jsonpath::Template;
use serde_json::Value;

use crate::ctl::tabs::TABLE;
use crate::ctl::{Failure, Outcome};

/// Headings and what stands below them.
pub struct Columns(Vec<(String, Template)>);

impl Columns {
    /// `NAME:.metadata.name,AGE:.metadata.creationTimestamp`.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(text: &str) -> Outcome<Self> {
        if text.is_empty() {
            return Err(Failure::new("custom-columns format specified but no custom columns given"));
        }
        let columns = text.split(',').map(|column| {
            let (heading, path) = column.split_once(':').ok_or_else(|| {
                Failure::new(format!(
                    "unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"
                ))
            })?;
            Ok((heading.to_owned(), template(path)?))
        });
        columns.collect::<Outcome<_>>().map(Self)
    }

    /// A line of headings, a line of paths.
    ///
    /// # Errors
    /// When the lines do not match.
    pub fn parse_file(text: &str) -> Outcome<Self> {
        let mut lines = text.lines().map(str::split_whitespace);
        let (Some(headings), Some(paths)) = (lines.next(), lines.next()) else {
            return Err(Failure::new("invalid file format, missing field spec"));
        };
        let (headings, paths): (Vec<_>, Vec<_>) = (headings.collect(), paths.collect());
        if headings.len() != paths.len() {
            return Err(Failure::new(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headings.len(),
                paths.len()
            )));
        }
        let pairs = headings.into_iter().zip(paths);
        pairs
            .map(|(heading, path)| Ok((heading.to_owned(), template(path)?)))
            .collect::<Outcome<_>>()
            .map(Self)
    }

    /// The objects' rows.
    pub fn table(&self, objects: &[&Value], headings: bool) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        if headings {
            rows.push(self.0.iter().map(|(heading, _)| heading.clone()).collect());
        }
        rows.extend(objects.iter().map(|object| self.0.iter().map(|(_, path)| cell(path, object)).collect()));
        TABLE.table(&rows)
    }
}

fn template(path: &str) -> Outcome<Template> {
    Template::parse(path).map_err(|e| Failure::new(format!("unexpected path string, {e}: {path}")))
}

fn cell(path: &Template, object: &Value) -> String {
    let values: Vec<String> = path.values(object).into_iter().map(text).collect();
    if values.is_empty() { "<none>".to_owned() } else { values.join(",") }
}

/// A value as Go prints it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let pairs: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", text(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_columns() {
        let columns = Columns::parse("NAME:.metadata.name,X:.spec.x").expect("columns");
        let (a, b) =
            (json!({"metadata": {"name": "a"}, "spec": {"x": [1, 2]}}), json!({"metadata": {"name": "b"}}));
        assert_eq!(columns.table(&[&a, &b], true), "NAME   X\na      [1 2]\nb      <none>\n");
        let file = Columns::parse_file("NAME X\n.metadata.name {.spec.x[*]}\n").expect("columns");
        assert_eq!(file.table(&[&a], false), "a     1,2\n");
        assert!(Columns::parse("NAME").is_err());
    }
}
