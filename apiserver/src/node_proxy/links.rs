//! Links in HTML pages that come through the proxy: those to the page's own server get the path callers reach it
//! by, as upstream's `proxy.Transport` does it. Pure; entry point [`Rewriter`].
//!
//! The scanner knows tags and nothing else. Crates that rewrite pages in pieces bring selectors of styles and tables of
//! encodings, fifteen crates more; those that only parse do not give back the bytes they were given.

/// Attributes with addresses, by element.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text up to their end tag.
const TEXT_ELEMENTS: [&str; 8] =
    ["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"];

/// A tag longer than this passes as it is; nothing else is ever held back.
const TAG_BYTES_MAX: usize = 64 << 10;

/// Rewrites a page that comes in pieces.
pub(super) struct Rewriter<F> {
    /// The new address of one that has to change.
    bend: F,
    /// A tag, comment or end of text element of which the rest is still to come.
    held: Vec<u8>,
    /// The element whose text is being read.
    inside: Option<&'static str>,
}

impl<F: Fn(&str) -> Option<String>> Rewriter<F> {
    /// At the start of a page.
    pub(super) fn new(bend: F) -> Self {
        Self { bend, held: Vec::new(), inside: None }
    }

    /// What can go out once this piece is there.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(piece);
        let mut out = Vec::with_capacity(input.len());
        let mut rest = input.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            let (text, markup) = rest.split_at(at);
            out.extend_from_slice(text);
            let Some(length) = self.length(markup) else {
                if markup.len() > TAG_BYTES_MAX {
                    out.extend_from_slice(markup);
                } else {
                    self.held = markup.to_vec();
                }
                return out;
            };
            let (markup, after) = markup.split_at(length);
            self.pass(markup, &mut out);
            rest = after;
        }
        out.extend_from_slice(rest);
        out
    }

    /// What is left at the end of the page.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// How long the markup at the start of `bytes` is; `None` if its end is not there yet. A `<` that begins
    /// nothing is markup of one byte.
    fn length(&self, bytes: &[u8]) -> Option<usize> {
        if let Some(element) = self.inside {
            let end = format!("</{element}");
            let known = &bytes[..bytes.len().min(end.len())];
            return match end.as_bytes()[..known.len()].eq_ignore_ascii_case(known) {
                true if known.len() < end.len() => None,
                true => tag_length(bytes),
                false => Some(1),
            };
        }
        match bytes.get(1)? {
            b'!' if bytes.len() < 4 && b"<!--".starts_with(bytes) => None,
            b'!' if bytes.starts_with(b"<!--") => {
                bytes.get(4..)?.windows(3).position(|end| end == b"-->").map(|at| at + 7)
            }
            b'/' | b'!' | b'?' => bytes.iter().position(|byte| *byte == b'>').map(|at| at + 1),
            letter if letter.is_ascii_alphabetic() => tag_length(bytes),
            _ => Some(1),
        }
    }

    fn pass(&mut self, markup: &[u8], out: &mut Vec<u8>) {
        let name: Vec<u8> = markup[1..].iter().copied().take_while(|byte| !ends_name(*byte)).collect();
        let is = |element: &str| name.eq_ignore_ascii_case(element.as_bytes());
        if self.inside.is_some() {
            if markup.len() > 1 {
                self.inside = None;
            }
            out.extend_from_slice(markup);
            return;
        }
        self.inside = TEXT_ELEMENTS.into_iter().find(|element| is(element));
        match LINKS.iter().find(|(element, _)| is(element)) {
            Some((_, attributes)) => self.rewrite(markup, name.len() + 1, attributes, out),
            None => out.extend_from_slice(markup),
        }
    }

    /// A start tag with its addresses replaced.
    fn rewrite(&self, tag: &[u8], mut at: usize, wanted: &[&str], out: &mut Vec<u8>) {
        let mut copied = 0;
        while let Some((name, value)) = attribute(tag, &mut at) {
            if !wanted.iter().any(|wanted| tag[name.clone()].eq_ignore_ascii_case(wanted.as_bytes())) {
                continue;
            }
            let address = std::str::from_utf8(&tag[value.clone()]).ok();
            if let Some(new) = address.and_then(|address| (self.bend)(address)) {
                out.extend_from_slice(&tag[copied..value.start]);
                out.extend_from_slice(new.as_bytes());
                copied = value.end;
            }
        }
        out.extend_from_slice(&tag[copied..]);
    }
}

fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'=')
}

/// Up to the `>` that is not in a quoted value.
fn tag_length(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut value = false;
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == *byte => quote = None,
            (Some(_), _) => {}
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if value => quote = Some(*byte),
            (None, b'=') => value = true,
            (None, byte) => value = value && byte.is_ascii_whitespace(),
        }
    }
    None
}

/// The next attribute's name and value (without quotes); `at` moves behind it.
fn attribute(tag: &[u8], at: &mut usize) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let skip = |from: usize, rule: &dyn Fn(u8) -> bool| {
        tag[from..].iter().position(|byte| !rule(*byte)).map_or(tag.len(), |length| from + length)
    };
    let start = skip(*at, &|byte| byte.is_ascii_whitespace() || byte == b'/');
    if tag.get(start).is_none_or(|byte| *byte == b'>') {
        return None;
    }
    // A name may begin with anything, even with what would end it.
    let end = skip(start + 1, &|byte| !ends_name(byte));
    let equals = skip(end, &|byte| byte.is_ascii_whitespace());
    if tag.get(equals) != Some(&b'=') {
        *at = end;
        return Some((start..end, end..end));
    }
    let value = skip(equals + 1, &|byte| byte.is_ascii_whitespace());
    let value = match tag.get(value) {
        Some(quote @ (b'"' | b'\'')) => {
            let close = skip(value + 1, &|byte| byte != *quote);
            *at = (close + 1).min(tag.len());
            value + 1..close
        }
        _ => {
            let close = skip(value, &|byte| !byte.is_ascii_whitespace() && byte != b'>');
            *at = close;
            value..close
        }
    };
    Some((start..end, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bent(address: &str) -> Option<String> {
        address.starts_with('/').then(|| format!("/p{address}"))
    }

    const CASES: &[(&str, &str)] = &[
        (r#"<a href="/x">t</a>"#, r#"<a href="/p/x">t</a>"#),
        ("<A class=b HREF = '/x' id=c>", "<A class=b HREF = '/p/x' id=c>"),
        ("<a href=/x>", "<a href=/p/x>"),
        (r#"<img alt="a > b" src="/i.png"/>"#, r#"<img alt="a > b" src="/p/i.png"/>"#),
        (r#"<a href="x" title="/x" data-href="/x">"#, r#"<a href="x" title="/x" data-href="/x">"#),
        (r#"1 < 2 <b href="/x"> & "#, r#"1 < 2 <b href="/x"> & "#),
        (r#"<!-- <a href="/x"> --><a href="/y">"#, r#"<!-- <a href="/x"> --><a href="/p/y">"#),
        (
            r#"<script src="/s">if (a < b) "<a href='/x'>"</script><a href="/y">"#,
            r#"<script src="/p/s">if (a < b) "<a href='/x'>"</script><a href="/p/y">"#,
        ),
        (r#"<!DOCTYPE html><link rel=x href="/c.css">"#, r#"<!DOCTYPE html><link rel=x href="/p/c.css">"#),
        (r#"<video poster=/a src='/b' muted>"#, r#"<video poster=/p/a src='/p/b' muted>"#),
        ("<a href", "<a href"),
        ("<", "<"),
    ];

    #[test]
    fn links_change_and_nothing_else() {
        for (page, expect) in CASES {
            let mut rewriter = Rewriter::new(bent);
            let mut out = rewriter.push(page.as_bytes());
            out.extend(rewriter.finish());
            assert_eq!(String::from_utf8(out).unwrap(), *expect, "{page}");
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        for (page, expect) in CASES {
            for size in 1..page.len() {
                let mut rewriter = Rewriter::new(bent);
                let mut out: Vec<u8> =
                    page.as_bytes().chunks(size).flat_map(|piece| rewriter.push(piece)).collect();
                out.extend(rewriter.finish());
                assert_eq!(String::from_utf8(out).unwrap(), *expect, "{page} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_endless_tag_is_not_held() {
        let mut rewriter = Rewriter::new(bent);
        let page = format!("<a title=\"{}", "x".repeat(2 * TAG_BYTES_MAX));
        assert_eq!(rewriter.push(page.as_bytes()), page.as_bytes());
        assert!(rewriter.finish().is_empty());
    }
}
