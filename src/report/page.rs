//! Reports as one page: styles, scripts and data inside, nothing fetched; text from outside is escaped and set apart.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;

use super::document::{Block, Charts, Document, Heat, Line, Ranges, Table, Text, Tone, tables};
use super::figure::svg;
use super::script::{CHART, CHART_STYLE, CHARTS, KINDS, STYLE, UPLOT, UPLOT_STYLE, WORDS};
use super::{date, significant};

const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";
const DRAW: &str = r#"
const charts = RelstabCharts.make(document.getElementById("charts"));
charts.show(JSON.parse(document.getElementById("series").textContent));
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", charts.repaint);
"#;

/// A report as an HTML document.
pub fn html(document: &Document) -> String {
    let has_charts = document.blocks.iter().any(|block| matches!(block, Block::Charts(_)));
    let styles = if has_charts { [UPLOT_STYLE, CHART_STYLE].concat() } else { String::new() };
    page(&document.title, &styles, &html! { @for each in &document.blocks { (block(each)) } })
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
                title { @for text in title { (text.plain()) } }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) (PreEscaped(styles)) }
            }
            body {
                main {
                    h1 { (line(title)) }
                    (content)
                }
                footer { p.note {
                    "relstab " (env!("CARGO_PKG_VERSION")) ", report made "
                    (date(jiff::Timestamp::now()))
                } }
            }
        }
    };
    page.into_string()
}

pub(super) fn block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Details(details) => @for each in details { (self::block(each)) },
            Block::Verdict(lines) => div.verdict { @for words in lines { p { (line(words)) } } },
            Block::Ranges(found) => (ranges(found)),
            Block::Heat(found) => (heat(found)),
            Block::Heading(name) => h2 { (name) },
            Block::Paragraph(words) => p { (line(words)) },
            Block::List(items) => ul { @for item in items { li { (line(item)) } } },
            Block::Facts(facts) => dl { @for (name, value) in facts { dt { (name) } dd { (line(value)) } } },
            Block::Table(rows) => (table(rows)),
            Block::Charts(found) => (charts(found)),
            Block::Figure { is_paged: false, .. } => {},
            Block::Figure { alt, panels, .. } => div.figure role="img" aria-label=(alt) {
                @for panel in panels.each() {
                    @match svg(&panel) {
                        Ok(drawn) => (PreEscaped(drawn)),
                        Err(error) => p { "The figure could not be drawn: " (error) },
                    }
                }
            },
            Block::Suites(suites) => @for each in tables(suites) { (self::block(&each)) },
            Block::Findings(found) => { (self::block(&Block::Heading("Warnings"))) (self::block(&Block::List(found.lines()))) },
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
                        th scope="col" class=[number(index)] { (&column.name) }
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

/// Values as dots with whiskers, in shares of the width.
fn ranges(found: &Ranges) -> Markup {
    let ends = |(_, value, ends): &(Text, f64, Option<(f64, f64)>)| {
        let (low, high) = ends.unwrap_or((*value, *value));
        [*value, low, high]
    };
    let all: Vec<f64> = found.rows.iter().flat_map(ends).chain(found.reference).filter(|v| v.is_finite()).collect();
    let turn = |value: f64| if found.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = (turn(high) - turn(low)).max(1e-9);
    // A margin on both sides.
    let at = |value: f64| 3.0 + 94.0 * (turn(value) - turn(low)) / width;
    let reference = found.reference.map(at);
    html! {
        figure.ranges role="img" aria-label=(format!("{}; the table has the numbers", found.caption)) {
            figcaption { (found.caption) }
            @for (name, value, ends) in &found.rows {
                div.row {
                    span { (inline(name)) }
                    div.track {
                        @if let Some(at) = reference { i.reference style=(format!("left:{at:.2}%")) {} }
                        @if let Some((low, high)) = ends {
                            i.whisker style=(format!("left:{:.2}%;width:{:.2}%", at(*low), at(*high) - at(*low))) {}
                        }
                        i.dot style=(format!("left:{:.2}%", at(*value))) {}
                    }
                }
            }
            div.row { span {} div.scale { span { (significant(low)) } span { (significant(high)) } } }
        }
    }
}

/// The more, the darker; equal ratios are equally far apart.
fn heat(found: &Heat) -> Markup {
    let known = found.rows.iter().flat_map(|(_, cells)| cells).filter_map(|(value, _)| value.filter(|v| *v > 0.0));
    let (low, high) = known.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let share = |value: f64| 45.0 * (value / low).ln() / (high / low).ln().max(1e-9);
    let [rows, columns] = found.axes;
    html! {
        div.scroll role="region" aria-label=(found.caption) tabindex="0" {
            table.heat {
                caption { (found.caption) ". " (found.mark) }
                thead { tr { th scope="col" { (rows) " \\ " (columns) } @for name in &found.columns { th.number scope="col" { (name) } } } }
                tbody { @for (name, cells) in &found.rows {
                    tr {
                        th scope="row" { (name) }
                        @for (value, is_marked) in cells {
                            td.number.marked[*is_marked] style=[value.map(|value| format!("--share:{:.0}%", share(value)))] {
                                (value.map_or_else(|| "–".to_owned(), significant))
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn charts(Charts { series, marks }: &Charts) -> Markup {
    let mark = |(file, sign): &(String, &str)| {
        let index = series.file.iter().position(|drawn| drawn == file)?;
        Some(json!({"index": index, "sign": sign}))
    };
    let mut data = json!([series]);
    data[0]["name"] = series.run.rsplit('/').next().into();
    data[0]["marks"] = marks.iter().filter_map(mark).collect();
    let data = data.to_string();
    // No markup, and so no end of the script.
    let data = data.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    html! {
        h2 { "Over training" }
        div #charts {}
        script type="application/json" id="series" { (PreEscaped(data)) }
        @for script in [UPLOT, WORDS, KINDS, CHART, CHARTS, DRAW] { script { (PreEscaped(script)) } }
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
            Text::Remark(note) => { " (" bdi { (note) } ")" },
            Text::Verdict(Tone::Good, text) => span.good { (text) },
            Text::Verdict(Tone::Unsure, text) => strong.unsure { (text) },
            Text::Verdict(Tone::Bad, text) => strong.bad { (text) },
        }
    }
}
