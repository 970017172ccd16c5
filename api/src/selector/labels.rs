//! Label selectors: `a=b,c!=d,e in (x,y),!f,g`, and `{matchLabels, matchExpressions}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::SelectorError;
use super::lexer::{Token, tokens};
use crate::names;
use crate::status::Cause;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of the set (`=`, `==`, `in`).
    In,
    /// The label is absent, or its value is not in the set (`!=`, `notin`).
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The value is an integer above the given one.
    GreaterThan,
    /// The value is an integer below the given one.
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: BTreeSet<String>,
    /// Written with `=` or `!=`, which shows in the text form.
    equality: bool,
}

/// All of the requirements; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Requirement {
    /// Whether an object whose label `key` has this value (`None`: no such label) fits.
    pub fn fits(&self, value: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|v| number(v));
        match (self.operator, value) {
            (Operator::In, Some(value)) => self.values.contains(value),
            (Operator::NotIn, Some(value)) => !self.values.contains(value),
            (Operator::NotIn | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
            (Operator::GreaterThan, Some(value)) => {
                matches!((number(value), bound()), (Some(value), Some(bound)) if value > bound)
            }
            (Operator::LessThan, Some(value)) => {
                matches!((number(value), bound()), (Some(value), Some(bound)) if value < bound)
            }
            (Operator::DoesNotExist, Some(_)) | (_, None) => false,
        }
    }

    fn check(&self) -> Result<(), SelectorError> {
        let fail = |cause: Cause| Err(SelectorError::new(cause.to_string()));
        if let Some(error) = names::qualified_name(&self.key).first() {
            return fail(Cause::invalid("key", &self.key.as_str().into(), error));
        }
        for (at, value) in self.values.iter().enumerate() {
            if let Some(error) = names::label_value(value).first() {
                let field = format!("values[{at}][{}]", self.key);
                return fail(Cause::invalid(field, &value.as_str().into(), error));
            }
            let numeric = matches!(self.operator, Operator::GreaterThan | Operator::LessThan);
            if numeric && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                return fail(Cause::invalid(format!("values[{at}]"), &value.as_str().into(), detail));
            }
        }
        Ok(())
    }
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`SelectorError`] in upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { tokens: tokens(text), at: 0 }.selector()
    }

    /// Reads a `LabelSelector` object; null or absent selects nothing, an empty one everything.
    ///
    /// # Errors
    /// [`SelectorError`] for an unknown operator, missing values or malformed keys and values.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut result = Self::from_map(&selector["matchLabels"])?;
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            result.requirements.push(expression_requirement(expression)?);
        }
        result.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(result)
    }

    /// Reads a plain map (`Service.spec.selector`); absent selects everything, which is for the caller
    /// to mind: a Service without a selector selects nothing.
    ///
    /// # Errors
    /// [`SelectorError`] for malformed keys and values.
    pub fn from_map(labels: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in labels.as_object().into_iter().flatten() {
            let values = [value.as_str().unwrap_or_default().to_owned()].into();
            let requirement =
                Requirement { key: key.clone(), operator: Operator::In, values, equality: true };
            requirement.check()?;
            requirements.push(requirement);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// Whether every object fits.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object with these labels fits.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object with these labels, a JSON map or null, fits.
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }

    /// Whether a whole object fits.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches_json(&object["metadata"]["labels"])
    }

    fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.fits(label(&r.key)))
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    let word = expression["operator"].as_str().unwrap_or_default();
    let operator = match word {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return Err(SelectorError::new(format!("{word:?} is not a valid label selector operator"))),
    };
    let values: BTreeSet<String> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect();
    let wants_values = matches!(operator, Operator::In | Operator::NotIn);
    if wants_values == values.is_empty() {
        let detail = if wants_values {
            "for 'in', 'notin' operators, values set can't be empty"
        } else {
            "values set must be empty for exists and does not exist"
        };
        let shown = Value::Array(values.iter().map(|v| v.as_str().into()).collect());
        return Err(SelectorError::new(Cause::invalid("values", &shown, detail).to_string()));
    }
    let requirement = Requirement { key, operator, values, equality: false };
    requirement.check()?;
    Ok(requirement)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(mut self) -> Result<LabelSelector, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Not => {
                    let requirement = self.requirement().map_err(|SelectorError(why)| {
                        SelectorError(format!("unable to parse requirement: {why}"))
                    })?;
                    requirements.push(requirement);
                }
                Token::End => break,
                other => return Err(found(other, ", expected: !, identifier, or 'end of string'")),
            }
            match self.next() {
                Token::End => break,
                Token::Comma => {
                    let next = self.peek();
                    if !matches!(next, Token::Word(_) | Token::Not) {
                        return Err(found(next, ", expected: identifier after ','"));
                    }
                }
                other => return Err(found(other, ", expected: ',' or 'end of string'")),
            }
        }
        requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let Token::Word(key) = self.peek() else { return Err(found(self.peek(), ", expected: identifier")) };
        self.next();
        let mut made = Requirement {
            key: key.to_owned(),
            operator: Operator::Exists,
            values: BTreeSet::new(),
            equality: false,
        };
        // The key is judged before the operator, so that its error is the one reported.
        made.check()?;
        if negated || matches!(self.peek(), Token::End | Token::Comma) {
            made.operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(made);
        }
        let token = self.next();
        (made.operator, made.equality) = match token {
            Token::Word("in") => (Operator::In, false),
            Token::Word("notin") => (Operator::NotIn, false),
            Token::Operator("=" | "==") => (Operator::In, true),
            Token::Operator("!=") => (Operator::NotIn, true),
            Token::Operator(">") => (Operator::GreaterThan, true),
            Token::Operator("<") => (Operator::LessThan, true),
            _ => return Err(found(token, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        made.values = if made.equality { self.one_value()? } else { self.value_set()? };
        made.check()?;
        Ok(made)
    }

    fn one_value(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.peek() {
            Token::End | Token::Comma => Ok([String::new()].into()),
            Token::Word(value) => {
                self.next();
                Ok([value.to_owned()].into())
            }
            other => Err(found(other, ", expected: identifier")),
        }
    }

    fn value_set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if self.peek() != Token::Open {
            return Err(found(self.peek(), " expected: '('"));
        }
        self.next();
        let mut values = BTreeSet::new();
        let mut expects_value = true;
        loop {
            match self.next() {
                Token::Word(value) if expects_value => {
                    values.insert(value.to_owned());
                    expects_value = false;
                }
                Token::Comma => {
                    if expects_value {
                        values.insert(String::new());
                    }
                    expects_value = true;
                }
                Token::Close => {
                    // `()` and `(a,)` hold the empty value.
                    if expects_value {
                        values.insert(String::new());
                    }
                    return Ok(values);
                }
                other if expects_value => return Err(found(other, ", expected: ',', ')' or identifier")),
                other => return Err(found(other, ", expected: ',' or ')'")),
            }
        }
    }
}

fn found(token: Token<'_>, expected: &str) -> SelectorError {
    SelectorError(format!("found '{}'{expected}", token.text()))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match (self.operator, self.equality) {
            (Operator::In, true) => write!(f, "{key}={values}"),
            (Operator::NotIn, true) => write!(f, "{key}!={values}"),
            (Operator::In, false) => write!(f, "{key} in ({values})"),
            (Operator::NotIn, false) => write!(f, "{key} notin ({values})"),
            (Operator::Exists, _) => f.write_str(key),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::GreaterThan, _) => write!(f, "{key}>{values}"),
            (Operator::LessThan, _) => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, expect) in [
            ("", ""),
            ("a=b", "a=b"),
            ("a==b,c!=d", "a=b,c!=d"),
            (" x in (b, a) ", "x in (a,b)"),
            ("x notin (a),!y, z", "x notin (a),!y,z"),
            ("x=", "x="),
            ("x in (a,)", "x in (,a)"),
            ("in in (in)", "in in (in)"),
            ("n>3,n<9", "n>3,n<9"),
            ("b=1,a=2", "a=2,b=1"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), expect, "{text}");
        }
    }

    #[test]
    fn wrong_texts_say_what_was_found() {
        for (text, expect) in [
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a=b!", "found '!', expected: ',' or 'end of string'"),
            (
                "n>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().0, expect, "{text}");
        }
        let error = LabelSelector::parse("-a=b").unwrap_err().0;
        assert!(
            error.starts_with("unable to parse requirement: key: Invalid value: \"-a\": name part"),
            "{error}"
        );
        let error = LabelSelector::parse("a=b@").unwrap_err().0;
        assert!(error.contains("values[0][a]: Invalid value: \"b@\": a valid label must"), "{error}");
    }

    #[test]
    fn matching() {
        let labels = json!({"a": "1", "b": "x"});
        for (text, expect) in [
            ("", true),
            ("a=1", true),
            ("a=2", false),
            ("c!=1", true),
            ("b notin (x)", false),
            ("c notin (x)", true),
            ("!c", true),
            ("a", true),
            ("a>0", true),
            ("b>0", false),
            ("a=1,b=y", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches_json(&labels), expect, "{text}");
        }
    }

    #[test]
    fn objects() {
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_object(&selector).unwrap();
        assert_eq!(selector.to_string(), "a=1,b in (x,y),!c");
        assert!(selector.matches_json(&json!({"a": "1", "b": "y"})));
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches_json(&json!({})));
        assert!(LabelSelector::from_object(&json!({})).unwrap().is_everything());
        let bad = json!({"matchExpressions": [{"key": "b", "operator": "Near"}]});
        let error = LabelSelector::from_object(&bad).unwrap_err().0;
        assert_eq!(error, "\"Near\" is not a valid label selector operator");
    }
}
