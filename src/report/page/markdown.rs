//! The page as Markdown: charts become tables of what they show.

use super::{Bars, Block, Lines, Page, Table};

impl Page {
    /// The page as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}\n", self.title, self.lead);
        if !self.highlights.is_empty() {
            out.push('\n');
        }
        for (figure, what) in &self.highlights {
            out += &format!("- **{figure}** {what}\n");
        }
        for section in &self.sections {
            out += &format!("\n## {}\n", section.title);
            if !section.text.is_empty() {
                out += &format!("\n{}\n", section.text);
            }
            if !section.terms.is_empty() {
                out.push('\n');
            }
            for (term, meaning) in &section.terms {
                out += &format!("- *{term}*: {meaning}\n");
            }
            for block in &section.blocks {
                match block {
                    Block::Table(table) => out += &table.markdown(),
                    Block::Bars(bars) => out += &captioned(&bars.title, &bars.note, &bars.table()),
                    Block::Lines(lines) => out += &captioned(&lines.title, &lines.note, &lines.table()),
                }
            }
        }
        out += "\n## Where and when\n\n";
        for (name, value) in &self.facts {
            out += &format!("- {name}: {value}\n");
        }
        out
    }
}

fn captioned(title: &str, note: &str, table: &Table) -> String {
    let note = if note.is_empty() { String::new() } else { format!("\n{note}\n") };
    format!("\n### {title}\n{note}{}", table.markdown())
}

impl Table {
    fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> =
                cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<&str> = (0..self.head.len()).map(|n| if n == 0 { "---" } else { "---:" }).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("\n{}|{}|\n{rows}", line(&self.head), rule.join("|"))
    }
}

impl Bars {
    fn table(&self) -> Table {
        let mut table = Table::new(["", &self.axis.title]);
        for group in &self.groups {
            for bar in &group.bars {
                let name = match group.name.is_empty() {
                    true => bar.name.clone(),
                    false => format!("{}: {}", group.name, bar.name),
                };
                table.row([name, bar.text.clone()]);
            }
        }
        table
    }
}

impl Lines {
    /// A row for each x that any curve has.
    fn table(&self) -> Table {
        let mut xs: Vec<f64> = self.series.iter().flat_map(|series| &series.points).map(|at| at.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        // Enough to see the curve by.
        let step = xs.len().div_ceil(24).max(1);
        let head = self.series.iter().map(|series| format!("{} ({})", series.name, self.y.title));
        let mut table = Table { head: vec![self.x.title.clone()], rows: Vec::new() };
        table.head.extend(head);
        for x in xs.into_iter().step_by(step) {
            let cell = |points: &[(f64, f64)]| {
                let point = points.iter().find(|at| at.0 == x);
                point.map_or_else(|| "–".to_owned(), |at| self.y.unit.text(at.1))
            };
            let mut row = vec![self.x.unit.text(x)];
            row.extend(self.series.iter().map(|series| cell(&series.points)));
            table.rows.push(row);
        }
        table
    }
}
