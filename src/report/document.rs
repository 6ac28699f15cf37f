//! A report before it has a format: written once, rendered as Markdown and as a page.

use crate::journal::Series;
use crate::text::visible;

/// A whole report.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it is about.
    pub title: Line,
    /// What follows, in order.
    pub blocks: Vec<Block>,
}

/// Text that is set on one line.
pub type Line = Vec<Text>;

/// A piece of a report.
#[derive(Debug, Clone)]
pub enum Block {
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
    /// Charts over training: drawn from their series, or where the format cannot draw, the file of a figure, if there is one.
    Charts {
        /// What is drawn.
        series: Box<Series>,
        /// The figure's path, from the report on.
        figure: Option<String>,
    },
    /// A static figure: drawn in place, or where the format cannot draw, its file, if there is one.
    Figure {
        /// What it shows, for those who do not see it.
        alt: &'static str,
        /// The figure as [`svg`](super::figure::svg) draws it.
        svg: String,
        /// Its file's path, from the report on.
        path: Option<String>,
    },
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
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether it holds numbers, which are set to the right.
    pub is_number: bool,
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
    /// A verdict.
    Verdict(Tone, String),
}

/// How a verdict is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// It cannot be told.
    Unsure,
    /// Something is wrong.
    Bad,
}

impl Text {
    /// A name from outside, whatever its characters.
    #[must_use]
    pub fn name(text: &str) -> Self {
        Self::Name(visible(text))
    }

    /// Words that quote something from outside.
    #[must_use]
    pub fn words(text: &str) -> Self {
        Self::Words(visible(text))
    }

    /// What is known, or a dash.
    #[must_use]
    pub fn known(value: Option<String>) -> Self {
        Self::Own(value.unwrap_or_else(|| "–".to_owned()))
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Own(text.into())
    }
}

/// Columns of these names; those that are among `numbers` too hold numbers.
#[must_use]
pub fn columns(names: &[&'static str], numbers: &[&str]) -> Vec<Column> {
    names.iter().map(|name| Column { name, is_number: numbers.contains(name) }).collect()
}
