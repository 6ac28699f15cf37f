//! A network beside its baseline: error, agreement, change of outputs and `R_f` on the same images.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::{Bound, Check, Limit, Quantity, Verdict};
use super::paired::paired;
use super::shares::{Discordant, share_interval};
use crate::error::{Error, Result};
use crate::estimate::{Estimate, quantile};
use crate::event::{Answers, Measurement};

/// What a network and its baseline come to on the images that both saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Against {
    /// How many images these are.
    pub images: usize,
    /// Level of every interval: a limit is tested on one side at half of what it leaves out.
    pub level: f64,
    /// Error on the labelled images, and its rise in points; null without labels that fit both networks.
    pub error: Option<Rise>,
    /// The smallest rise of the error that these images can tell from the largest that is allowed, were as many images
    /// improved; null where none can.
    pub detectable_rise: Option<f64>,
    /// Share of images of the same class; null where the outputs tell no classes.
    pub agreement: Option<Estimate>,
    /// Mean `|f_new(x) - f_base(x)|^2` over the baseline's mean `|f_base(x) - f_base(z)|^2`; null where there is none.
    pub change: Option<Estimate>,
    /// `R_f`, and its rise relative to the baseline's; null where one is undefined.
    pub r_f: Option<Rise>,
    /// Why something is null.
    pub missing: Vec<String>,
}

/// A number of two networks, and how much it rose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rise {
    /// Of the baseline.
    pub baseline: f64,
    /// Of the network.
    pub value: f64,
    /// From the one to the other.
    pub rise: f64,
    /// Lower end of the rise's interval; null where the two do not pair.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

const WITHOUT_OUTPUTS: &str = "the baseline is a record without outputs: save one with relstab check --save-baseline";

impl Against {
    /// Compares two networks with intervals of `level`; `max_rise` is the largest rise of the error that is allowed.
    ///
    /// # Errors
    /// `Setting` where the two saw different images.
    pub fn new(
        network: (&Measurement, &Answers),
        baseline: (&Measurement, Option<&Answers>),
        level: f64,
        max_rise: f64,
    ) -> Result<Self> {
        let Outputs { images, error, detectable_rise, agreement, change, mut missing } = match baseline.1 {
            Some(answers) => Outputs::new(network.1, answers, level, max_rise)?,
            None => Outputs { missing: vec![WITHOUT_OUTPUTS.to_owned()], ..Outputs::default() },
        };
        let r_f = r_f(network.0, baseline.0, level);
        if r_f.is_none() {
            missing.push("R_f: undefined".to_owned());
        }
        let images = if images > 0 { images } else { network.0.probe.images };
        Ok(Self { images, level, error, detectable_rise, agreement, change, r_f, missing })
    }

    /// Holds one of the quantities to `limit`; `path` names the network.
    ///
    /// # Errors
    /// `NoValue` where it could not be compared.
    pub fn check(&self, limit: Limit, path: &Path) -> Result<Check> {
        let estimate = |estimate: &Estimate| (estimate.value, Some(estimate.low), Some(estimate.high));
        let found = match limit.quantity {
            Quantity::ErrorRise => self.error.as_ref().map(|error| (error.rise, error.low, error.high)),
            Quantity::Agreement => self.agreement.as_ref().map(estimate),
            Quantity::Change => self.change.as_ref().map(estimate),
            _ => None,
        };
        let (value, low, high) = found.ok_or_else(|| Error::NoValue {
            path: path.to_owned(),
            quantity: limit.quantity.to_string(),
            reason: self.missing.join("; "),
        })?;
        Ok(Check { limit, value, low, high, verdict: Verdict::of(low, high, limit.bound) })
    }

    /// What a rise of the error that lies above `max` for sure says, whatever else a network is held to.
    pub fn clear_rise(&self, max: f64) -> Option<Check> {
        let limit = Limit { quantity: Quantity::ErrorRise, bound: Bound::Max(max) };
        let check = self.check(limit, Path::new("")).ok()?;
        (check.verdict == Verdict::FallsShort).then_some(check)
    }
}

/// What the outputs alone tell.
#[derive(Default)]
struct Outputs {
    images: usize,
    error: Option<Rise>,
    detectable_rise: Option<f64>,
    agreement: Option<Estimate>,
    change: Option<Estimate>,
    missing: Vec<String>,
}

impl Outputs {
    fn new(new: &Answers, base: &Answers, level: f64, max_rise: f64) -> Result<Self> {
        if new.source != base.source {
            let expected =
                "a measurement of the same probe images: the same --probe, --images and --seed, or save it anew";
            let found = |answers: &Answers| format!("{} images of hash {:.12}", answers.classes.len(), answers.source);
            return Err(Error::setting("--baseline", expected, format!("{}, now {}", found(base), found(new))));
        }
        let mut found = Self { images: new.classes.len().min(base.classes.len()), ..Self::default() };
        if found.images == 0 {
            found.missing.push("error and agreement: the outputs tell no classes".to_owned());
        } else {
            let same = new.classes.iter().zip(&base.classes).filter(|(new, base)| new == base).count();
            let value = same as f64 / found.images as f64;
            let (low, high) = share_interval(value, found.images, level);
            found.agreement = Some(Estimate { value, low, high, level });
            match rise(new, base, found.images) {
                Ok((pairs, baseline, value)) => {
                    let (low, high) = pairs.interval(level);
                    found.error = Some(Rise { baseline, value, rise: pairs.rise(), low: Some(low), high: Some(high) });
                    found.detectable_rise = pairs.detectable(max_rise, level);
                }
                Err(why) => found.missing.push(format!("error: {why}")),
            }
        }
        match change(new, base, level) {
            Ok(change) => found.change = Some(change),
            Err(why) => found.missing.push(format!("change: {why}")),
        }
        Ok(found)
    }
}

/// The images that one of the two gets wrong alone, and the error of the baseline and of the network.
fn rise(new: &Answers, base: &Answers, images: usize) -> std::result::Result<(Discordant, f64, f64), String> {
    let labels = new.labels.as_deref().ok_or("the probe set has no labels")?;
    let wrong = |answers: &Answers| {
        let outputs = answers.outputs;
        answers.wrong(labels).ok_or_else(|| format!("a label is beyond the {outputs} outputs"))
    };
    let (new, base) = (wrong(new)?, wrong(base)?);
    let count = |of: &dyn Fn(bool, bool) -> bool| new.iter().zip(&base).filter(|(new, base)| of(**new, **base)).count();
    let (worsened, improved) = (count(&|new, base| new && !base), count(&|new, base| !new && base));
    let both = count(&|new, base| new && base);
    let share = |count: usize| count as f64 / images as f64;
    Ok((Discordant { worsened, improved, images }, share(both + improved), share(both + worsened)))
}

/// How far outputs lie from the baseline's; the interval by the delta method, symmetric in logarithms.
fn change(new: &Answers, base: &Answers, level: f64) -> std::result::Result<Estimate, String> {
    if new.outputs != base.outputs {
        return Err(format!("{} outputs against {}", new.outputs, base.outputs));
    }
    let images = new.clean.len().min(base.clean.len()) / new.outputs;
    let mut mean = vec![0.0; base.outputs];
    for row in base.clean.chunks_exact(base.outputs).take(images) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / images as f64);
    }
    let pairs = base.clean.chunks_exact(base.outputs).zip(new.clean.chunks_exact(new.outputs)).take(images);
    let distances = pairs
        .map(|(base, new)| (squared(base, new.iter().copied().map(f64::from)), squared(base, mean.iter().copied())));
    let (moved, spread): (Vec<f64>, Vec<f64>) = distances.unzip();
    let n = images as f64;
    // Over all pairs of different images, |f(x) - f(z)|^2 is on average twice the variance.
    let (numerator, distance) = (moved.iter().sum::<f64>() / n, 2.0 * spread.iter().sum::<f64>() / (n - 1.0));
    if images < 2 || distance <= 0.0 {
        return Err("the baseline's outputs do not differ between images".to_owned());
    }
    let value = numerator / distance;
    let influence = moved.iter().zip(&spread).map(|(moved, spread)| (moved - value * 2.0 * spread) / numerator);
    let sd = if numerator > 0.0 { (influence.map(|u| u * u).sum::<f64>() / (n * (n - 1.0))).sqrt() } else { 0.0 };
    let factor = (quantile(level) * sd).exp();
    Ok(Estimate { value, low: value / factor, high: value * factor, level })
}

fn squared(a: &[f32], b: impl Iterator<Item = f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum()
}

fn r_f(network: &Measurement, baseline: &Measurement, level: f64) -> Option<Rise> {
    let (new, base) = (network.r_f.as_ref()?.value, baseline.r_f.as_ref()?.value);
    let ends = paired(network, baseline, level).ok();
    Some(Rise {
        baseline: base,
        value: new,
        rise: new / base - 1.0,
        low: ends.as_ref().map(|ends| ends.low.exp_m1()),
        high: ends.as_ref().map(|ends| ends.high.exp_m1()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(clean: Vec<f32>, labels: &[u32]) -> Answers {
        Answers::new(clean, 2, true, Some(labels.to_vec()))
    }

    #[test]
    fn outputs_are_compared_image_by_image() {
        let base = answers(vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], &[0, 1, 0, 0]);
        let new = answers(vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0], &[0, 1, 0, 0]);
        let found = Outputs::new(&new, &base, 0.9, 0.01).expect("one source");
        let error = found.error.expect("labels");
        assert_eq!((error.baseline, error.value, error.rise), (0.25, 0.25, 0.0));
        assert!((found.agreement.expect("classes").value - 0.5).abs() < 1e-12);
        // Two of four outputs moved by 2; two of three pairs of images lie 2 apart.
        assert!((found.change.expect("outputs").value - 1.0 / (4.0 / 3.0)).abs() < 1e-12);
        let same = Outputs::new(&base, &base, 0.9, 0.01).expect("one source");
        let change = same.change.expect("outputs");
        assert!(change.value <= 0.0 && change.high <= 0.0);
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let base = answers(vec![1.0, 0.0, 1.0, 0.0], &[0, 1]);
        let other = Answers { source: "other".to_owned(), ..base.clone() };
        assert!(Outputs::new(&base, &other, 0.9, 0.01).is_err());
        let found = Outputs::new(&base, &base, 0.9, 0.01).expect("one source");
        assert!(found.change.is_none() && found.missing[0].contains("do not differ"), "{:?}", found.missing);
        let unlabelled = Answers { labels: None, ..base.clone() };
        let found = Outputs::new(&unlabelled, &base, 0.9, 0.01).expect("one source");
        assert!(found.error.is_none() && found.missing[0].contains("no labels"), "{:?}", found.missing);
        let beyond = Answers { labels: Some(vec![0, 2]), ..base.clone() };
        assert!(
            Outputs::new(&beyond, &base, 0.9, 0.01).expect("one source").missing[0].contains("beyond the 2 outputs")
        );
    }
}
