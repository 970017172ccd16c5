//! Tokens of a label selector.

/// One token; `text` is what the user wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// The text has ended.
    End,
    /// A key or value; `in` and `notin` are told apart by the parser.
    Word(&'a str),
    /// `,`
    Comma,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `!`
    Not,
    /// `=`, `==`, `!=`, `>`, `<`
    Operator(&'a str),
    /// Operator characters that mean nothing together.
    Unknown(&'a str),
}

impl<'a> Token<'a> {
    /// What the user wrote.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::End => "",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Word(text) | Self::Operator(text) | Self::Unknown(text) => text,
        }
    }
}

/// What stands between tokens. One set for all: a character that ended a word and was not skipped after it
/// would never be passed.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

fn special(c: char) -> bool {
    "=!(),><".contains(c)
}

/// All tokens, the last one [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut rest = text.trim_start_matches(BLANKS);
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '(' | ')' | ',' => 1,
            c if special(c) => rest.find(|c| !special(c) || "(),".contains(c)).unwrap_or(rest.len()),
            _ => rest.find(|c: char| special(c) || BLANKS.contains(&c)).unwrap_or(rest.len()),
        };
        let (mut text, mut after) = rest.split_at(end);
        let token = loop {
            match text {
                "(" => break Token::Open,
                ")" => break Token::Close,
                "," => break Token::Comma,
                "!" => break Token::Not,
                "=" | "==" | "!=" | ">" | "<" => break Token::Operator(text),
                _ if !text.starts_with(special) => break Token::Word(text),
                // The longest operator that means something wins; the rest is the next token.
                _ if text.len() > 1 => {
                    let shorter = text.len() - 1;
                    (text, after) = rest.split_at(shorter);
                }
                _ => break Token::Unknown(text),
            }
        };
        tokens.push(token);
        rest = after.trim_start_matches(BLANKS);
    }
    tokens.push(Token::End);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_passed() {
        assert_eq!(tokens("a\u{c}b c"), [Token::Word("a\u{c}b"), Token::Word("c"), Token::End]);
        for c in (0..=u8::MAX).map(char::from) {
            assert!(tokens(&format!("a{c}{c}b")).len() <= 5, "{c:?}");
        }
    }
}
