//! What is wrong with a text that is no JSON, in the words of Go's `encoding/json`: people search for them.
//!
//! Entry point: [`explain`], only called for what could not be read.

/// Go's `maxNestingDepth`.
const DEEPEST: usize = 10_000;
const HEX: &str = "in \\u hexadecimal character escape";

/// Why bytes are not one JSON value; `None` if Go would not object to their syntax.
pub(super) fn explain(bytes: &[u8]) -> Option<String> {
    Scanner { bytes, at: 0, open: Vec::new() }.value().err()
}

/// What may stand next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// After `[`.
    ValueOrEnd,
    Key,
    /// After `{`.
    KeyOrEnd,
    Colon,
    /// What follows a value.
    More,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The brackets that are open.
    open: Vec<u8>,
}

impl Scanner<'_> {
    fn value(&mut self) -> Result<(), String> {
        let mut next = Next::Value;
        loop {
            while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
                self.at += 1;
            }
            if self.peek().is_none() && next == Next::More && self.open.is_empty() {
                return Ok(());
            }
            let byte = self.take()?;
            next = match next {
                Next::More => self.after_value(byte)?,
                Next::Colon if byte == b':' => Next::Value,
                Next::Colon => return Err(unexpected(byte, "after object key")),
                Next::ValueOrEnd if byte == b']' => self.close(),
                Next::KeyOrEnd if byte == b'}' => self.close(),
                Next::Key | Next::KeyOrEnd if byte == b'"' => {
                    self.string()?;
                    Next::Colon
                }
                Next::Key | Next::KeyOrEnd => {
                    return Err(unexpected(byte, "looking for beginning of object key string"));
                }
                Next::Value | Next::ValueOrEnd => self.begin(byte)?,
            };
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or("unexpected end of JSON input")?;
        self.at += 1;
        Ok(byte)
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        Next::More
    }

    fn after_value(&mut self, byte: u8) -> Result<Next, String> {
        match (self.open.last(), byte) {
            (Some(b'{'), b',') => Ok(Next::Key),
            (Some(b'['), b',') => Ok(Next::Value),
            (Some(b'{'), b'}') | (Some(b'['), b']') => Ok(self.close()),
            (Some(b'{'), _) => Err(unexpected(byte, "after object key:value pair")),
            (Some(_), _) => Err(unexpected(byte, "after array element")),
            (None, _) => Err(unexpected(byte, "after top-level value")),
        }
    }

    fn begin(&mut self, byte: u8) -> Result<Next, String> {
        match byte {
            b'{' | b'[' if self.open.len() == DEEPEST => return Err("exceeded max depth".to_owned()),
            b'{' | b'[' => {
                self.open.push(byte);
                return Ok(if byte == b'{' { Next::KeyOrEnd } else { Next::ValueOrEnd });
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number(byte)?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(unexpected(byte, "looking for beginning of value")),
        }
        Ok(Next::More)
    }

    /// What follows an opening quote.
    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.take()? {
                b'"' => return Ok(()),
                b'\\' => match self.take()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => (0..4).try_for_each(|_| self.one(|byte| byte.is_ascii_hexdigit(), HEX))?,
                    byte => return Err(unexpected(byte, "in string escape code")),
                },
                byte if byte < b' ' => return Err(unexpected(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let mut first = first;
        if first == b'-' {
            first = self.peek().unwrap_or_default();
            self.one(|byte| byte.is_ascii_digit(), "in numeric literal")?;
        }
        // Nothing but a point or an exponent follows a leading zero.
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.one(|byte| byte.is_ascii_digit(), "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.one(|byte| byte.is_ascii_digit(), "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// What follows the first letter of a word.
    fn literal(&mut self, word: &str) -> Result<(), String> {
        word.bytes().skip(1).try_for_each(|wanted| {
            let place = format!("in literal {word} (expecting '{}')", char::from(wanted));
            self.one(|byte| byte == wanted, &place)
        })
    }

    fn one(&mut self, fits: impl Fn(u8) -> bool, place: &str) -> Result<(), String> {
        let byte = self.take()?;
        if fits(byte) { Ok(()) } else { Err(unexpected(byte, place)) }
    }
}

fn unexpected(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        0..=0x1f | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        // Bytes beyond ASCII are shown as the characters of these numbers.
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_the_words_of_go() {
        for (text, expect) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":", "unexpected end of JSON input"),
            ("-", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[01]", "invalid character '1' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("tru}", "invalid character '}' in literal true (expecting 'e')"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("'", "invalid character '\\'' looking for beginning of value"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
        ] {
            assert_eq!(explain(text.as_bytes()).as_deref(), Some(expect), "{text}");
        }
        assert_eq!(explain("[".repeat(20_000).as_bytes()).as_deref(), Some("exceeded max depth"));
    }

    proptest! {
        #[test]
        fn what_reads_is_not_explained(text in "[\\[\\]{}:,\"\\\\a0-9eE.+\\- truefalsn]{0,12}") {
            // Numbers out of range read as syntax, but as no value.
            match serde_json::from_str::<Box<serde_json::value::RawValue>>(&text) {
                Ok(_) => prop_assert_eq!(explain(text.as_bytes()), None),
                Err(_) => prop_assert!(explain(text.as_bytes()).is_some(), "{}", text),
            }
        }
    }
}
