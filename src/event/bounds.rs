//! How much of what others wrote a record holds: names, metadata, warnings and laws are cut, with a mark.

use super::Measurement;
use crate::text::cut;

/// A name: of an input, an output, a key, a law.
const NAME: usize = 256;
/// A sentence: a warning, a reason, a value of metadata, a law's source.
const SENTENCE: usize = 1000;
/// Entries of metadata, warnings, values of a list.
const ENTRIES: usize = 64;
/// One for each channel.
const CHANNELS: usize = 1024;

/// Why a checkpoint failed: an engine's own words may be long.
pub const REASON: usize = 4000;

impl Measurement {
    /// The record with everything cut that a file may make long; some tens of kilobytes at most.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for name in [&mut self.model.input, &mut self.model.output] {
            cut(name, NAME);
        }
        self.model.output_axes.truncate(ENTRIES);
        cut(&mut self.probe.source, 4 * SENTENCE);
        if let Some(undefined) = &mut self.undefined {
            cut(&mut undefined.reason, SENTENCE);
        }
        if let Some(prediction) = &mut self.prediction {
            cut(&mut prediction.law.name, NAME);
            cut(&mut prediction.law.source, SENTENCE);
            sentences(&mut prediction.warnings);
        }
        let mut dropped = Vec::new();
        let preprocess = &mut self.metadata.preprocess;
        for (name, list) in [("mean", &mut preprocess.mean), ("std", &mut preprocess.std)] {
            if let Some(long) = list.take_if(|list| list.len() > CHANNELS) {
                dropped.push(format!("metadata relstab.{name}: {} values are left out of the record", long.len()));
            }
        }
        for list in [&mut self.probe.mean, &mut self.probe.std].into_iter().flatten() {
            list.truncate(CHANNELS);
        }
        let other = std::mem::take(&mut self.metadata.other);
        if other.len() > ENTRIES {
            dropped.push(format!(
                "metadata: {} of {} entries are left out of the record",
                other.len() - ENTRIES,
                other.len()
            ));
        }
        for (mut key, mut value) in other.into_iter().take(ENTRIES) {
            cut(&mut key, NAME);
            cut(&mut value, SENTENCE);
            self.metadata.other.insert(key, value);
        }
        self.findings.truncate(ENTRIES);
        self.findings.iter_mut().for_each(|finding| cut(&mut finding.text, SENTENCE));
        sentences(&mut self.warnings);
        self.warnings.extend(dropped);
        self
    }
}

fn sentences(list: &mut Vec<String>) {
    let more = list.len().saturating_sub(ENTRIES);
    list.truncate(ENTRIES);
    for sentence in list.iter_mut() {
        cut(sentence, SENTENCE);
    }
    if more > 0 {
        list.push(format!("and {more} more"));
    }
}
