//! What is no HTTP is refused by the HTTP library, with a head and nothing else. Go's server, which clients know,
//! says in words what is wrong.
//!
//! Entry point: [`in_words`], asked of everything that is written while a header is awaited.

/// All that the head of such a refusal holds. Our own answers have an audit id.
const HEADERS: [&str; 3] = ["connection: close", "content-length: 0", "date: "];

/// The refusal to send instead of these bytes, if they are the library's.
pub(super) fn in_words(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    let known = |header: &str| HEADERS.iter().any(|known| header.starts_with(known));
    let problem = line.strip_prefix("HTTP/1.1 ").filter(|_| headers.split("\r\n").all(known))?;
    Some(format!("{line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_library_s_refusals_get_words() {
        let text = in_words(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: today\r\n\r\n")
            .expect("a refusal");
        assert_eq!(text.split_once("\r\n\r\n").expect("a body").1, "400 Bad Request");
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && !text.contains("content-length"));
        for other in [
            "HTTP/1.1 404 Not Found\r\naudit-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(in_words(other.as_bytes()), None, "{other}");
        }
    }
}
