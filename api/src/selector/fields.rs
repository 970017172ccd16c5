//! Field selectors: `metadata.name=x,spec.nodeName!=y`, with `\,`, `\=` and `\\` for those characters.

use std::fmt;

use super::SelectorError;
use crate::kinds::Kind;
use crate::object::Index;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// Label of the field as the caller wrote it; after [`FieldSelector::resolve`], an indexed path.
    pub field: String,
    /// Whether it must be equal, or must differ.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// All of the terms; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Made of its conditions.
    pub fn of(terms: Vec<FieldTerm>) -> Self {
        Self { terms }
    }

    /// Reads the text form. Whether a kind offers the fields is [`Self::resolve`]'s question.
    ///
    /// # Errors
    /// [`SelectorError`] for a term without an operator or a wrong escape.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|part| !part.is_empty()) {
            let Some((field, operator, value)) = split_term(part) else {
                let why = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(SelectorError::new(why));
            };
            let value = unescape(value)?;
            terms.push(FieldTerm { field: field.to_owned(), equal: operator != "!=", value });
        }
        Ok(Self { terms })
    }

    /// The same selector over the kind's indexed paths.
    ///
    /// # Errors
    /// [`SelectorError`] for a field the kind does not offer.
    pub fn resolve(mut self, kind: &Kind) -> Result<Self, SelectorError> {
        for term in &mut self.terms {
            let Some(path) = kind.field_path(&term.field) else {
                return Err(unsupported(kind, &term.field));
            };
            term.field = path.to_owned();
        }
        Ok(self)
    }

    /// Whether every object fits.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The conditions.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The value a field must have, if the selector pins it: a list of one name need not scan.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether an object fits; fields must be resolved.
    pub fn matches(&self, index: &Index) -> bool {
        self.terms.iter().all(|term| {
            let values = term.field.split('|').map(|path| index.field(path));
            let value = values.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
            (value == term.value) == term.equal
        })
    }
}

fn unsupported(kind: &Kind, label: &str) -> SelectorError {
    if kind.selectable_fields.is_empty() {
        return SelectorError(format!(
            "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ));
    }
    SelectorError(format!("field label not supported: {label}"))
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `field`, operator, `value` at the first operator.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in term.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    if !value.contains(['\\', ',', '=']) {
        return Ok(value.to_owned());
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: \\{c}"
                    )));
                }
                None => {
                    return Err(SelectorError::new("invalid field selector: invalid escape sequence: \\"));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped rune in value: {value:?}: {c}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{separator}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, expect) in
            [("", ""), ("a=b", "a=b"), ("a==b,,c!=d", "a=b,c!=d"), ("a=", "a="), (r"a=x\,y\=z", r"a=x\,y\=z")]
        {
            assert_eq!(FieldSelector::parse(text).unwrap().to_string(), expect, "{text}");
        }
        assert_eq!(
            FieldSelector::parse("a=b,c").unwrap_err().0,
            "invalid selector: 'a=b,c'; can't understand 'c'"
        );
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }

    #[test]
    fn fields_are_resolved_and_matched() {
        let table = crate::kinds::builtin();
        let events = table.find("events.events.k8s.io").unwrap();
        let selector = FieldSelector::parse("regarding.kind=Pod,metadata.name!=x").unwrap();
        let selector = selector.resolve(&events).unwrap();
        let bytes = br#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod"}}"#;
        assert!(selector.matches(&Index::parse(bytes, &events.selectable_fields)));
        let events = table.find("events").unwrap();
        let by_source = FieldSelector::parse("source=s").unwrap().resolve(&events).unwrap();
        for (event, fits) in [
            (r#"{"source":{"component":"s"},"reportingComponent":"r"}"#, true),
            (r#"{"source":{},"reportingComponent":"s"}"#, true),
            (r#"{"source":{"component":"r"},"reportingComponent":"s"}"#, false),
        ] {
            let index = Index::parse(event.as_bytes(), &events.selectable_fields);
            assert_eq!(by_source.matches(&index), fits, "{event}");
        }
        let pods = table.find("pods").unwrap();
        let bad = FieldSelector::parse("spec.foo=1").unwrap().resolve(&pods).unwrap_err().0;
        assert_eq!(bad, "field label not supported: spec.foo");
        let pinned = FieldSelector::parse("metadata.name=a,spec.nodeName=").unwrap().resolve(&pods).unwrap();
        assert_eq!(pinned.exact("metadata.name"), Some("a"));
        assert!(pinned.matches(&Index::parse(br#"{"metadata":{"name":"a"}}"#, &pods.selectable_fields)));
        let config_maps = table.find("cm").unwrap();
        let bad = FieldSelector::parse("data=1").unwrap().resolve(&config_maps).unwrap_err().0;
        assert!(bad.starts_with("\"data\" is not a known field selector"));
    }
}
