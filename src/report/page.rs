//! Reports as one page: styles, scripts and data inside, nothing fetched; text from outside is escaped and set apart.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;

use super::document::{Block, Document, Line, Table, Text, Tone};
use super::script::PLOTLY;
use crate::journal::Series;

const STYLE: &str = include_str!("page/style.css");
const CHARTS: &str = include_str!("page/charts.js");
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";
const DRAW: &str = r#"
const series = JSON.parse(document.getElementById("series").textContent);
const draw = () => RelstabCharts.draw(document.getElementById("charts"), series);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
draw();
"#;

/// A report as an HTML document.
#[must_use]
pub fn html(document: &Document) -> String {
    page(&document.title, "", &html! { @for each in &document.blocks { (block(each)) } })
}

/// A page of any content, which `styles` of its own may set.
pub(super) fn page(title: &Line, styles: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { @for text in title { (plain(text)) } }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) (PreEscaped(styles)) }
            }
            body {
                main {
                    h1 { (line(title)) }
                    (content)
                }
                footer { p.note { "relstab " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    };
    page.into_string()
}

pub(super) fn block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(name) => h2 { (name) },
            Block::Paragraph(words) => p { (line(words)) },
            Block::List(items) => ul { @for item in items { li { (line(item)) } } },
            Block::Facts(facts) => dl { @for (name, value) in facts { dt { (name) } dd { (line(value)) } } },
            Block::Table(rows) => (table(rows)),
            Block::Charts { series, .. } => (charts(series)),
            Block::Figure { alt, svg, .. } => div.figure role="img" aria-label=(alt) { (PreEscaped(svg)) },
        }
    }
}

/// A wide table scrolls by itself, by keyboard too.
fn table(table: &Table) -> Markup {
    let number = |index: usize| table.columns[index].is_number.then_some("number");
    html! {
        div.scroll role="region" aria-label=(table.caption) tabindex="0" {
            table {
                caption { (table.caption) }
                thead {
                    tr { @for (index, column) in table.columns.iter().enumerate() {
                        th scope="col" class=[number(index)] { (column.name) }
                    } }
                }
                tbody { @for cells in &table.rows {
                    tr { @for (index, cell) in cells.iter().enumerate() {
                        @if index == 0 {
                            th scope="row" class=[number(index)] { (inline(cell)) }
                        } @else {
                            td class=[number(index)] { (inline(cell)) }
                        }
                    } }
                } }
            }
        }
    }
}

fn charts(series: &Series) -> Markup {
    let mut data = json!([series]);
    data[0]["name"] = series.run.rsplit('/').next().into();
    let data = data.to_string();
    // No markup, and so no end of the script.
    let data = data.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    html! {
        h2 { "Over training" }
        div #charts .charts role="figure" aria-label="R_f, errors, D_f and G_f over training; the table below has the numbers" {}
        script type="application/json" id="series" { (PreEscaped(data)) }
        @for script in [PLOTLY.as_str(), CHARTS, DRAW] { script { (PreEscaped(script)) } }
    }
}

fn line(line: &Line) -> Markup {
    html! { @for text in line { (inline(text)) } }
}

/// Text from outside has its own direction.
pub(super) fn inline(text: &Text) -> Markup {
    html! {
        @match text {
            Text::Own(text) => (text),
            Text::Name(name) => code { bdi { (name) } },
            Text::Words(words) => bdi { (words) },
            Text::Verdict(Tone::Good, text) => span.good { (text) },
            Text::Verdict(Tone::Unsure, text) => strong.unsure { (text) },
            Text::Verdict(Tone::Bad, text) => strong.bad { (text) },
        }
    }
}

fn plain(text: &Text) -> &str {
    match text {
        Text::Own(text) | Text::Name(text) | Text::Words(text) | Text::Verdict(_, text) => text,
    }
}
