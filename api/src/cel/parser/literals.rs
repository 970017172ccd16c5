//! Constants, lists, maps and messages.

use super::super::ast::{Entry, Expr, Field, Kind, Literal};
use super::super::lexer::{self, TokenKind};
use super::{Parse, Parser, START_OF_EXPRESSION};

impl Parser<'_> {
    /// How many tokens of `a.b.c {` come before the brace.
    pub(super) fn message_name_length(&self) -> Option<usize> {
        let mut ahead = 1;
        loop {
            let token = self.peek_at(ahead);
            match (token.kind, token.text.as_str()) {
                (TokenKind::Symbol, "{") => return Some(ahead),
                (TokenKind::Symbol, ".") if self.peek_at(ahead + 1).kind == TokenKind::Ident => ahead += 2,
                _ => return None,
            }
        }
    }

    pub(super) fn message(&mut self, leading: &str, length: usize) -> Parse<Expr> {
        let mut name = leading.to_owned();
        for _ in 0..length {
            name.push_str(&self.next().text);
        }
        let open = self.expect("{")?;
        let id = self.id(open);
        let mut fields = Vec::new();
        let mut height = 0;
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            if self.peek().kind != TokenKind::Ident {
                return self.unexpected("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}");
            }
            let name = self.next().text;
            let colon = self.expect(":")?;
            let id = self.id(colon);
            let value = self.expr()?;
            height = self.height.max(height);
            fields.push(Field { name, value, optional, id });
            self.separator("}")?;
        }
        self.height = height;
        Ok(Expr { id, kind: Kind::Struct(name, fields) })
    }

    /// A comma, or the closing symbol ahead.
    fn separator(&mut self, close: &str) -> Parse<()> {
        if self.take(",").is_some() || self.is_symbol(close) {
            return Ok(());
        }
        self.unexpected(&format!("{{'{close}', ','}}"))
    }

    pub(super) fn list(&mut self) -> Parse<Expr> {
        let open = self.next().offset;
        let id = self.id(open);
        let (mut elements, mut optionals) = (Vec::new(), Vec::new());
        let mut height = 0;
        while self.take("]").is_none() {
            if elements.is_empty() && self.take(",").is_some() {
                self.expect("]")?;
                break;
            }
            if self.take("?").is_some() {
                optionals.push(elements.len());
            }
            elements.push(self.expr()?);
            height = self.height.max(height);
            self.separator("]")?;
        }
        self.height = height;
        Ok(Expr { id, kind: Kind::List(elements, optionals) })
    }

    pub(super) fn map(&mut self) -> Parse<Expr> {
        let open = self.next().offset;
        let id = self.id(open);
        let mut entries = Vec::new();
        let mut height = 0;
        while self.take("}").is_none() {
            if entries.is_empty() && self.take(",").is_some() {
                self.expect("}")?;
                break;
            }
            if entries.is_empty() && self.peek().kind == TokenKind::End {
                let expected = START_OF_EXPRESSION
                    .replace("'{', '('", "'{', '}', '('")
                    .replace("'.', '-', '!'", "'.', ',', '-', '!', '?'");
                return self.unexpected(&expected);
            }
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            height = self.height.max(height);
            self.expect(":")?;
            let value = self.expr()?;
            height = self.height.max(height);
            entries.push(Entry { key, value, optional });
            self.separator("}")?;
        }
        self.height = height;
        Ok(Expr { id, kind: Kind::Map(entries) })
    }

    pub(super) fn number(&mut self) -> Expr {
        let offset = self.peek().offset;
        let sign = if self.take("-").is_some() { "-" } else { "" };
        let token = self.next();
        let read = match token.kind {
            TokenKind::Float => {
                let value = format!("{sign}{}", token.text).parse::<f64>().ok().filter(|v| v.is_finite());
                value.map(Literal::Double).ok_or("invalid double literal")
            }
            TokenKind::Uint => {
                let digits = token.text.trim_end_matches(['u', 'U']);
                let value = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                value.map(Literal::Uint).map_err(|_| "invalid uint literal")
            }
            _ => {
                let value = match token.text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
                    None => format!("{sign}{}", token.text).parse(),
                };
                value.map(Literal::Int).map_err(|_| "invalid int literal")
            }
        };
        self.literal(offset, read)
    }

    pub(super) fn text(&mut self) -> Expr {
        let token = self.next();
        let bytes = token.kind == TokenKind::Bytes;
        let read = lexer::unescape(&token.text, bytes).and_then(|value| match bytes {
            true => Ok(Literal::Bytes(value.into())),
            false => String::from_utf8(value).map(Literal::String).map_err(|_| "unable to unescape string"),
        });
        self.literal(token.offset, read)
    }

    fn literal(&mut self, offset: usize, read: Result<Literal, &str>) -> Expr {
        match read {
            Ok(literal) => self.node(offset, Kind::Literal(literal)),
            Err(text) => {
                self.issues.report(Some(offset), text.to_owned());
                self.node(offset, Kind::Error)
            }
        }
    }
}
