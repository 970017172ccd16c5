//! kubectl's JSONPath templates: text with `{...}` parts, evaluated on a JSON tree.
//!
//! Entry point: [`Template::parse`]. Covers what kubectl documents: fields, `['quoted.fields']`, indices,
//! slices, wildcards, `..` descent, filters with one comparison, `range`/`end`, quoted text.
//! Source: the kubectl reference, "JSONPath Support".

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Descend(String),
    Filter(Vec<Step>, Option<(Operator, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    /// A `{` without its `}`.
    #[error("unclosed action")]
    Unclosed,
    /// A part that is no path.
    #[error("unrecognized character in action: {0:?}")]
    Syntax(String),
    /// `{end}` without `{range}`, or the other way round.
    #[error("not in range, nothing to end")]
    Range,
    /// A field that is not there.
    #[error("{0} is not found")]
    NotFound(String),
}

impl Template {
    /// Parses a template; like kubectl, a bare `.a.b` or `a.b` stands for `{.a.b}`.
    ///
    /// # Errors
    /// When a part is malformed.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let text = match text.contains('{') {
            true => text.to_owned(),
            false if text.starts_with(['.', '[', '$']) => format!("{{{text}}}"),
            false => format!("{{.{text}}}"),
        };
        let mut stack: Vec<(Vec<Step>, Vec<Part>)> = vec![(Vec::new(), Vec::new())];
        let mut rest = text.as_str();
        while let Some(open) = rest.find('{') {
            push(&mut stack, Part::Text(rest[..open].to_owned()))?;
            let close = closing(&rest[open..]).ok_or(JsonPathError::Unclosed)?;
            action(&mut stack, rest[open + 1..open + close].trim())?;
            rest = &rest[open + close + 1..];
        }
        push(&mut stack, Part::Text(rest.to_owned()))?;
        match (stack.pop(), stack.is_empty()) {
            (Some((_, parts)), true) => Ok(Self(parts)),
            _ => Err(JsonPathError::Range),
        }
    }

    /// The template's text for `root`.
    ///
    /// # Errors
    /// When a field is missing and `allow_missing` is false.
    pub fn render(&self, root: &Value, allow_missing: bool) -> Result<String, JsonPathError> {
        let mut out = String::new();
        render(&self.0, root, allow_missing, &mut out)?;
        Ok(out)
    }

    /// The values of the first path, for sorting and columns.
    pub fn values<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let path =
            self.0.iter().find_map(|part| if let Part::Path(steps) = part { Some(steps) } else { None });
        path.and_then(|steps| walk(steps, root, true).ok()).unwrap_or_default()
    }
}

/// Position of the `}` that ends the action at the start of `text`, quotes respected.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn push(stack: &mut [(Vec<Step>, Vec<Part>)], part: Part) -> Result<(), JsonPathError> {
    if !matches!(&part, Part::Text(text) if text.is_empty()) {
        stack.last_mut().ok_or(JsonPathError::Range)?.1.push(part);
    }
    Ok(())
}

fn action(stack: &mut Vec<(Vec<Step>, Vec<Part>)>, text: &str) -> Result<(), JsonPathError> {
    if text == "end" {
        let (steps, parts) = stack.pop().ok_or(JsonPathError::Range)?;
        return push(stack, Part::Range(steps, parts));
    }
    if let Some(path) = text.strip_prefix("range ") {
        stack.push((steps(path.trim())?, Vec::new()));
        return Ok(());
    }
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return push(stack, Part::Text(unescaped(quoted)));
        }
    }
    push(stack, Part::Path(steps(text)?))
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\\\", "\\")
}

fn steps(text: &str) -> Result<Vec<Step>, JsonPathError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(['$', '@']);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            let (name, tail) = field_name(after);
            found.push(Step::Descend(name));
            rest = tail;
        } else if let Some(after) = rest.strip_prefix('.') {
            let (name, tail) = field_name(after);
            match name.as_str() {
                "" if tail.is_empty() => {}
                "" => return Err(JsonPathError::Syntax(rest.to_owned())),
                "*" => found.push(Step::All),
                _ => found.push(Step::Field(name)),
            }
            rest = tail;
        } else if rest.starts_with('[') {
            let close = bracket_end(rest).ok_or_else(|| JsonPathError::Syntax(rest.to_owned()))?;
            found.push(bracket(rest[1..close].trim())?);
            rest = &rest[close + 1..];
        } else {
            return Err(JsonPathError::Syntax(rest.to_owned()));
        }
    }
    Ok(found)
}

/// A field name up to an unescaped `.` or `[`; `\.` is a dot in the name.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn bracket_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Result<Step, JsonPathError> {
    let wrong = || JsonPathError::Syntax(format!("[{inner}]"));
    if inner == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return filter_step(filter);
    }
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return Ok(Step::Field(name.to_owned()));
        }
    }
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
    match inner.split_once(':') {
        Some((from, to)) => {
            let bound = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
            Ok(Step::Slice(bound(from)?, bound(to)?))
        }
        None => Ok(Step::Index(number(inner)?)),
    }
}

fn filter_step(text: &str) -> Result<Step, JsonPathError> {
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    for (sign, operator) in operators {
        if let Some((left, right)) = text.split_once(sign) {
            let right = right.trim();
            let bare = right.trim_matches(['"', '\'']);
            let value = if bare.len() == right.len() {
                serde_json::from_str(right).unwrap_or_else(|_| Value::String(right.to_owned()))
            } else {
                Value::String(bare.to_owned())
            };
            return Ok(Step::Filter(steps(left.trim())?, Some((operator, value))));
        }
    }
    Ok(Step::Filter(steps(text.trim())?, None))
}

fn render(parts: &[Part], root: &Value, allow_missing: bool, out: &mut String) -> Result<(), JsonPathError> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let texts: Vec<String> = walk(steps, root, allow_missing)?.into_iter().map(shown).collect();
                out.push_str(&texts.join(" "));
            }
            Part::Range(steps, inner) => {
                for item in walk(steps, root, allow_missing)? {
                    render(inner, item, allow_missing, out)?;
                }
            }
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn walk<'a>(steps: &[Step], root: &'a Value, allow_missing: bool) -> Result<Vec<&'a Value>, JsonPathError> {
    let mut current = vec![root];
    for step in steps {
        let mut next = Vec::new();
        for value in current {
            advance(step, value, &mut next);
        }
        if let (true, false, Step::Field(name)) = (next.is_empty(), allow_missing, step) {
            return Err(JsonPathError::NotFound(name.clone()));
        }
        current = next;
    }
    Ok(current)
}

fn advance<'a>(step: &Step, value: &'a Value, next: &mut Vec<&'a Value>) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    match step {
        Step::Field(name) => next.extend(value.get(name)),
        Step::Index(at) => next.extend(position(*at, items.len()).and_then(|at| items.get(at))),
        Step::Slice(from, to) => {
            let bound = |at: Option<i64>, fallback| at.map_or(fallback, |at| clamp(at, items.len()));
            let (from, to) = (bound(*from, 0), bound(*to, items.len()));
            next.extend(items.get(from..to.max(from)).unwrap_or_default());
        }
        Step::All => match value {
            Value::Object(fields) => next.extend(fields.values()),
            _ => next.extend(items),
        },
        Step::Descend(name) => descend(name, value, next),
        Step::Filter(path, test) => next.extend(items.iter().filter(|item| {
            let found = walk(path, item, true).unwrap_or_default();
            match test {
                None => !found.is_empty(),
                Some((operator, wanted)) => found.iter().any(|have| compare(*operator, have, wanted)),
            }
        })),
    }
}

fn clamp(at: i64, length: usize) -> usize {
    let at = if at < 0 { at + i64::try_from(length).unwrap_or(i64::MAX) } else { at };
    usize::try_from(at).unwrap_or(0).min(length)
}

fn position(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at + i64::try_from(length).ok()? } else { at };
    usize::try_from(at).ok()
}

fn descend<'a>(name: &str, value: &'a Value, next: &mut Vec<&'a Value>) {
    if name.is_empty() || name == "*" {
        next.push(value);
    } else {
        next.extend(value.get(name));
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|inner| descend(name, inner, next)),
        Value::Array(items) => items.iter().for_each(|inner| descend(name, inner, next)),
        _ => {}
    }
}

fn compare(operator: Operator, have: &Value, wanted: &Value) -> bool {
    let order = match (have.as_f64(), wanted.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(shown(have).cmp(&shown(wanted))),
    };
    let Some(order) = order else { return false };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expect: &str) {
        let root = json!({
            "kind": "List", "metadata": {"annotations": {"a.b/c": "dotted"}},
            "items": [{"name": "x", "n": 1, "on": true}, {"name": "y", "n": 2}],
        });
        let parsed = Template::parse(template).expect("a good template");
        assert_eq!(parsed.render(&root, true).expect("rendered"), expect, "{template}");
    }

    #[test]
    fn templates() {
        check("{.kind}", "List");
        check(".kind", "List");
        check("kind", "List");
        check("{.items[0].name}", "x");
        check("{.items[-1].name}", "y");
        check("{.items[*].name}", "x y");
        check("{.items[0:1].name}", "x");
        check("{..name}", "x y");
        check("{.items[?(@.n==2)].name}", "y");
        check("{.items[?(@.name!=\"y\")].n}", "1");
        check("{.items[?(@.on)].name}", "x");
        check("{range .items[*]}{.name}={.n}{\"\\n\"}{end}", "x=1\ny=2\n");
        check("{.metadata.annotations.a\\.b/c}", "dotted");
        check("{.metadata.annotations['a.b/c']}", "dotted");
        check("kind is {.kind}", "kind is List");
        check("{.items[0]}", r#"{"n":1,"name":"x","on":true}"#);
        check("{.missing}", "");
    }

    #[test]
    fn mistakes() {
        assert_eq!(Template::parse("{.a"), Err(JsonPathError::Unclosed));
        assert_eq!(Template::parse("{range .a}x"), Err(JsonPathError::Range));
        let missing = Template::parse("{.a.b}").expect("a good template").render(&json!({"a": {}}), false);
        assert_eq!(missing, Err(JsonPathError::NotFound("b".to_owned())));
    }
}
