//! What a daemon says when it starts: what it watches, on which images, engine and law, and where to look.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::backend::{Engine, Options};
use crate::cli::outlet::Log;
use crate::measure::Settings;
use crate::perturb::Size;
use crate::stop::{Monitor, RuleKind};
use crate::text::visible;
use crate::watch::kinds::Kinds;
use crate::watch::protocol::Planned;

/// Everything that is said, one line each.
pub struct Hello<'a> {
    /// The watched directories.
    pub roots: &'a [PathBuf],
    /// Their plans, but of those whose store did not answer; none where each sub-directory has its own.
    pub plans: &'a [Option<Planned>],
    /// What counts as a checkpoint.
    pub kinds: &'a Kinds,
    /// What runs the networks.
    pub backend: &'a Options,
    /// Where the page is.
    pub page: Option<SocketAddr>,
    /// The journal's file.
    pub journal: &'a Path,
}

impl Hello<'_> {
    /// Says it on the log's stream, where that is for people; nobody need read it.
    pub fn say(&self, log: &Log) {
        if !log.is_json() {
            let _ = self.text().lines().try_for_each(|line| log.clone().write_all(line.as_bytes()));
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| text += &format!("{name:<9} {}\n", visible(&value));
        for (k, folder) in self.roots.iter().enumerate() {
            row("watching", format!("{}, {}", folder.display(), self.kinds.words()));
            let Some(planned) = self.plans.get(k) else {
                row("", "each sub-directory is a run by its own relstab.toml".to_owned());
                continue;
            };
            let Some(planned) = planned else {
                row("", "its settings could not be read yet: checkpoints wait for them".to_owned());
                continue;
            };
            let plan = &planned.plan.plan;
            let missing = if planned.key.is_none() { " (not there yet: checkpoints wait for it)" } else { "" };
            row("images", format!("{}{missing}", plan.probe.0.display()));
            row("", perturbation(&plan.settings));
            if let Some(export) = &plan.backend.export {
                row("export", export.to_string());
            }
            let law = plan.settings.law.as_ref().map(|chosen| chosen.law.name.clone());
            row("law", law.unwrap_or_else(|| "none: no error is predicted (law = \"NAME\", or --law)".to_owned()));
            for rule in &planned.plan.rules {
                let by = match rule.kind {
                    RuleKind::Patience => format!("patience {}", rule.patience),
                    RuleKind::Median => format!("beside the median of {} runs or more", rule.least_runs),
                    RuleKind::Halving => {
                        format!("one of {} runs goes on, from step {}", rule.reduction, rule.start_from)
                    }
                };
                let monitor = match rule.monitor {
                    Monitor::Auto => rule.monitor.in_words().to_owned(),
                    named => named.to_string(),
                };
                row("stop", format!("{monitor}, {by}"));
            }
        }
        row("engine", engine(self.backend));
        let page = self.page.map(|address| format!("http://{address}"));
        row("page", page.unwrap_or_else(|| "none (--http 127.0.0.1:7878 serves one)".to_owned()));
        row("journal", self.journal.display().to_string());
        text
    }
}

fn perturbation(settings: &Settings) -> String {
    let size = match settings.deformation.size {
        Size::Delta(delta) => format!("delta {delta}"),
        Size::Temperature(temperature) => format!("temperature {temperature}"),
    };
    let precision =
        settings.precision.map_or(String::new(), |precision| format!(", or more for precision {precision}"));
    let Settings { images, draws, passes, deformation, .. } = settings;
    let taken = match passes {
        None => format!("{images} images x {draws} draws"),
        Some(passes) => format!("{images} images or all there are, {passes} passes"),
    };
    format!("{taken}{precision}, cutoff {}, {size}", deformation.cutoff)
}

fn engine(options: &Options) -> String {
    match options.engine {
        Engine::Auto => "ONNX Runtime where it is found, else tract (--backend)".to_owned(),
        engine => format!("{engine}, provider {}", options.provider),
    }
}
