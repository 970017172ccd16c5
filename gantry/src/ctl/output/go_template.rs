//! `-o go-template`: objects through templates of Go's `text/template`, with kubectl's two functions more.
//!
//! Entry points: [`GoTemplate::parse`], [`GoTemplate::render`].

use std::sync::Arc;

use anyhow::anyhow;
use base64::Engine as _;
use gotmpl::{MissingKey, Template, TemplateError, Value as Data};
use serde_json::Value;

use super::super::Outcome;

/// A template that has been read.
pub struct GoTemplate {
    text: String,
    template: Template,
}

impl GoTemplate {
    /// Reads a template; `lenient` shows missing keys as `<no value>`.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(text: &str, lenient: bool) -> Outcome<Self> {
        let template = Template::new("output")
            .missing_key(if lenient { MissingKey::default() } else { MissingKey::Error })
            .func("exists", |arguments| Ok(Data::Bool(exists(arguments))))
            .func("base64decode", base64decode)
            .parse(text)
            .map_err(|error| anyhow!("error parsing template {text}, {}", without_column(&error)))?;
        Ok(Self { text: text.to_owned(), template })
    }

    /// What the template makes of an object.
    ///
    /// # Errors
    /// When the template asks for what cannot be done. kubectl prints what it had by then and the object
    /// as it stood; the error here says as much as its last line.
    pub fn render(&self, object: &Value) -> Outcome<String> {
        let rendered = self.template.execute_to_string(&data(object));
        Ok(rendered.map_err(|error| anyhow!("error executing template {:?}: {error}", self.text))?)
    }
}

/// Go names the line of what it cannot read, and no column.
fn without_column(error: &TemplateError) -> String {
    match error {
        TemplateError::Parse { name, line, message, .. } | TemplateError::Lex { name, line, message, .. } => {
            format!("template: {}:{line}: {message}", name.as_deref().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// JSON as Go reads it without a schema: every number is a float. Shown alone, a large one is written out,
/// where kubectl has `1e+06`.
fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Nil,
        Value::Bool(bool) => Data::Bool(*bool),
        Value::Number(number) => Data::Float(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Data::String(text.as_str().into()),
        Value::Array(list) => Data::List(list.iter().map(data).collect()),
        Value::Object(map) => {
            Data::Map(Arc::new(map.iter().map(|(key, value)| (key.as_str().into(), data(value))).collect()))
        }
    }
}

/// Whether the first argument has something at the keys and places the others name.
fn exists(arguments: &[Data]) -> bool {
    let Some((item, path)) = arguments.split_first() else { return false };
    let found = path.iter().try_fold(item, |item, step| match (item, step) {
        (Data::Map(map), Data::String(key)) => map.get(key),
        (Data::List(list), Data::Int(at)) => list.get(usize::try_from(*at).ok()?),
        _ => None,
    });
    found.is_some_and(|found| !matches!(found, Data::Nil))
}

fn base64decode(arguments: &[Data]) -> Result<Data, TemplateError> {
    let [Data::String(text)] = arguments else {
        return Err(TemplateError::Exec("base64decode takes one string".to_owned()));
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.as_bytes())
        .map_err(|error| TemplateError::Exec(format!("base64 decode failed: {error}")))?;
    Ok(Data::from(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, lenient: bool) -> Result<String, String> {
        let object = json!({
            "metadata": {"name": "a", "labels": {"x": "1", "b": "2"}},
            "items": [{"n": 1}, {"n": 1_000_000}, {"n": 0.5}],
            "data": {"key": "aGVsbG8="},
        });
        let template = GoTemplate::parse(text, lenient).map_err(|error| error.to_string())?;
        template.render(&object).map_err(|error| error.to_string())
    }

    #[test]
    fn templates() {
        for (text, expected) in [
            ("{{.metadata.name}}", "a"),
            ("{{range .items}}{{.n}} {{end}}", "1 1000000 0.5 "),
            ("{{range $k, $v := .metadata.labels}}{{$k}}={{$v}};{{end}}", "b=2;x=1;"),
            ("{{index .metadata.labels \"x\"}}{{len .items}}", "13"),
            ("{{.data.key | base64decode}}", "hello"),
            ("{{if exists . \"items\" 1 \"n\"}}y{{end}}{{if exists . \"items\" 9}}n{{end}}", "y"),
            ("{{.missing}}", "<no value>"),
            ("{{.metadata}}", "map[labels:map[b:2 x:1] name:a]"),
        ] {
            assert_eq!(rendered(text, true).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refusals() {
        let broken = rendered("{{.a", true).unwrap_err();
        assert!(broken.starts_with("error: error parsing template {{.a, template: output:1: "), "{broken}");
        let missing = rendered("{{.missing}}", false).unwrap_err();
        assert!(missing.starts_with("error: error executing template \"{{.missing}}\": "), "{missing}");
        let junk = rendered("{{base64decode .metadata.name}}", true).unwrap_err();
        assert!(junk.contains("base64 decode failed"), "{junk}");
    }
}
