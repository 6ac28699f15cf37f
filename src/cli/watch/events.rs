//! What a daemon prints of what happens: a line for each measurement, and each finding when it first appears in its run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::outlet::Printer;
use crate::cli::terminal::Format;
use crate::event::{Code, Event, Finding, Kind, Severity};
use crate::journal::Line;
use crate::report;
use crate::serve::{Feed, Hub};
use crate::text::visible;

/// How long the last lines may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Prints what happens after event `since` until the daemon ends or nobody reads.
pub async fn print_events(hub: Arc<Hub>, since: i64, format: Format, ends: CancellationToken) {
    let Ok(printer) = Printer::start() else { return };
    tokio::select! {
        () = follow(hub, since, format, &printer) => {}
        () = ends.cancelled() => {}
    }
    printer.finish(LAST_WORDS).await;
}

async fn follow(hub: Arc<Hub>, since: i64, format: Format, printer: &Printer) {
    let Ok(mut feed) = Feed::new(hub, Vec::new(), Some(since)).await else { return };
    let mut said = Said::default();
    while let Ok(Some(lines)) = feed.next().await {
        let text = match format {
            Format::Json => lines.iter().map(|line| format!("{}\n", line.text)).collect(),
            Format::Text => said.text(&lines),
        };
        if !text.is_empty() && !printer.print(text).await {
            return;
        }
    }
}

/// What was printed.
#[derive(Debug, Default)]
struct Said {
    /// The run of the last line.
    run: String,
    /// Kinds of findings, each with its run.
    findings: HashSet<(String, Code)>,
}

impl Said {
    fn text(&mut self, lines: &[Line]) -> String {
        let mut text = String::new();
        for line in lines {
            let Ok(Event { kind: Kind::Measured { measurement }, .. }) = serde_json::from_str::<Event>(&line.text)
            else {
                continue;
            };
            if self.run != *line.run {
                line.run.as_ref().clone_into(&mut self.run);
                let law = measurement.prediction.as_ref().map(|prediction| prediction.law.name.clone());
                text += &format!("{}\n{}", visible(&self.run), report::line_header(&measurement, law.as_deref()));
            }
            text += &report::line(&measurement);
            let is_new = |finding: &Finding| {
                finding.severity > Severity::Note && self.findings.insert((self.run.clone(), finding.code))
            };
            text += &report::terminal::findings(&measurement.told().into_iter().filter(is_new).collect::<Vec<_>>());
        }
        text
    }
}
