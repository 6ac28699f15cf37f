//! Results for a terminal: lines and columns; what takes a drawing or a page's place is left out.

use std::fmt::Write as _;

use super::document::{Block, Document, Line, Shown, Suite, Table, Text};
use crate::event::{Finding, Severity};
use crate::text::visible;

/// A result, its heading in place of its title.
pub fn text(document: &Document) -> String {
    let heading = document.heading.iter().map(|words| line(words) + "\n");
    heading.chain(document.blocks.iter().map(block)).collect()
}

fn block(block: &Block) -> String {
    match block {
        // A table beside a drawing has its numbers.
        Block::Details(_)
        | Block::Verdict(_)
        | Block::Ranges(_)
        | Block::Heat(_)
        | Block::Charts(_)
        | Block::Figure { .. } => String::new(),
        Block::Heading(name) => format!("{name}\n"),
        Block::Paragraph(words) => line(words) + "\n",
        Block::List(items) => items.iter().map(|item| format!("  note: {}\n", line(item))).collect(),
        Block::Facts(facts) => facts.iter().map(|(name, value)| fact(name, value)).collect(),
        Block::Table(rows) => table(rows),
        Block::Suites(suites) => suites.iter().map(suite).collect(),
        Block::Findings(found) => findings(found.all.iter().map(|(finding, _)| finding)),
    }
}

/// Findings, a line each, with what to do about those that are more than a note.
pub fn findings<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let one = |Finding { code, severity, text, help }: &Finding| match severity {
        Severity::Note => format!("  note: {}\n", visible(text)),
        _ => finding(&severity.to_string(), text, &code.to_string(), help),
    };
    findings.into_iter().map(one).collect()
}

fn finding(severity: &str, text: &str, code: &str, help: &str) -> String {
    let help = if help.is_empty() { String::new() } else { format!("    {}\n", visible(help)) };
    format!("  {severity}: {} ({code})\n{help}", visible(text))
}

fn line(line: &Line) -> String {
    line.iter().map(Text::plain).collect()
}

/// A name, its value, and what that is of.
fn fact(name: &str, value: &Line) -> String {
    let (note, value): (Vec<_>, Vec<_>) = value.iter().partition(|text| matches!(text, Text::Remark(_)));
    let [value, note] = [value, note].map(|texts| texts.into_iter().map(Text::plain).collect::<String>());
    let line = format!("  {name:<16} {value:<26} {note}");
    line.trim_end().to_owned() + "\n"
}

/// Columns as wide as what they hold, numbers to the right, unless they have intervals.
fn table(table: &Table) -> String {
    let mut shown: Vec<_> =
        table.columns.iter().enumerate().filter(|(_, column)| column.shown != Shown::Nothing).collect();
    shown.sort_by_key(|(_, column)| column.shown == Shown::Last);
    let mut lines = vec![String::new(); table.rows.len() + 1];
    for (index, column) in shown {
        let cell = |row: &Vec<Text>| {
            let text = row[index].plain();
            let value = text.split(" [").next().unwrap_or(text);
            if column.shown == Shown::Values { value.to_owned() } else { text.to_owned() }
        };
        let cells: Vec<_> = [column.name.clone()].into_iter().chain(table.rows.iter().map(cell)).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        let has_intervals = cells.iter().any(|cell| cell.ends_with(']'));
        for (line, cell) in lines.iter_mut().zip(cells) {
            let gap = if line.is_empty() { "" } else { "  " };
            let _ = if column.is_number && !has_intervals {
                write!(line, "{gap}{cell:>width$}")
            } else {
                write!(line, "{gap}{cell:<width$}")
            };
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A network: what its tests come to, each limit, what else is known, what is doubtful, why nothing could be told.
fn suite(suite: &Suite) -> String {
    let mut text = format!("{}: {}\n", visible(&suite.name), suite.outcome);
    let (limits, others): (Vec<_>, Vec<_>) = suite.tests.iter().partition(|test| !test.limit.is_empty());
    for test in limits {
        text += &format!("  {:<16} {:<28} {:<18} {}\n", test.name, test.found, test.limit, test.verdict);
    }
    for (name, found) in &suite.facts {
        text += &format!("  {name:<16} {found}\n");
    }
    for test in others {
        text += &if test.name.is_empty() {
            format!("  {}\n", test.found)
        } else {
            finding(&test.verdict, &test.found, &test.name, &test.help)
        };
    }
    text
}
