//! The text of an expression, places in it, and error texts with a caret under the place.

/// At most this many errors are shown.
const MAX_SHOWN: usize = 100;
/// A longer line is not repeated in an error.
const MAX_SNIPPET: usize = 16_384;

/// An expression's text.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) chars: Vec<char>,
}

/// Something wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    /// Index of the character; none for errors about the whole expression.
    pub(crate) offset: Option<usize>,
    pub(crate) message: String,
}

/// All that is wrong with an expression.
#[derive(Debug, Default)]
pub(crate) struct Issues(pub(crate) Vec<Issue>);

impl Issues {
    pub(crate) fn report(&mut self, offset: Option<usize>, message: String) {
        self.0.push(Issue { offset, message });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text users see: `ERROR: <input>:1:6: …` with the line and a caret, in order of place.
    pub(crate) fn render(&self, source: &Source) -> String {
        // Only the first hundred reported are kept, then they are put in order.
        let mut kept: Vec<&Issue> = self.0.iter().take(MAX_SHOWN).collect();
        kept.sort_by_key(|issue| issue.offset);
        let mut lines: Vec<String> = kept.into_iter().map(|issue| source.render(issue)).collect();
        if let Some(more) = self.0.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            lines.push(format!("{more} more errors were truncated"));
        }
        lines.join("\n")
    }
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect() }
    }

    /// Line, from 1, column, from 0, and the line's characters.
    fn place(&self, offset: usize) -> (usize, usize, &[char]) {
        let before = self.chars.get(..offset).unwrap_or(&self.chars);
        let start = before.iter().rposition(|c| *c == '\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let rest = self.chars.get(start..).unwrap_or_default();
        let end = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
        (line, before.len() - start, rest.get(..end).unwrap_or_default())
    }

    fn render(&self, issue: &Issue) -> String {
        let Some(offset) = issue.offset else {
            return format!("ERROR: <input>:-1:0: {}", issue.message);
        };
        let (line, column, snippet) = self.place(offset);
        let mut text = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.message);
        if snippet.len() > MAX_SNIPPET {
            return text;
        }
        text.push_str("\n | ");
        text.extend(snippet.iter().map(|c| if *c == '\t' { ' ' } else { *c }));
        text.push_str("\n | ");
        // Wide marks under characters outside ASCII, so that the caret stands below its character.
        let wide = |c: &char| c.len_utf8() > 1;
        text.extend(snippet.iter().take(column).map(|c| if wide(c) { '\u{ff0e}' } else { '.' }));
        text.push(if snippet.get(column).is_some_and(wide) { '\u{ff3e}' } else { '^' });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caret_stands_under_the_place() {
        let source = Source::new("'é' +\n\tx");
        let mut issues = Issues::default();
        issues.report(Some(7), "second".to_owned());
        issues.report(Some(4), "first".to_owned());
        issues.report(None, "whole".to_owned());
        let expect = "ERROR: <input>:-1:0: whole\n\
                      ERROR: <input>:1:5: first\n | 'é' +\n | .．..^\n\
                      ERROR: <input>:2:2: second\n |  x\n | .^";
        assert_eq!(issues.render(&source), expect);
    }
}
