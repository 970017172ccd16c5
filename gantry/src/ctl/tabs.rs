//! Text in columns: cells end with a tab, and a column is as wide as its widest cell in the lines next to
//! each other that have it ("elastic tabstops"), exactly as Go's `text/tabwriter` lays it out.
//!
//! Entry points: [`Layout::lay_out`], [`Memory`] for tables that grow while being watched.

/// Widths and padding of columns, in characters.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// No column is narrower, padding included.
    pub minimum: usize,
    /// Spaces after the widest cell.
    pub padding: usize,
}

/// kubectl's tables.
pub const TABLE: Layout = Layout { minimum: 6, padding: 3 };
/// kubectl's descriptions.
pub const DESCRIPTION: Layout = Layout { minimum: 0, padding: 2 };

impl Layout {
    /// Lays out lines whose cells end with tabs; what follows a line's last tab is not padded.
    pub fn lay_out(self, text: &str) -> String {
        let mut memory = Memory { layout: self, widest: None };
        memory.lay_out(text)
    }

    /// A table of rows of cells.
    pub fn table(self, rows: &[Vec<String>]) -> String {
        self.lay_out(&joined(rows))
    }
}

/// Rows of cells as kubectl's tables.
pub fn aligned(rows: &[Vec<String>]) -> String {
    TABLE.table(rows)
}

fn joined(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| format!("{}\n", row.join("\t"))).collect()
}

/// A layout that never makes a column narrower than it was in an earlier part.
#[derive(Debug)]
pub struct Memory {
    layout: Layout,
    widest: Option<Vec<usize>>,
}

impl Memory {
    /// Nothing seen yet.
    pub fn new(layout: Layout) -> Self {
        Self { layout, widest: Some(Vec::new()) }
    }

    /// Lays out the next rows.
    pub fn table(&mut self, rows: &[Vec<String>]) -> String {
        self.lay_out(&joined(rows))
    }

    fn lay_out(&mut self, text: &str) -> String {
        let (body, newline) = match text.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (text, ""),
        };
        if text.is_empty() {
            return String::new();
        }
        let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
        let mut out = Vec::new();
        self.block(&lines, &mut Vec::new(), &mut out);
        out.join("\n") + newline
    }

    /// Writes lines whose first `widths.len()` columns are measured.
    fn block(&mut self, lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut Vec<String>) {
        let column = widths.len();
        let has = |line: &Vec<&str>| column + 1 < line.len();
        let mut rest = lines;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|line| has(line) == has(first)).count();
            let (run, after) = rest.split_at(same);
            if has(first) {
                let cells = run.iter().filter_map(|line| line.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
                let width = self.remember(column, (widest + self.layout.padding).max(self.layout.minimum));
                widths.push(width);
                self.block(run, widths, out);
                widths.pop();
            } else {
                out.extend(run.iter().map(|line| written(line, widths)));
            }
            rest = after;
        }
    }

    fn remember(&mut self, column: usize, width: usize) -> usize {
        let Some(widest) = &mut self.widest else { return width };
        match widest.get_mut(column) {
            Some(known) => {
                *known = width.max(*known);
                *known
            }
            None => {
                widest.push(width);
                width
            }
        }
    }
}

fn written(line: &[&str], widths: &[usize]) -> String {
    let mut out = String::new();
    for (at, cell) in line.iter().enumerate() {
        out.push_str(cell);
        if let Some(width) = widths.get(at) {
            out.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let line = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let text = TABLE.table(&[line(&["NAME", "READY", "AGE"]), line(&["guestbook", "1/1", "5s"])]);
        assert_eq!(text, "NAME        READY   AGE\nguestbook   1/1     5s\n");
        assert_eq!(TABLE.table(&[line(&["A", "B"]), line(&["1", "2"])]), "A     B\n1     2\n");
    }

    #[test]
    fn a_line_without_the_column_ends_its_block() {
        let text = DESCRIPTION.lay_out("Name:\tx\nLabels:\t<none>\nPorts:\n  a:\t1\n  long name:\t2\n");
        assert_eq!(text, "Name:    x\nLabels:  <none>\nPorts:\n  a:          1\n  long name:  2\n");
    }

    #[test]
    fn inner_columns_are_their_own_blocks() {
        assert_eq!(DESCRIPTION.lay_out("a\tb\tc\naa\tbbbb\tc\nx\ty\n"), "a   b     c\naa  bbbb  c\nx   y\n");
    }

    #[test]
    fn widths_are_remembered() {
        let mut memory = Memory::new(TABLE);
        let row = |a: &str| vec![vec![a.to_owned(), "x".to_owned()]];
        assert_eq!(memory.table(&row("long-name-here")), "long-name-here   x\n");
        assert_eq!(memory.table(&row("s")), "s                x\n");
    }
}
