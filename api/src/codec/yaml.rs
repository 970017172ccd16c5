//! YAML in and out, as Go's reader understands it: `yes` is a boolean, `0644` is octal.
//!
//! Entry points [`decode`] and [`decode_all`]; [`emit`] writes text that YAML 1.1 and 1.2 readers agree on.

use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, Options};

use super::{DecodeError, Tree, tree};

fn malformed(error: impl std::fmt::Display) -> DecodeError {
    DecodeError::Malformed(format!("error converting YAML to JSON: yaml: {error}"))
}

fn options() -> Options {
    let mut options = Options::default();
    options.legacy_octal_numbers = true;
    // Repeated keys reach the tree builder, which reports them with their paths.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    options
}

/// Reads one document.
///
/// # Errors
/// When the bytes are not one YAML document that JSON can express.
pub fn decode(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(malformed)?;
    let tree = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        tree::build(deserializer)
    });
    let mut tree = tree.map_err(malformed)?;
    integral_floats(&mut tree.value);
    Ok(tree)
}

/// Reads a stream of documents; empty ones are left out. For files people write, not for requests.
///
/// # Errors
/// When a document cannot be read; the text names which.
pub fn decode_all(text: &str) -> Result<Vec<Value>, DecodeError> {
    let mut documents = Vec::new();
    for (number, document) in (1..).zip(split(text)) {
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let tree = decode(document.as_bytes())
            .map_err(|e| DecodeError::Malformed(format!("document {number}: {e}")))?;
        if !tree.value.is_null() {
            documents.push(tree.value);
        }
    }
    Ok(documents)
}

/// Documents between lines that are `---`, alone or followed by a space.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match (rest, documents.last_mut()) {
            (Some(rest), _) => documents.push(rest.trim_start().to_owned() + "\n"),
            (None, Some(document)) => {
                document.push_str(line);
                document.push('\n');
            }
            (None, None) => {}
        }
    }
    documents
}

/// `1e3` and `2.0` are integers to Go's JSON encoder.
fn integral_floats(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
            if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(integral_floats),
        Value::Object(map) => map.values_mut().for_each(integral_floats),
        _ => {}
    }
}

/// Writes a value in block style, two spaces a level, keys in the map's order, as `kubectl -o yaml` does.
/// Strings that any YAML reader could take for something else are quoted.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                pad(indent, out);
                out.push_str(&scalar(&Value::from(key.as_str()), indent));
                out.push(':');
                child(inner, indent, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                pad(indent, out);
                out.push('-');
                list_item(item, indent, out);
            }
        }
        other => {
            pad(indent, out);
            out.push_str(&scalar(other, indent));
            out.push('\n');
        }
    }
}

/// What follows `key:`. Lists stay at the key's indent, as Go's writer has them.
fn child(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other, indent));
            out.push('\n');
        }
    }
}

/// What follows `-`: the first line of a nested block sits on the same line.
fn list_item(item: &Value, indent: usize, out: &mut String) {
    let mut nested = String::new();
    block(item, indent + 2, &mut nested);
    out.push(' ');
    out.push_str(nested.trim_start_matches(' '));
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::String(text) if is_literal(text) => literal(text, indent),
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON's quoting is a subset of YAML's.
        other => other.to_string(),
    }
}

/// Whether a text reads better as a block: several lines, none of which needs escapes.
fn is_literal(text: &str) -> bool {
    let clean = text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    let starts_well = !text.starts_with([' ', '\n', '\t']);
    clean
        && starts_well
        && text.trim_end_matches('\n').contains('\n')
        && !text.lines().any(|l| l.ends_with(' '))
}

fn literal(text: &str, indent: usize) -> String {
    let body = text.trim_end_matches('\n');
    let chomp = match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    let mut out = chomp.to_owned();
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent + 2, &mut out);
            out.push_str(line);
        }
    }
    out
}

/// Whether a text can stand unquoted and stay a string for YAML 1.1 and 1.2 readers alike.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let starts = first.is_ascii_alphabetic() || matches!(first, '/' | '_');
    let body = text.chars().all(|c| c.is_ascii_alphanumeric() || " _-./:=+,()@$%^;<>~'\"\\".contains(c));
    let breaks = text.contains(": ") || text.ends_with([':', ' ']);
    starts && body && !breaks && !is_word(text)
}

/// Words YAML 1.1 gives a meaning.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];
    WORDS.contains(&text.to_ascii_lowercase().as_str())
}
