//! Shards: a measurement made in parts, of some of the images each, and merged to the record of the whole.
//!
//! A part holds rows and no statistics, for medians do not merge. Draws are made for an image's place in the whole set, and shards
//! begin where batches do, so that it does not matter in how many parts the rows are made.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

pub use super::part::{Part, Shard};

use super::facts::{Look, Present, Tried, Witness};
use super::part::{Beside, Text, VERSION};
use super::passes::{self, Passes};
use super::record::{self, Told};
use super::settings::{ChosenLaw, Settings};
use super::subject::Subject;
use super::{Prepared, Progress, prepare};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::event::{Finding, Measurement};
use crate::findings::Images;
use crate::path;
use crate::probe::ProbeSet;
use crate::text::cut;

/// Measures one shard of a probe set.
///
/// # Errors
/// As [`super::measure`]; `Setting` for a precision, which takes all images, and for more shards than there are batches.
pub fn part(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    shard: Shard,
    progress: Progress,
) -> Result<Part> {
    let started = Instant::now();
    if let Some(precision) = settings.precision {
        let expected = "--images and --draws that are the same in all shards";
        return Err(Error::setting("--shard", expected, format!("precision {precision}")));
    }
    let Prepared { perturber, used, notes, .. } = prepare(network, probe, settings)?;
    let set = probe.prefix(used.images);
    let batch = network.lanes().batch;
    let images = shard.images(set.len(), batch)?;
    let mut passes = passes::run_share(network, &set, &perturber, used.draws, images.clone(), progress)?;
    let looking = Instant::now();
    let present = Present { network, probe: &set, perturber: &perturber };
    let subject = Subject::of(present, &used);
    let beside = || Ok(Beside { look: present.look()?, tried: present.tried_unless_good(&subject.images)? });
    let beside = (images.start == 0).then(beside).transpose()?;
    let labels = set.labels().map(|labels| labels[images].to_vec());
    let timing = passes.timing(started, looking.elapsed().as_secs_f64());
    let text = Text {
        law: used.law,
        notes,
        note: passes.note.take(),
        has_labels: labels.is_some(),
        beside,
        ..Text::new(shard, batch, subject, timing)
    };
    Ok(Part { path: shard.to_string().into(), text, passes, labels })
}

impl Witness for Beside {
    fn look(&self) -> Result<Look> {
        Ok(self.look.clone())
    }

    fn tried(&self, _images: &Images) -> Result<Option<Tried>> {
        Ok(self.tried.clone())
    }
}

/// All parts of one measurement.
pub struct Whole {
    /// The law that predicts: what the parts were to be predicted by, unless it is set to another.
    pub law: Option<ChosenLaw>,
    subject: Subject,
    passes: Passes,
    labels: Option<Vec<u32>>,
    notes: Vec<Finding>,
    beside: Beside,
    /// What the parts took altogether, and of that what was looked at besides the passes.
    seconds: (f64, f64),
}

impl Whole {
    /// Puts parts together.
    ///
    /// # Errors
    /// `Part` for one of another measurement, or a shard that is there twice; `Setting` for shards that are missing.
    pub fn of(parts: Vec<Part>) -> Result<Self> {
        let mut shards = BTreeMap::new();
        let Some(first) = parts.first() else {
            return Err(Error::setting("PART", "the parts of a measurement", "none"));
        };
        let (of, told, first) = (first.text.shard.of, common(&first.text), path::text(&first.path));
        for part in parts {
            if part.text.version != VERSION {
                let found = format!("one of relstab {}", part.text.version);
                return Err(Error::part(&part.path, format!("one of relstab {VERSION}"), found));
            }
            if let Some((name, expected, found)) = difference("", &told, &common(&part.text)) {
                return Err(Error::part(&part.path, format!("{name} {expected}, as in {first}"), found));
            }
            let shard = part.text.shard;
            if shard.of != of {
                return Err(Error::part(&part.path, format!("a shard of {of}, as in {first}"), shard.to_string()));
            }
            let path = part.path.clone();
            if let Some(twin) = shards.insert(shard.number, part) {
                return Err(Error::part(
                    &path,
                    format!("another shard than {}", path::text(&twin.path)),
                    shard.to_string(),
                ));
            }
        }
        let missing: Vec<_> = (1..=of).filter(|number| !shards.contains_key(number)).take(MOST_NAMED).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|number| Shard { number: *number, of }.to_string()).collect();
            let found = format!("{}, without {}", shards.len(), names.join(", "));
            return Err(Error::setting("PART", format!("the parts of all {of} shards"), found));
        }
        Self::joined(shards.into_values())
    }

    /// From all shards in order.
    fn joined(mut parts: impl Iterator<Item = Part>) -> Result<Self> {
        let Some(Part { path, text, mut passes, mut labels }) = parts.next() else {
            return Err(Error::setting("PART", "the parts of a measurement", "none"));
        };
        let Text { subject, law, notes, beside, timing, .. } = text;
        let Some(beside) = beside else {
            return Err(Error::part(&path, "what was looked at with the first image", "nothing"));
        };
        let mut seconds = (timing.total_s, timing.findings_s);
        for part in parts {
            seconds = (seconds.0 + part.text.timing.total_s, seconds.1 + part.text.timing.findings_s);
            passes.append(part.passes);
            if let (Some(labels), Some(more)) = (&mut labels, part.labels) {
                labels.extend(more);
            }
        }
        let law = law.map(|chosen| Ok(ChosenLaw { law: chosen.law.validated()?, ..chosen })).transpose()?;
        Ok(Self { law, subject, passes, labels, notes, beside, seconds })
    }

    /// The record of the whole, with its replicates.
    ///
    /// # Errors
    /// `Law` for an explicit law of other settings.
    pub fn measurement(self) -> Result<Measurement> {
        let started = Instant::now();
        let Self { law, subject, passes, labels, notes, beside, seconds } = self;
        let Subject { settings, probe, .. } = &subject;
        let law = record::applicable_law(law.as_ref(), &record::conditions_of(settings, probe))?;
        let bootstrap = record::bootstrap(probe.images, &probe.sha256, settings.seed)?;
        let stabilities = record::statistics(&passes.output, passes.draws, &bootstrap)?;
        let told = Told { subject, passes: &passes, labels, notes };
        let (mut measurement, _) = told.concluded((&bootstrap, &stabilities), &law, &beside, started)?;
        measurement.timing.total_s += seconds.0;
        measurement.timing.findings_s += seconds.1;
        Ok(measurement)
    }
}

/// Missing shards that are named.
const MOST_NAMED: usize = 10;
/// Processors of two kinds come to one value within this, relative to it.
const ROUNDING: f64 = 1e-6;
/// A value that differs is named by so many bytes.
const LONGEST_VALUE: usize = 200;

/// What all parts of a measurement share; where its files lie may differ from machine to machine.
fn common(text: &Text) -> Value {
    let Text { subject, batch, law, notes, has_labels, timing, .. } = text;
    let mut subject = subject.clone();
    subject.model.path.clear();
    subject.probe.source.clear();
    let mut common = json!(subject);
    common["batch"] = json!(batch);
    common["law"] = json!(law);
    common["notes"] = json!(notes);
    common["labels"] = json!(has_labels);
    // A graph on the provider rounds otherwise.
    common["perturbed_on_provider"] = json!(timing.perturbed_on_provider > 0);
    common
}

/// The first value in which two differ, by its name, with both; by more than processors of two kinds round apart.
fn difference(name: &str, one: &Value, other: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(fields), Value::Object(others)) = (one, other) {
        let mut names = fields.keys().chain(others.keys());
        return names.find_map(|field| {
            let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
            difference(&name, fields.get(field).unwrap_or(&Value::Null), others.get(field).unwrap_or(&Value::Null))
        });
    }
    let is_whole = |value: &Value| value.is_u64() || value.is_i64();
    if let (Some(a), Some(b)) = (one.as_f64(), other.as_f64())
        && !(is_whole(one) && is_whole(other))
        && (a - b).abs() <= ROUNDING * a.abs().max(b.abs())
    {
        return None;
    }
    let text = |value: &Value| {
        let mut text = value.to_string();
        cut(&mut text, LONGEST_VALUE);
        text
    };
    (one != other).then(|| (name.to_owned(), text(one), text(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_tile_the_images_in_whole_batches() {
        for (images, batch) in [(500_usize, 64), (500, 1), (7, 2), (1000, 13)] {
            for of in 1..=images.div_ceil(batch) {
                let shares: Vec<_> =
                    (1..=of).map(|number| Shard { number, of }.images(images, batch).expect("a share")).collect();
                assert!(shares.iter().all(|share| share.start % batch == 0 && !share.is_empty()), "{of}");
                assert_eq!((shares[0].start, shares[of - 1].end), (0, images));
                assert!(shares.windows(2).all(|two| two[0].end == two[1].start), "{shares:?}");
            }
        }
        assert!(Shard { number: 1, of: 9 }.images(500, 64).is_err());
        for text in ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/3", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_has_a_name() {
        let one = json!({"settings": {"cutoff": 3, "seed": 0}, "law": null});
        let other = json!({"settings": {"cutoff": 3, "seed": 1}, "law": null});
        let named = difference("", &one, &other).expect("another seed");
        assert_eq!(named, ("settings.seed".to_owned(), "0".to_owned(), "1".to_owned()));
        assert_eq!(difference("", &one, &one), None);
        assert!(difference("", &one, &json!({"settings": one["settings"], "law": {}})).is_some());
        let of = |value: f64| json!({"delta": value});
        assert_eq!(difference("", &of(0.3), &of(0.1 + 0.2)), None);
        assert!(difference("", &of(0.3), &of(0.300_01)).is_some());
    }
}
