//! `Warning` headers: what a caller should know although the request went through.
//!
//! Entry point: [`write`]. Source: RFC 7234 section 5.5 and the limits of upstream's warning recorder.

use http::{HeaderMap, HeaderValue};

/// All texts together; beyond it each is cut to [`MOST_EACH`].
const MOST_IN_ALL: usize = 4 * 1024;
const MOST_EACH: usize = 256;

/// Adds one header for every text, once.
pub(crate) fn write(texts: &[String], headers: &mut HeaderMap) {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        if !text.is_empty() && !seen.contains(&text.as_str()) {
            seen.push(text);
        }
    }
    let total: usize = seen.iter().map(|text| text.chars().count()).sum();
    let mut room = MOST_IN_ALL;
    for text in seen {
        let most = if total > MOST_IN_ALL { MOST_EACH } else { MOST_IN_ALL };
        let cut: String = text.chars().take(most).collect();
        let Some(left) = room.checked_sub(cut.chars().count()) else { return };
        room = left;
        if let Some(value) = header(&cut) {
            headers.append(http::header::WARNING, value);
        }
    }
}

/// A text with control characters has no place in a header; upstream drops it as well.
fn header(text: &str) -> Option<HeaderValue> {
    if text.contains(char::is_control) {
        return None;
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(texts: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut headers = HeaderMap::new();
        write(&texts, &mut headers);
        headers
            .get_all("warning")
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    }

    #[test]
    fn texts_as_headers() {
        assert_eq!(
            written(&["unknown field \"a\\b\"", "", "x\ny", "hé", "hé"]),
            [r#"299 - "unknown field \"a\\b\"""#, "299 - \"hé\""]
        );
        let long: Vec<String> = (0..30).map(|at| format!("{at:02}{}", "x".repeat(300))).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let all = written(&long);
        assert_eq!((all.len(), all[0].len()), (MOST_IN_ALL / MOST_EACH, "299 - \"\"".len() + MOST_EACH));
    }
}
