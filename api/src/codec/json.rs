//! JSON in, with duplicate keys noted. Nesting is bounded by the parser (128), so no body can exhaust the stack.

use super::{DecodeError, Tree, tree};

/// Reads one JSON value; nothing may follow it.
///
/// # Errors
/// When the bytes are not exactly one JSON value.
pub fn decode(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let tree = tree::build(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(tree)
}
