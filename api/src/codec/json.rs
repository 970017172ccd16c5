//! JSON in, with duplicate keys noted. Nesting is bounded by the parser (128), so no body can exhaust the stack.

pub(super) mod strict;
mod syntax;

use super::{DecodeError, Tree, tree};

/// Reads one JSON value; nothing may follow it.
///
/// # Errors
/// When the bytes are not exactly one JSON value.
pub fn decode(bytes: &[u8]) -> Result<Tree, DecodeError> {
    // What Go would read and the parser does not (nesting, numbers out of range) has the parser's words.
    let malformed = |error: serde_json::Error| {
        DecodeError::Malformed(syntax::explain(bytes).unwrap_or_else(|| error.to_string()))
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let tree = tree::build(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(tree)
}
