//! A result before it has a format: described once, rendered for a terminal, for CI servers, as Markdown, as a page and as a figure.

use super::figure::panels::Panels;
use super::figure::run;
use crate::event::{Finding, Severity};
use crate::journal::Series;
use crate::text::visible;

/// Findings beyond these are counted only.
const MOST_FINDINGS: usize = 50;

/// A result.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it is about.
    pub title: Line,
    /// What a terminal shows in place of the title.
    pub heading: Vec<Line>,
    /// What follows, in order.
    pub blocks: Vec<Block>,
}

impl Document {
    /// Without its details, for a job's summary or a pull request.
    #[must_use]
    pub fn short(mut self) -> Self {
        self.blocks.retain(|block| !matches!(block, Block::Details(_)));
        self
    }

    /// What was tested.
    pub fn suites(&self) -> impl Iterator<Item = &Suite> {
        self.blocks.iter().flat_map(|block| if let Block::Suites(suites) = block { &suites[..] } else { &[] })
    }

    /// Its figure, if it has one.
    pub fn figure(&self) -> Option<Panels> {
        self.blocks.iter().find_map(|block| match block {
            Block::Charts(charts) => run::panels(&charts.series),
            Block::Figure { panels, .. } => Some(panels.clone()),
            _ => None,
        })
    }
}

/// Text that is set on one line.
pub type Line = Vec<Text>;

/// A piece of a report.
#[derive(Debug, Clone)]
pub enum Block {
    /// What only files and pages have the place for.
    Details(Vec<Block>),
    /// What it all comes to, before everything else.
    Verdict(Vec<Line>),
    /// A heading below the title.
    Heading(&'static str),
    /// A paragraph.
    Paragraph(Line),
    /// Points of equal rank.
    List(Vec<Line>),
    /// Names and values.
    Facts(Vec<(&'static str, Line)>),
    /// A table.
    Table(Table),
    /// Values with their intervals, drawn; a table beside it has the numbers.
    Ranges(Ranges),
    /// A value over two settings, as a table with colours.
    Heat(Heat),
    /// Charts over training; where the format cannot draw, the file of the figure, if there is one.
    Charts(Box<Charts>),
    /// A static figure; where the format cannot draw, its file, if there is one.
    Figure {
        /// What it shows, for those who do not see it.
        alt: &'static str,
        /// What is drawn.
        panels: Panels,
        /// Whether a page needs it: it may have other drawings of the same.
        is_paged: bool,
    },
    /// Networks with what was tested of each.
    Suites(Vec<Suite>),
    /// What is wrong, doubtful or worth knowing.
    Findings(Findings),
}

/// A run over its training.
#[derive(Debug, Clone)]
pub struct Charts {
    /// What is drawn.
    pub series: Series,
    /// Files that are marked, and as what: `best` or `stop`.
    pub marks: Vec<(String, &'static str)>,
}

/// Tests of one network.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The network.
    pub name: String,
    /// What its tests come to.
    pub outcome: String,
    /// Its tests.
    pub tests: Vec<Test>,
    /// What else is known of it.
    pub facts: Vec<(&'static str, String)>,
}

/// One test.
#[derive(Debug, Clone, Default)]
pub struct Test {
    /// What was tested, for people; empty where nothing could be.
    pub name: String,
    /// The same for programs, which find it again by this.
    pub id: String,
    /// What was found.
    pub found: String,
    /// What would be well; empty where that goes without saying.
    pub limit: String,
    /// The verdict in words.
    pub verdict: String,
    /// How it is meant.
    pub tone: Tone,
    /// What to do.
    pub help: String,
}

/// Findings of several records.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Each finding once with how many records have it, the worst and then the most frequent first.
    pub all: Vec<(Finding, usize)>,
    /// How many records there are.
    pub of: usize,
    /// What records are of.
    pub what: &'static str,
}

impl Findings {
    /// A line each.
    pub fn lines(&self) -> Vec<Line> {
        let Self { all, of, what } = self;
        let line = |(Finding { severity, text, help, .. }, count): &(Finding, usize)| {
            let mut line = vec![Text::Own(format!("{count} of {of} {what}: "))];
            let tone = match severity {
                Severity::Note => None,
                Severity::Doubt => Some(Tone::Unsure),
                Severity::Wrong => Some(Tone::Bad),
            };
            line.extend(tone.iter().flat_map(|tone| [Text::Verdict(*tone, severity.to_string()), ": ".into()]));
            line.push(Text::words(text));
            if tone.is_some() && !help.is_empty() {
                line.push(Text::words(&format!(" ({help})")));
            }
            line
        };
        let more = all.len().saturating_sub(MOST_FINDINGS);
        let rest = (more > 0).then(|| vec![format!("{more} more, of fewer {what}").into()]);
        all.iter().take(MOST_FINDINGS).map(line).chain(rest).collect()
    }
}

/// Suites as tables: each test, then what else is known.
pub fn tables(suites: &[Suite]) -> Vec<Block> {
    let test = |suite: &Suite, Test { name, found, limit, tone, verdict, .. }: &Test| {
        let found = if limit.is_empty() { Text::words(found) } else { found.as_str().into() };
        let verdict = Text::Verdict(*tone, verdict.clone());
        vec![Text::name(&suite.name), name.as_str().into(), found, limit.as_str().into(), verdict]
    };
    let fact = |suite: &Suite, (name, value): &(&str, String)| {
        vec![Text::name(&suite.name), (*name).into(), Text::words(value)]
    };
    let tests = suites.iter().flat_map(|suite| suite.tests.iter().map(|each| test(suite, each)));
    let facts: Vec<_> = suites.iter().flat_map(|suite| suite.facts.iter().map(|each| fact(suite, each))).collect();
    let names = ["network", "quantity", "measured", "limit", "verdict"];
    let mut tables = vec![table("Each network and limit", columns(&names, &[]), tests)];
    if !facts.is_empty() {
        let columns = columns(&["network", "quantity", "beside the baseline"], &[]);
        tables.push(table("Each network beside the baseline", columns, facts));
    }
    tables
}

/// A name, and a value with the ends of its interval.
pub type Range = (Text, f64, Option<(f64, f64)>);

/// Values where they are known, and whether each is marked.
pub type Cells = Vec<(Option<f64>, bool)>;

/// Values on one axis, each in a row of its own.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// What is drawn.
    pub caption: &'static str,
    /// Names, and values with the ends of their intervals, where they have any.
    pub rows: Vec<Range>,
    /// A value that all are seen against.
    pub reference: Option<f64>,
    /// Whether equal ratios are equally far apart.
    pub is_log: bool,
}

/// Values of a grid.
#[derive(Debug, Clone)]
pub struct Heat {
    /// What is shown.
    pub caption: &'static str,
    /// What rows and columns are.
    pub axes: [&'static str; 2],
    /// Settings of the columns.
    pub columns: Vec<String>,
    /// A setting, and a cell for each column: its value where it is known, and whether it is marked.
    pub rows: Vec<(String, Cells)>,
    /// What the marks say.
    pub mark: &'static str,
}

/// Rows of cells, the first of which names its row.
#[derive(Debug, Clone)]
pub struct Table {
    /// What it shows, for those who come to it without its heading.
    pub caption: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// A cell for each column.
    pub rows: Vec<Vec<Text>>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Whether it holds numbers, which are set to the right.
    pub is_number: bool,
    /// What a terminal shows of it.
    pub shown: Shown,
}

/// What a terminal shows of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Everything.
    Whole,
    /// Everything, behind all others: names that may be long.
    Last,
    /// Values without their intervals.
    Values,
    /// Nothing.
    Nothing,
}

/// Text that is set in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// This program's own words and numbers.
    Own(String),
    /// A name from outside, such as a path; see [`Text::name`].
    Name(String),
    /// Words that quote something from outside; see [`Text::words`].
    Words(String),
    /// What a value is of, at the end of its line; see [`Text::remark`].
    Remark(String),
    /// A verdict.
    Verdict(Tone, String),
}

/// How a verdict is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// All is well.
    Good,
    /// It cannot be told.
    #[default]
    Unsure,
    /// Something is wrong.
    Bad,
}

impl Text {
    /// A name from outside, whatever its characters.
    pub fn name(text: &str) -> Self {
        Self::Name(visible(text))
    }

    /// Words that quote something from outside.
    pub fn words(text: &str) -> Self {
        Self::Words(visible(text))
    }

    /// What a value is of.
    pub fn remark(text: &str) -> Self {
        Self::Remark(visible(text))
    }

    /// As it stands, for forms without markup.
    pub fn plain(&self) -> &str {
        match self {
            Self::Own(text) | Self::Name(text) | Self::Words(text) | Self::Remark(text) | Self::Verdict(_, text) => {
                text
            }
        }
    }

    /// What is known, or a dash.
    pub fn known(value: Option<String>) -> Self {
        Self::Own(value.unwrap_or_else(|| "–".to_owned()))
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Own(text.into())
    }
}

/// A table.
pub fn table(caption: &'static str, columns: Vec<Column>, rows: impl IntoIterator<Item = Vec<Text>>) -> Block {
    Block::Table(Table { caption, columns, rows: rows.into_iter().collect() })
}

/// Columns of these names; those that are among `numbers` too hold numbers.
pub fn columns(names: &[&str], numbers: &[&str]) -> Vec<Column> {
    let column = |name: &str| (name.to_owned(), numbers.contains(&name));
    let columns = names.iter().map(|name| column(name));
    columns.map(|(name, is_number)| Column { name, is_number, shown: Shown::Whole }).collect()
}

/// The same columns, of which a terminal shows less.
pub fn showing(mut columns: Vec<Column>, shown: Shown, of: &[&str]) -> Vec<Column> {
    columns.iter_mut().filter(|column| of.contains(&&*column.name)).for_each(|column| column.shown = shown);
    columns
}
