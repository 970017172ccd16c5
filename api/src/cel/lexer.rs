//! Characters to tokens. Grammar: cel-spec `langdef.md`, "Syntax"; error texts are those of the generated
//! lexer upstream uses.

use super::source::{Issues, Source};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Ident,
    /// A name in backticks.
    EscapedIdent,
    /// `true`, `false`, `null`, `in`.
    Keyword,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    Symbol,
    End,
}

/// A token and where it starts.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) text: String,
    pub(crate) offset: usize,
}

const SYMBOLS2: [&str; 6] = ["==", "!=", "<=", ">=", "&&", "||"];
const SYMBOLS1: &str = "<>[]{}().,-!?:+*/%";

/// All tokens, the last one being the end.
pub(crate) fn tokens(source: &Source, issues: &mut Issues) -> Vec<Token> {
    let mut lexer = Lexer { chars: &source.chars, at: 0, issues };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let offset = lexer.at;
        let Some(first) = lexer.peek(0) else {
            out.push(Token { kind: TokenKind::End, text: "<EOF>".to_owned(), offset });
            return out;
        };
        if let Some(kind) = lexer.token(first) {
            let text = lexer.chars.get(offset..lexer.at).unwrap_or_default().iter().collect();
            out.push(Token { kind, text, offset });
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    issues: &'a mut Issues,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn is(&self, ahead: usize, test: impl Fn(char) -> bool) -> bool {
        self.peek(ahead).is_some_and(test)
    }

    fn skip_while(&mut self, test: impl Fn(char) -> bool) {
        while self.is(0, &test) {
            self.at += 1;
        }
    }

    fn skip_blank(&mut self) {
        loop {
            self.skip_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}'));
            if !(self.is(0, |c| c == '/') && self.is(1, |c| c == '/')) {
                return;
            }
            self.skip_while(|c| c != '\n');
        }
    }

    /// Reads the token that starts here; none if there is no such token (reported and skipped).
    fn token(&mut self, first: char) -> Option<TokenKind> {
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let start = self.at;
            self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
            let text: String = self.chars.get(start..self.at).unwrap_or_default().iter().collect();
            let keyword = matches!(text.as_str(), "true" | "false" | "null" | "in");
            return Some(if keyword { TokenKind::Keyword } else { TokenKind::Ident });
        }
        if first.is_ascii_digit() || (first == '.' && self.is(1, |c| c.is_ascii_digit())) {
            return Some(self.number());
        }
        if first == '`' {
            return self.escaped_ident();
        }
        let two: String = [Some(first), self.peek(1)].into_iter().flatten().collect();
        if SYMBOLS2.contains(&two.as_str()) {
            self.at += 2;
            return Some(TokenKind::Symbol);
        }
        if SYMBOLS1.contains(first) {
            self.at += 1;
            return Some(TokenKind::Symbol);
        }
        // `&`, `|` and `=` are the start of a token, so the character after is part of the complaint.
        let length = if matches!(first, '&' | '|' | '=') && two.chars().count() == 2 { 2 } else { 1 };
        self.unknown(self.at, self.at + length);
        None
    }

    fn unknown(&mut self, start: usize, end: usize) {
        let text: String = self.chars.get(start..end).unwrap_or_default().iter().collect();
        let text = text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
        self.issues.report(Some(start), format!("Syntax error: token recognition error at: '{text}'"));
        self.at = end;
    }

    fn escaped_ident(&mut self) -> Option<TokenKind> {
        let start = self.at;
        self.at += 1;
        self.skip_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
        if self.is(0, |c| c == '`') && self.at > start + 1 {
            self.at += 1;
            return Some(TokenKind::EscapedIdent);
        }
        let end = (self.at + 1).min(self.chars.len());
        self.unknown(start, end);
        None
    }

    fn number(&mut self) -> TokenKind {
        if self.is(0, |c| c == '0') && self.is(1, |c| c == 'x') && self.is(2, |c| c.is_ascii_hexdigit()) {
            self.at += 2;
            self.skip_while(|c| c.is_ascii_hexdigit());
            return self.uint_suffix();
        }
        self.skip_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.is(0, |c| c == '.') && self.is(1, |c| c.is_ascii_digit()) {
            float = true;
            self.at += 1;
            self.skip_while(|c| c.is_ascii_digit());
        }
        if self.is(0, |c| matches!(c, 'e' | 'E')) {
            let sign = usize::from(self.is(1, |c| matches!(c, '+' | '-')));
            if self.is(1 + sign, |c| c.is_ascii_digit()) {
                float = true;
                self.at += 1 + sign;
                self.skip_while(|c| c.is_ascii_digit());
            }
        }
        if float { TokenKind::Float } else { self.uint_suffix() }
    }

    fn uint_suffix(&mut self) -> TokenKind {
        if self.is(0, |c| matches!(c, 'u' | 'U')) {
            self.at += 1;
            return TokenKind::Uint;
        }
        TokenKind::Int
    }

    /// Length of `b`, `r`, `br` before a quote, if a string starts here.
    fn string_prefix(&self) -> Option<usize> {
        let mut length = usize::from(self.is(0, |c| matches!(c, 'b' | 'B')));
        length += usize::from(self.is(length, |c| matches!(c, 'r' | 'R')));
        self.is(length, |c| matches!(c, '"' | '\'')).then_some(length)
    }

    fn string(&mut self, prefix: usize) -> Option<TokenKind> {
        let start = self.at;
        let bytes = self.is(0, |c| matches!(c, 'b' | 'B'));
        let raw = prefix > usize::from(bytes);
        self.at += prefix;
        let quote = self.peek(0)?;
        let triple = self.is(1, |c| c == quote) && self.is(2, |c| c == quote);
        let closing = if triple { 3 } else { 1 };
        self.at += closing;
        loop {
            match self.peek(0) {
                Some(c) if c == quote && (1..closing).all(|ahead| self.is(ahead, |c| c == quote)) => {
                    self.at += closing;
                    return Some(if bytes { TokenKind::Bytes } else { TokenKind::String });
                }
                Some('\n' | '\r') if !triple => break,
                Some('\\') if !raw => match self.escape_length() {
                    Some(length) => self.at += length,
                    None => break,
                },
                Some(_) => self.at += 1,
                None => break,
            }
        }
        // Complains about everything up to and with the character that cannot be there.
        let bad_escape = if self.is(0, |c| c == '\\') { self.bad_escape_length() } else { 1 };
        let end = (self.at + bad_escape).min(self.chars.len());
        self.unknown(start, end);
        None
    }

    fn escape_length(&self) -> Option<usize> {
        let hex = |from: usize, count: usize| {
            (from..from + count).all(|ahead| self.is(ahead, |c| c.is_ascii_hexdigit()))
        };
        let octal = |ahead: usize| self.is(ahead, |c| matches!(c, '0'..='7'));
        match self.peek(1)? {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(2),
            'x' | 'X' if hex(2, 2) => Some(4),
            'u' if hex(2, 4) => Some(6),
            'U' if hex(2, 8) => Some(10),
            '0'..='3' if octal(2) && octal(3) => Some(4),
            _ => None,
        }
    }

    /// How far an escape that is none can be read.
    fn bad_escape_length(&self) -> usize {
        let digits = match self.peek(1) {
            Some('x' | 'X') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return 2,
        };
        let good = (0..digits).take_while(|at| self.is(2 + at, |c| c.is_ascii_hexdigit())).count();
        2 + good + 1
    }
}

/// The characters of a string literal, or what is wrong with it. For bytes, escapes are byte values, and
/// the result is not necessarily UTF-8.
pub(crate) fn unescape(token: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let token = if bytes { token.get(1..).unwrap_or_default() } else { token };
    let text = token.replace("\r\n", "\n").replace('\r', "\n");
    let raw = text.starts_with(['r', 'R']);
    let text = if raw { text.get(1..).unwrap_or_default() } else { &text };
    let triple = text.len() >= 6 && (text.starts_with("'''") || text.starts_with("\"\"\""));
    let width = if triple { 3 } else { 1 };
    let inner = text.get(width..text.len().saturating_sub(width)).unwrap_or_default();
    if raw {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            escape(&mut rest, bytes, &mut out)?;
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}

fn escape(rest: &mut std::str::Chars<'_>, bytes: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let c = rest.next().ok_or("unable to unescape string, found '\\' as last character")?;
    let (digits, radix, first) = match c {
        'a' => return push(out, 7),
        'b' => return push(out, 8),
        'f' => return push(out, 12),
        'n' => return push(out, b'\n'),
        'r' => return push(out, b'\r'),
        't' => return push(out, b'\t'),
        'v' => return push(out, 11),
        '\\' | '\'' | '"' | '`' | '?' => return push(out, c as u8),
        'x' | 'X' => (2, 16, 0),
        'u' if !bytes => (4, 16, 0),
        'U' if !bytes => (8, 16, 0),
        '0'..='3' => (2, 8, c as u32 - '0' as u32),
        _ => return Err("unable to unescape string"),
    };
    let mut value = first;
    for _ in 0..digits {
        let digit = rest.next().and_then(|c| c.to_digit(radix)).ok_or("unable to unescape string")?;
        value = value.wrapping_mul(radix) + digit;
    }
    if bytes {
        return push(out, u8::try_from(value).map_err(|_| "invalid unicode code point")?);
    }
    let c = char::from_u32(value).ok_or("invalid unicode code point")?;
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

fn push(out: &mut Vec<u8>, byte: u8) -> Result<(), &'static str> {
    out.push(byte);
    Ok(())
}
