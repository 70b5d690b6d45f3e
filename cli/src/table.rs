//! Text in columns.

/// Rows of cells, the first row being the head.
#[derive(Debug)]
pub struct Table {
    /// How many columns, from the left, are text; the rest are numbers and stand right.
    text: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `text` columns are words.
    pub fn new<S: Into<String>>(text: usize, head: impl IntoIterator<Item = S>) -> Self {
        Self { text, rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|c| self.rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect()
    }

    fn cells<'a>(&'a self, row: &'a [String], widths: &'a [usize]) -> impl Iterator<Item = String> + 'a {
        widths.iter().enumerate().map(move |(c, &w)| {
            let cell = row.get(c).map_or("", String::as_str);
            if c < self.text { format!("{cell:<w$}") } else { format!("{cell:>w$}") }
        })
    }

    /// Lines, each behind `indent`, without trailing blanks.
    pub fn plain(&self, indent: &str) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for row in &self.rows {
            let line = self.cells(row, &widths).collect::<Vec<_>>().join("  ");
            out.push_str(format!("{indent}{line}").trim_end());
            out.push('\n');
        }
        out
    }

    /// A Markdown table that also reads well as it is.
    pub fn markdown(&self) -> String {
        let widths: Vec<usize> = self.widths().into_iter().map(|w| w.max(3)).collect();
        let mut out = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            out.push_str(&format!("| {} |\n", self.cells(row, &widths).collect::<Vec<_>>().join(" | ")));
            if i == 0 {
                let rule = |(c, &w): (usize, &usize)| match c < self.text {
                    true => "-".repeat(w),
                    false => format!("{}:", "-".repeat(w - 1)),
                };
                out.push_str(&format!("| {} |\n", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join(" | ")));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(1, ["what", "ms"]);
        t.row(["a", "1.25"]);
        t.row(["longer", "10"]);
        assert_eq!(t.plain("  "), "  what      ms\n  a       1.25\n  longer    10\n");
        assert_eq!(t.markdown(), "| what   |   ms |\n| ------ | ---: |\n| a      | 1.25 |\n| longer |   10 |\n");
    }
}
