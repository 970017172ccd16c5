//! PEM blocks, read as Go's `encoding/pem` reads them: what is no block is passed over.
//!
//! Entry points: [`blocks`], [`certificate`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const LINE: usize = 64;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is: `CERTIFICATE`.
    pub label: String,
    /// Whether lines with a name and a value stand before the content.
    pub has_headers: bool,
    /// The content.
    pub bytes: Vec<u8>,
}

/// All blocks of a text, in order.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let starts_line = at == 0 || rest[..at].ends_with('\n');
        rest = &rest[at + BEGIN.len()..];
        if starts_line && let Some((block, after)) = block(rest) {
            found.push(block);
            rest = after;
        }
    }
    found
}

/// A block behind its `BEGIN`, and what follows it.
fn block(text: &str) -> Option<(Block, &str)> {
    let (label, body) = text.split_once(DASHES)?;
    let (content, after) = body.split_once(&format!("-----END {label}-----"))?;
    if label.contains('\n') || !body.starts_with(['\n', '\r']) {
        return None;
    }
    let mut lines = content.trim_start().lines().peekable();
    let mut has_headers = false;
    while lines.peek().is_some_and(|line| line.contains(':')) {
        has_headers = true;
        lines.next();
    }
    let encoded: String = lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let bytes = STANDARD.decode(encoded).ok()?;
    Some((Block { label: label.to_owned(), has_headers, bytes }, after))
}

/// A certificate as a block.
pub fn certificate(bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_is_passed_over() {
        let text = format!(
            "text\n{}x -----BEGIN A-----\n-----BEGIN B-----\nkey: value\n\neA==\n-----END B-----\n-----BEGIN C-----\n!\n-----END C-----\n",
            certificate(&[7; 60])
        );
        let found: Vec<_> = blocks(&text).into_iter().map(|b| (b.label, b.has_headers, b.bytes)).collect();
        let expect = [("CERTIFICATE".to_owned(), false, vec![7; 60]), ("B".to_owned(), true, b"x".to_vec())];
        assert_eq!(found, expect);
    }
}
