//! Reports as GitHub-flavoured Markdown; text from outside is text, in tables and out of them.

use super::document::{Block, Document, Line, Table, Text, Tone, tables};

/// A report, its title as a heading of `level`, with the path of its figure, if that is in a file.
pub fn text(document: &Document, level: usize, figure: Option<&str>) -> String {
    let title = format!("{} {}\n", "#".repeat(level), line(&document.title));
    title + &blocks(&document.blocks, level, figure)
}

fn blocks(blocks: &[Block], level: usize, figure: Option<&str>) -> String {
    let of = |inner: &[Block]| self::blocks(inner, level, figure);
    let mut text = String::new();
    for block in blocks {
        text += &match block {
            Block::Details(details) => of(details),
            Block::Verdict(lines) => lines.iter().map(|words| format!("\n{}\n", line(words))).collect(),
            // The table beside it has the numbers.
            Block::Ranges(_) | Block::Heat(_) => String::new(),
            Block::Heading(name) => format!("\n{} {name}\n", "#".repeat(level + 1)),
            Block::Paragraph(words) => format!("\n{}\n", line(words)),
            Block::List(items) => list(items.iter().map(line)),
            Block::Facts(facts) => list(facts.iter().map(|(name, value)| format!("{name}: {}", line(value)))),
            Block::Table(rows) => table(rows),
            Block::Charts(_) => image("R_f, errors, D_f and G_f over training", figure),
            Block::Figure { alt, .. } => image(alt, figure),
            Block::Suites(suites) => of(&tables(suites)),
            Block::Findings(found) => of(&[Block::Heading("Warnings"), Block::List(found.lines())]),
        };
    }
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("\n{}", items.map(|item| format!("- {item}\n")).collect::<String>())
}

fn table(table: &Table) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = table.columns.iter().map(|column| column.name.clone()).collect();
    let rules: Vec<_> = table.columns.iter().map(|column| if column.is_number { "---:" } else { "---" }).collect();
    let rows: String = table.rows.iter().map(|cells| row(cells.iter().map(inline).collect())).collect();
    format!("\n{}|{}|\n{rows}", row(names), rules.join("|"))
}

/// Nothing where there is no file to show.
fn image(alt: &str, path: Option<&str>) -> String {
    let Some(path) = path else { return String::new() };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let url = path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    format!("\n![{alt}]({})\n", url.collect::<String>())
}

fn line(line: &Line) -> String {
    line.iter().map(inline).collect()
}

fn inline(text: &Text) -> String {
    match text {
        Text::Own(text) | Text::Verdict(Tone::Good, text) => text.clone(),
        Text::Verdict(_, text) => format!("**{text}**"),
        Text::Words(words) => escaped(words),
        Text::Remark(note) => format!(" ({})", escaped(note)),
        Text::Name(name) => code(name),
    }
}

/// A code span; where that has no way to write the name in a table's cell, an element.
fn code(name: &str) -> String {
    if name.is_empty() || name.contains(['`', '|']) || name.starts_with(' ') || name.ends_with(' ') {
        format!("<code>{}</code>", escaped(name))
    } else {
        format!("`{name}`")
    }
}

/// What could be markup becomes a reference to its character, which never is.
fn escaped(text: &str) -> String {
    let mut before = ' ';
    let mut escaped = String::new();
    for (at, c) in text.char_indices() {
        let after = text[at + c.len_utf8()..].chars().next().unwrap_or(' ');
        let is_markup = match c {
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            // What would be made a link: `https://`, `www.`, an address, an issue.
            ':' => after == '/',
            '.' => before == 'w' && after.is_alphanumeric(),
            _ => "\\`*[]<>&|~#@!$".contains(c),
        };
        if is_markup {
            escaped += &format!("&#{};", u32::from(c));
        } else {
            escaped.push(c);
        }
        before = c;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_code_and_words_are_words() {
        assert_eq!(inline(&Text::name("runs/step_1.onnx")), "`runs/step_1.onnx`");
        assert_eq!(inline(&Text::name("<script>\n**a**")), r"`<script>\n**a**`");
        assert_eq!(inline(&Text::name("a|b")), "<code>a&#124;b</code>");
        assert_eq!(inline(&Text::name("a`b\\")), "<code>a&#96;b&#92;</code>");
        assert_eq!(
            inline(&Text::words("R_f of *x* is 0.3. See https://a.b")),
            "R_f of &#42;x&#42; is 0.3. See https&#58;//a.b"
        );
    }
}
