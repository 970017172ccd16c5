//! Tokens to a tree, with macros expanded on the way ([`macros`]).
//!
//! Entry point: [`parse`]. Recursive descent; ids and places of nodes follow upstream's parser, since
//! error texts show them: an operator's node is at the operator, a call at its parenthesis, a selection
//! at its dot. Unlike the generated parser upstream, this one stops at the first syntax error.

mod literals;
mod macros;

use super::ast::{Call, Expr, Id, Kind, Literal, operators};
use super::lexer::{self, Token, TokenKind};
use super::source::{Issues, Source};

/// Longest expression, in characters.
const MAX_CODE_POINTS: usize = 100_000;
/// How deep rules nest: what keeps every walk over the tree from exhausting the stack.
const MAX_DEPTH: usize = 250;

/// Words of the grammar that are no identifiers.
pub(super) const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

const START_OF_EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
                                   NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A tree and the place of each node by id.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Expr,
    pub(crate) offsets: Vec<usize>,
}

/// Reports to `issues` what is wrong; the tree then has gaps.
pub(crate) fn parse(source: &Source, issues: &mut Issues) -> Parsed {
    if source.chars.len() > MAX_CODE_POINTS {
        let size = source.chars.len();
        let limit = MAX_CODE_POINTS;
        let text = format!("expression code point size exceeds limit: size: {size}, limit {limit}");
        issues.report(None, text);
        return Parsed { root: Expr { id: 0, kind: Kind::Error }, offsets: vec![0] };
    }
    let tokens = lexer::tokens(source, issues);
    let mut parser = Parser { tokens, at: 0, offsets: Vec::new(), issues, depth: [0; RULES], height: 0 };
    let root = match parser.whole() {
        Ok(root) => root,
        Err(Stop) => parser.node(0, Kind::Error),
    };
    Parsed { root, offsets: parser.offsets }
}

/// Parsing cannot go on; the reason is reported.
struct Stop;

type Parse<T> = Result<T, Stop>;

/// Rules whose nesting is counted each on its own, as upstream does.
#[derive(Clone, Copy)]
enum Rule {
    Expr,
    Relation,
    Calc,
    Member,
}
const RULES: usize = 4;

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    offsets: Vec<usize>,
    issues: &'a mut Issues,
    depth: [usize; RULES],
    /// Of the expression read last: how deep its operators, selections and calls nest.
    height: usize,
}

impl Parser<'_> {
    fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        Expr { id: self.id(offset), kind }
    }

    fn id(&mut self, offset: usize) -> Id {
        self.offsets.push(offset);
        self.offsets.len() - 1
    }

    fn offset_of(&self, id: Id) -> usize {
        self.offsets.get(id).copied().unwrap_or_default()
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    /// A token ahead; the end if there are no more (there always is an end).
    fn peek_at(&self, ahead: usize) -> &Token {
        static END: Token = Token { kind: TokenKind::End, text: String::new(), offset: 0 };
        self.tokens.get(self.at + ahead).or(self.tokens.last()).unwrap_or(&END)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is_symbol(&self, text: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Symbol && token.text == text
    }

    /// Takes the symbol if it is next; its place.
    fn take(&mut self, text: &str) -> Option<usize> {
        self.is_symbol(text).then(|| self.next().offset)
    }

    fn unexpected<T>(&mut self, expected: &str) -> Parse<T> {
        let Token { text, offset, .. } = self.peek().clone();
        // The generated parser calls a token extraneous when the one after it would do.
        let trailing = expected == "<EOF>" && self.peek_at(1).kind == TokenKind::End;
        let what = if trailing { "extraneous" } else { "mismatched" };
        let text = format!("Syntax error: {what} input '{text}' expecting {expected}");
        self.issues.report(Some(offset), text);
        Err(Stop)
    }

    fn expect(&mut self, text: &str) -> Parse<usize> {
        match self.take(text) {
            Some(offset) => Ok(offset),
            None => self.unexpected(&format!("'{text}'")),
        }
    }

    fn enter(&mut self, rule: Rule) -> Parse<()> {
        let Some(depth) = self.depth.get_mut(rule as usize) else { return Ok(()) };
        *depth += 1;
        if *depth > MAX_DEPTH {
            let text = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            self.issues.report(None, text);
            return Err(Stop);
        }
        Ok(())
    }

    /// What was read last stands below one more node.
    fn raise(&mut self, beside: usize) -> Parse<()> {
        self.height = self.height.max(beside) + 1;
        if self.height > MAX_DEPTH {
            self.issues.report(None, "max recursion depth exceeded".to_owned());
            return Err(Stop);
        }
        Ok(())
    }

    fn leave(&mut self, rule: Rule, count: usize) {
        if let Some(depth) = self.depth.get_mut(rule as usize) {
            *depth = depth.saturating_sub(count);
        }
    }

    fn whole(&mut self) -> Parse<Expr> {
        let root = self.expr()?;
        if self.peek().kind != TokenKind::End {
            return self.unexpected("<EOF>");
        }
        Ok(root)
    }

    /// `or ? or : expr`
    fn expr(&mut self) -> Parse<Expr> {
        self.enter(Rule::Expr)?;
        let condition = self.or()?;
        let whole = if self.is_symbol("?") { self.conditional(condition) } else { Ok(condition) };
        self.leave(Rule::Expr, 1);
        whole
    }

    fn conditional(&mut self, condition: Expr) -> Parse<Expr> {
        let offset = self.next().offset;
        let id = self.id(offset);
        let height = self.height;
        let yes = self.or()?;
        let height = height.max(self.height);
        self.expect(":")?;
        let no = self.expr()?;
        self.raise(height)?;
        Ok(call(id, operators::CONDITIONAL, vec![condition, yes, no]))
    }

    /// A chain of `||`, made into a balanced tree: thousands of terms do not nest deep.
    fn or(&mut self) -> Parse<Expr> {
        let first = self.and()?;
        if self.is_symbol("||") { self.chain(first, operators::OR, "||", Self::and) } else { Ok(first) }
    }

    /// A chain of `&&`, likewise.
    fn and(&mut self) -> Parse<Expr> {
        let first = self.binary(1)?;
        let comparison = |parser: &mut Self| parser.binary(1);
        if self.is_symbol("&&") { self.chain(first, operators::AND, "&&", comparison) } else { Ok(first) }
    }

    fn chain(
        &mut self,
        first: Expr,
        function: &str,
        symbol: &str,
        term: fn(&mut Self) -> Parse<Expr>,
    ) -> Parse<Expr> {
        let mut terms = vec![first];
        let mut ids = Vec::new();
        while let Some(offset) = self.take(symbol) {
            let height = self.height;
            terms.push(term(self)?);
            self.height = self.height.max(height);
            ids.push(self.id(offset));
        }
        Ok(balanced(function, &mut terms.into_iter(), &ids))
    }

    /// Operators that bind at least this tightly: 1 for comparisons, 2 for sums, 3 for products.
    fn binary(&mut self, least: u8) -> Parse<Expr> {
        let mut left = self.unary()?;
        let (mut relations, mut sums) = (0, 0);
        while let Some((function, binds)) = self.operator(least) {
            *(if binds == 1 { &mut relations } else { &mut sums }) += 1;
            left = self.operation(left, function, binds)?;
        }
        self.leave(Rule::Relation, relations);
        self.leave(Rule::Calc, sums);
        Ok(left)
    }

    /// The operator ahead, if it binds that tightly.
    fn operator(&self, least: u8) -> Option<(&'static str, u8)> {
        let token = self.peek();
        let is_operator = matches!(token.kind, TokenKind::Symbol | TokenKind::Keyword);
        operators::binary(&token.text).filter(|(_, binds)| is_operator && *binds >= least)
    }

    fn operation(&mut self, left: Expr, function: &str, binds: u8) -> Parse<Expr> {
        self.enter(if binds == 1 { Rule::Relation } else { Rule::Calc })?;
        let offset = self.next().offset;
        let id = self.id(offset);
        let height = self.height;
        let right = self.binary(binds + 1)?;
        self.raise(height)?;
        Ok(call(id, function, vec![left, right]))
    }

    fn unary(&mut self) -> Parse<Expr> {
        let number = matches!(self.peek_at(1).kind, TokenKind::Int | TokenKind::Float);
        if self.is_symbol("!") {
            self.signed("!", operators::NOT)
        } else if self.is_symbol("-") && !number {
            self.signed("-", operators::NEGATE)
        } else {
            self.member()
        }
    }

    /// After any number of the same sign.
    fn signed(&mut self, sign: &str, function: &str) -> Parse<Expr> {
        let first = self.peek().offset;
        let mut count = 0;
        while self.take(sign).is_some() {
            count += 1;
        }
        if count % 2 == 0 {
            return self.member();
        }
        let id = self.id(first);
        let operand = self.member()?;
        Ok(call(id, function, vec![operand]))
    }

    fn member(&mut self) -> Parse<Expr> {
        let mut operand = self.primary()?;
        let mut count = 0;
        while self.is_symbol(".") || self.is_symbol("[") {
            count += 1;
            operand = self.below(operand)?;
        }
        self.leave(Rule::Member, count);
        Ok(operand)
    }

    /// One selection, call or index on what was read.
    fn below(&mut self, operand: Expr) -> Parse<Expr> {
        self.enter(Rule::Member)?;
        let height = self.height;
        self.height = 0;
        let whole = if self.is_symbol(".") { self.selection(operand)? } else { self.index(operand)? };
        self.raise(height)?;
        Ok(whole)
    }

    /// `.field`, `.?field`, `.method(…)`
    fn selection(&mut self, operand: Expr) -> Parse<Expr> {
        let dot = self.next().offset;
        let optional = self.take("?").is_some();
        let at = self.peek().offset;
        let name = self.field_name(dot, optional)?;
        if optional {
            let id = self.id(dot);
            let field = self.node(at, Kind::Literal(Literal::String(name)));
            return Ok(call(id, operators::OPT_SELECT, vec![operand, field]));
        }
        match self.take("(") {
            Some(open) => self.finish_call(open, name, Some(operand)),
            None => Ok(self.node(dot, Kind::Select { operand: Box::new(operand), field: name, test: false })),
        }
    }

    /// The arguments of a call whose parenthesis was read.
    fn finish_call(&mut self, open: usize, name: String, target: Option<Expr>) -> Parse<Expr> {
        let id = self.id(open);
        let args = self.arguments()?;
        Ok(self.call_or_macro(id, name, target, args))
    }

    fn field_name(&mut self, dot: usize, optional: bool) -> Parse<String> {
        let token = self.peek().clone();
        let wrong = match token.kind {
            TokenKind::Ident => {
                self.at += 1;
                return Ok(token.text);
            }
            TokenKind::EscapedIdent => {
                self.issues.report(Some(dot), "unsupported syntax: '`'".to_owned());
                return Err(Stop);
            }
            _ if optional => return self.unexpected("{IDENTIFIER, ESC_IDENTIFIER}"),
            TokenKind::Keyword => format!("mismatched input '{}' expecting IDENTIFIER", token.text),
            TokenKind::End => "no viable alternative at input '.'".to_owned(),
            _ => format!("no viable alternative at input '.{}'", token.text),
        };
        self.issues.report(Some(token.offset), format!("Syntax error: {wrong}"));
        Err(Stop)
    }

    fn index(&mut self, operand: Expr) -> Parse<Expr> {
        let offset = self.next().offset;
        let id = self.id(offset);
        let function = if self.take("?").is_some() { operators::OPT_INDEX } else { operators::INDEX };
        let index = self.expr()?;
        self.expect("]")?;
        Ok(call(id, function, vec![operand, index]))
    }

    /// After the opening parenthesis.
    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        let mut height = 0;
        self.height = 0;
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            self.height = self.height.max(height);
            height = self.height;
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parse<Expr> {
        self.height = 0;
        let number = matches!(self.peek_at(1).kind, TokenKind::Int | TokenKind::Float);
        let token = self.peek();
        match (token.kind, token.text.as_str()) {
            (TokenKind::Symbol, "(") => self.nested(),
            (TokenKind::Symbol, "[") => self.list(),
            (TokenKind::Symbol, "{") => self.map(),
            (TokenKind::Symbol, ".") | (TokenKind::Ident, _) => self.name(),
            (TokenKind::Symbol, "-") if number => Ok(self.number()),
            (TokenKind::Int | TokenKind::Uint | TokenKind::Float, _) => Ok(self.number()),
            (TokenKind::String | TokenKind::Bytes, _) => Ok(self.text()),
            (TokenKind::Keyword, "true") => Ok(self.keyword(Literal::Bool(true))),
            (TokenKind::Keyword, "false") => Ok(self.keyword(Literal::Bool(false))),
            (TokenKind::Keyword, "null") => Ok(self.keyword(Literal::Null)),
            _ => self.unexpected(START_OF_EXPRESSION),
        }
    }

    fn keyword(&mut self, literal: Literal) -> Expr {
        let offset = self.next().offset;
        self.node(offset, Kind::Literal(literal))
    }

    fn nested(&mut self) -> Parse<Expr> {
        self.at += 1;
        let inner = self.expr()?;
        self.expect(")")?;
        Ok(inner)
    }

    /// An identifier, a call, or a message literal.
    fn name(&mut self) -> Parse<Expr> {
        let start = self.peek().offset;
        let leading = if self.take(".").is_some() { "." } else { "" };
        if self.peek().kind != TokenKind::Ident {
            return self.unexpected("IDENTIFIER");
        }
        if let Some(length) = self.message_name_length() {
            return self.message(leading, length);
        }
        let token = self.next();
        if RESERVED.contains(&token.text.as_str()) {
            self.issues.report(Some(start), format!("reserved identifier: {}", token.text));
            let error = self.node(start, Kind::Error);
            if self.take("(").is_some() {
                self.arguments()?;
            }
            return Ok(error);
        }
        let name = format!("{leading}{}", token.text);
        match self.take("(") {
            None => Ok(self.node(token.offset, Kind::Ident(name))),
            Some(open) => self.finish_call(open, name, None),
        }
    }
}

/// A call of a global function.
fn call(id: Id, function: &str, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call(Call { function: function.to_owned(), target: None, args }) }
}

/// A tree over `ids.len() + 1` terms taken from `terms` in order, of logarithmic height.
fn balanced(function: &str, terms: &mut std::vec::IntoIter<Expr>, ids: &[Id]) -> Expr {
    let Some(middle) = ids.len().checked_sub(1).map(|last| last.div_ceil(2)) else {
        return terms.next().unwrap_or(Expr { id: 0, kind: Kind::Error });
    };
    let left = balanced(function, terms, ids.get(..middle).unwrap_or_default());
    let right = balanced(function, terms, ids.get(middle + 1..).unwrap_or_default());
    call(ids.get(middle).copied().unwrap_or_default(), function, vec![left, right])
}

#[cfg(test)]
mod tests;
