//! YAML in and out, as Go's reader and writer have it: `yes` is a boolean, `0644` is octal.
//!
//! Entry points [`decode`] and [`decode_all`]; [`emit`] writes.

mod emit;
mod repeated;

pub use emit::emit;
use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, Options};

use super::{DecodeError, Duplicates, Tree, tree};

fn malformed(error: impl std::fmt::Display) -> DecodeError {
    DecodeError::Malformed(format!("error converting YAML to JSON: yaml: {}", line_first(&error.to_string())))
}

/// `line 5: …`, as Go's reader begins; ours names the place last.
fn line_first(text: &str) -> String {
    let place = text.rsplit_once(" at line ").and_then(|(what, place)| Some((what, place.split_once(", ")?)));
    match place {
        Some((what, (line, column))) => format!("line {line}: {what} at {column}"),
        None => text.to_owned(),
    }
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
    if !tree.duplicates.is_empty() {
        tree.duplicates = Duplicates::Lines(repeated::lines(text, options()));
    }
    Ok(tree)
}

/// Reads a stream of documents; empty ones are left out. For files people write, not for requests.
///
/// # Errors
/// When a document cannot be read; the text names which unless it is the first. Lines count from its start.
pub fn decode_all(text: &str) -> Result<Vec<Value>, DecodeError> {
    let mut documents = Vec::new();
    for (number, document) in (1..).zip(split(text)) {
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let tree = decode(document.as_bytes()).map_err(|e| {
            DecodeError::Malformed(if number > 1 { format!("document {number}: {e}") } else { e.to_string() })
        })?;
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
