//! What networks were measured with, what predicted their errors, and what to know about it.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::document::{Block, Findings, Line, Text};
use super::significant;
use crate::event::{Finding, Measurement, Severity};
use crate::path;
use crate::predict::LawSummary;

/// What should be equal for two measurements to be compared, in words.
type Conditions = Vec<(&'static str, Text)>;

/// Measurements by what they were made with.
#[derive(Debug)]
pub struct Groups {
    kinds: Vec<Conditions>,
    /// Each measurement's number among the kinds, from 1.
    pub of: Vec<usize>,
}

impl Groups {
    /// Tells measurements apart by settings, images and backend.
    pub fn new(records: &[&Measurement]) -> Self {
        let mut kinds: Vec<Conditions> = Vec::new();
        let of = records.iter().map(|record| {
            let conditions = conditions(record);
            let known = kinds.iter().position(|kind| *kind == conditions);
            known.unwrap_or_else(|| {
                kinds.push(conditions);
                kinds.len() - 1
            }) + 1
        });
        let of = of.collect();
        Self { kinds, of }
    }

    /// Whether there is more than one kind.
    pub fn differ(&self) -> bool {
        self.kinds.len() > 1
    }

    /// What differs between the kinds; `None` if nothing does.
    pub fn warning(&self, what: &str) -> Option<Block> {
        let first = self.kinds.first()?;
        let differs = |at: &usize| self.kinds.iter().any(|kind| kind[*at].1 != first[*at].1);
        let names: Vec<_> = (0..first.len()).filter(differs).map(|at| first[at].0).collect();
        let text = format!(
            "These {what} were measured in {} different ways, numbered where they differ; values compare across them only \
             with care. What differs: {}.",
            self.kinds.len(),
            names.join(", ")
        );
        self.differ().then(|| Block::Paragraph(vec![Text::Own(text)]))
    }

    /// Settings, images and backend; where they differ, the value of each kind.
    pub fn facts(&self) -> Block {
        let names = self.kinds.first().into_iter().flatten().map(|(name, _)| *name);
        let value = |at: usize| {
            let values: Vec<&Text> = self.kinds.iter().map(|kind| &kind[at].1).collect();
            if values.iter().all(|value| *value == values[0]) {
                return vec![values[0].clone()];
            }
            let numbered = values.into_iter().enumerate();
            numbered
                .flat_map(|(index, value)| {
                    let separator = if index == 0 { "" } else { "; " };
                    [Text::Own(format!("{separator}({}) ", index + 1)), value.clone()]
                })
                .collect()
        };
        Block::Facts(names.enumerate().map(|(at, name)| (name, value(at))).collect())
    }
}

fn conditions(record: &Measurement) -> Conditions {
    let Measurement { probe, settings, backend, .. } = record;
    let [channels, height, width] = probe.shape;
    let own = |text: String| Text::Own(text);
    let or_none =
        |values: &Option<Vec<f32>>| values.as_ref().map_or_else(|| "none".to_owned(), |values| format!("{values:?}"));
    vec![
        ("probe set", Text::name(&probe.source)),
        ("images", own(probe.images.to_string())),
        ("shape", own(format!("{channels} x {height} x {width} (channels x height x width)"))),
        ("hash of the images", Text::name(&probe.sha256)),
        ("mean", own(or_none(&probe.mean))),
        ("standard deviation", own(or_none(&probe.std))),
        ("cutoff", own(settings.cutoff.to_string())),
        ("delta", own(format!("{} px", settings.delta))),
        ("temperature", own(significant(settings.temperature))),
        ("interpolation", own(settings.interpolation.to_string())),
        ("draws", own(settings.draws.to_string())),
        ("seed", own(settings.seed.to_string())),
        ("noise by", own(settings.noise.to_string())),
        ("estimator", own(settings.estimator.to_string())),
        ("backend", Text::words(&format!("{} {}", backend.name, backend.version))),
        ("provider", Text::words(&format!("{} (asked for: {})", backend.provider, backend.provider_requested))),
    ]
}

/// Settings, images and backend of a measurement, but for the settings that `varies` names.
pub fn common(record: &Measurement, varies: &[&str]) -> Block {
    let conditions = conditions(record).into_iter().filter(|(name, _)| !varies.contains(name));
    Block::Facts(conditions.map(|(name, value)| (name, vec![value])).collect())
}

/// All of this about single networks.
pub fn all(records: &[&Measurement]) -> Vec<Block> {
    if records.is_empty() {
        return Vec::new();
    }
    let groups = Groups::new(records);
    let mut blocks = vec![Block::Heading("Measured with")];
    if let Some(warning) = groups.warning("networks") {
        let way = |(record, number): (&&Measurement, &usize)| {
            vec![format!("({number}) ").into(), Text::name(&path::text(&record.model.path))]
        };
        blocks.extend([warning, Block::List(records.iter().zip(&groups.of).map(way).collect())]);
    }
    blocks.extend([groups.facts(), Block::Heading("Law")]);
    blocks.extend(laws(records, "networks"));
    [Block::Details(blocks)].into_iter().chain(warnings(records, "networks")).collect()
}

/// How long the measurements took together.
pub fn time(records: &[&Measurement]) -> Block {
    let seconds: f64 = records.iter().map(|record| record.timing.total_s).sum();
    let passes: u64 = records.iter().map(|record| record.timing.passes).sum();
    Block::Facts(vec![("time", vec![format!("{seconds:.1} s, {passes} passes").into()])])
}

/// Which network was measured, what ran it, and, with its size, on how much.
pub fn heading(record: &Measurement, with_size: bool) -> Vec<Line> {
    let Measurement { backend, probe, settings, .. } = record;
    let ran = format!("  ({} {}, {})", backend.name, backend.version, backend.provider);
    let size = format!("{} images x {} draws, seed {}", probe.images, settings.draws, settings.seed);
    let network = vec![Text::name(&path::text(&record.model.path)), ran.into()];
    [network].into_iter().chain(with_size.then(|| vec![size.into()])).collect()
}

/// Each law that predicted an error of one of the `what`, with what it says.
pub fn laws(records: &[&Measurement], what: &str) -> Vec<Block> {
    let mut laws: Vec<(&LawSummary, usize)> = Vec::new();
    for law in records.iter().filter_map(|record| Some(&record.prediction.as_ref()?.law)) {
        match laws.iter_mut().find(|(known, _)| *known == law) {
            Some((_, count)) => *count += 1,
            None => laws.push((law, 1)),
        }
    }
    if laws.is_empty() {
        return vec![Block::Paragraph(vec!["No law predicted an error; the warnings say why.".into()])];
    }
    let predicted = |count: usize| format!("{count} of {} {what}", records.len());
    laws.into_iter().flat_map(|(law, count)| law_blocks(law, &predicted(count))).collect()
}

fn law_blocks(law: &LawSummary, predicted: &str) -> [Block; 2] {
    let spread = law.sd_log.map_or_else(
        || "unknown".to_owned(),
        |sd| format!("{sd:.3}, a factor of {:.2} (one standard deviation)", sd.exp()),
    );
    let factors: Vec<_> = law.terms.iter().map(|term| term.factor()).collect();
    let heading = vec![Text::name(&law.name), format!(", version {}, predicted {predicted}.", law.version).into()];
    let facts = vec![
        ("goes by", vec![factors.join(", ").into()]),
        ("a", vec![format!("{}, the error where each of these is 1", significant(law.a)).into()]),
        ("b", vec![format!("{}, the exponent of the first", significant(law.b)).into()]),
        ("spread of log error", vec![spread.into()]),
        ("from", vec![Text::words(&law.source)]),
    ];
    [Block::Paragraph(heading), Block::Facts(facts)]
}

/// Every distinct finding of the `what`; nothing where there is none.
pub fn warnings(records: &[&Measurement], what: &'static str) -> Option<Block> {
    let mut all: Vec<(Finding, usize)> = Vec::new();
    let mut places: HashMap<(Severity, String), usize> = HashMap::new();
    for finding in records.iter().flat_map(|record| record.told()) {
        let place = *places.entry((finding.severity, finding.text.clone())).or_insert(all.len());
        match all.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => all.push((finding, 1)),
        }
    }
    all.sort_by_key(|(finding, count)| (Reverse(finding.severity), Reverse(*count)));
    (!all.is_empty()).then_some(Block::Findings(Findings { all, of: records.len(), what }))
}
