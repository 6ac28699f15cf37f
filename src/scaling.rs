//! How stabilities go with the size of the training set: power laws `Q = A P^-beta`, one for each group of networks.

pub mod evidence;
mod network;
mod power_law;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::estimate::Estimate;
use crate::predict::linear::{Linear, Sample};
use crate::predict::terms::Term;
use evidence::{Evidence, Reason};
pub use network::{Measured, Network, QUANTITIES};
use power_law::{FEWEST_SIZES, interval, sizes};
pub use power_law::{LEVEL, PowerLaw};

/// The version of [`Scaling`].
pub const SCHEMA: &str = "relstab.scaling/1";
/// Networks of several training-set sizes, and the power laws of their stabilities.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Scaling {
    /// Always `relstab.scaling/1`.
    pub schema: String,
    /// The networks that were fitted, each counting the same.
    pub networks: Vec<Network>,
    /// A law for each quantity of each group that is known at three sizes or more.
    pub laws: Vec<Law>,
    /// The mean exponent of each quantity over the groups of one source, where it has several.
    pub means: Vec<Mean>,
    /// How many networks were left out, and by which rule.
    pub left_out: BTreeMap<Reason, usize>,
}

/// A power law of one quantity in one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Law {
    /// The source of the group.
    pub source: String,
    /// The group.
    pub group: String,
    /// What falls, or rises.
    pub quantity: Term,
    /// The law.
    #[serde(flatten)]
    pub law: PowerLaw,
    /// Standard deviation of beta over resamples of the probe images, `R_f` alone; null where the networks share none.
    pub sd_over_images: Option<f64>,
}

/// The mean of a source's exponents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mean {
    /// The source.
    pub source: String,
    /// What falls, or rises.
    pub quantity: Term,
    /// Groups, each counting the same.
    pub groups: usize,
    /// The mean exponent with its Student-t interval: groups are a sample of all that there might be.
    pub beta: Estimate,
    /// Standard deviation of the exponents, their own uncertainty included.
    pub spread: f64,
}

impl Scaling {
    /// Fits every group of networks.
    ///
    /// # Errors
    /// `Points` where no group has three sizes, and for numbers without a logarithm.
    pub fn new(evidence: Evidence) -> Result<Self> {
        let Evidence { networks, left_out } = evidence;
        let mut laws = Vec::new();
        for of_source in groups(&networks).chunk_by(|a, b| a[0].source == b[0].source) {
            for quantity in QUANTITIES {
                for group in of_source {
                    laws.extend(law(group, quantity)?);
                }
            }
        }
        if laws.is_empty() {
            let sizes = sizes(networks.iter().map(|network| network.train_size)).len();
            let found = format!("{} networks of {sizes} sizes", networks.len());
            let expected = format!("a group of networks of {FEWEST_SIZES} or more sizes of training set");
            return Err(Error::points("scaling", expected, found));
        }
        let means = means(&laws);
        Ok(Self { schema: SCHEMA.to_owned(), networks, laws, means, left_out })
    }

    /// Networks of one source and group each, in the order in which they come.
    pub fn groups(&self) -> Vec<Vec<&Network>> {
        groups(&self.networks)
    }

    /// Where groups come from, each once.
    pub fn sources(&self) -> Vec<&str> {
        let mut sources: Vec<_> = self.laws.iter().map(|law| law.source.as_str()).collect();
        sources.dedup();
        sources
    }

    /// The law of `quantity` in the group of this network.
    pub fn law(&self, of: &Network, quantity: Term) -> Option<&Law> {
        let is_its = |law: &&Law| law.quantity == quantity && (&law.source, &law.group) == (&of.source, &of.group);
        self.laws.iter().find(is_its)
    }

    /// The first network of each group that has no law at all.
    pub fn without_law(&self) -> Vec<&Network> {
        let has_law = |of: &Network| QUANTITIES.iter().any(|quantity| self.law(of, *quantity).is_some());
        self.groups().into_iter().map(|group| group[0]).filter(|first| !has_law(first)).collect()
    }
}

fn groups(networks: &[Network]) -> Vec<Vec<&Network>> {
    let mut groups: Vec<Vec<&Network>> = Vec::new();
    for network in networks {
        let is_its =
            |group: &&mut Vec<&Network>| (&group[0].source, &group[0].group) == (&network.source, &network.group);
        match groups.iter_mut().find(is_its) {
            Some(group) => group.push(network),
            None => groups.push(vec![network]),
        }
    }
    groups
}

/// The group's law of `quantity`; `None` where it is known at too few sizes.
fn law(group: &[&Network], quantity: Term) -> Result<Option<Law>> {
    let known: Vec<_> =
        group.iter().filter_map(|network| Some((*network, network.values.get(&quantity)?.value))).collect();
    if sizes(known.iter().map(|(network, _)| network.train_size)).len() < FEWEST_SIZES {
        return Ok(None);
    }
    let points: Vec<_> = known.iter().map(|(network, value)| (network.train_size, *value)).collect();
    let networks: Vec<_> = known.iter().map(|(network, _)| *network).collect();
    Ok(Some(Law {
        source: group[0].source.clone(),
        group: group[0].group.clone(),
        quantity,
        law: PowerLaw::fit(&points)?,
        sd_over_images: if quantity == Term::RF { sd_over_images(&networks) } else { None },
    }))
}

/// How much the exponent depends on which images were drawn: what all sizes have in common moves A and not beta.
fn sd_over_images(networks: &[&Network]) -> Option<f64> {
    let replicates: Vec<_> = networks.iter().map(|network| network.replicates.as_ref()).collect::<Option<_>>()?;
    let (first, x) = (replicates.first()?, networks.iter().map(|network| network.train_size.ln()).collect::<Vec<_>>());
    let count = first.log_r_f.len();
    if replicates.iter().any(|other| other.over != first.over || other.log_r_f.len() != count) {
        return None;
    }
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let slope = |resample: usize| {
        let terms = x.iter().zip(&replicates).map(|(x, of)| (x - mean) * f64::from(of.log_r_f[resample]));
        terms.sum::<f64>() / squares
    };
    let slopes: Vec<Sample> = (0..count).map(|resample| (Vec::new(), slope(resample))).collect();
    Linear::vague(0).updated(&slopes).fit()?.noise()
}

fn means(laws: &[Law]) -> Vec<Mean> {
    let mut exponents = BTreeMap::<_, Vec<Sample>>::new();
    for law in laws {
        exponents.entry((&law.source, law.quantity)).or_default().push((Vec::new(), law.law.beta.value));
    }
    let mean = |((source, quantity), exponents): ((&String, Term), Vec<Sample>)| {
        let fit = Linear::vague(0).updated(&exponents).fit()?;
        let (beta, spread) = (interval(fit.coefficient(0)?)?, fit.noise()?);
        Some(Mean { source: source.clone(), quantity, groups: exponents.len(), beta, spread })
    };
    exponents.into_iter().filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::network::Replicates;
    use super::*;

    /// Networks of a group at P = 100, 200, 400, with these logarithms of `R_f` and of its replicates.
    fn networks(group: &str, logs: &[f64], replicates: &[[f32; 2]]) -> Vec<Network> {
        let network = |(index, log): (usize, &f64)| Network {
            label: format!("{group} {index}"),
            source: "table".to_owned(),
            group: group.to_owned(),
            train_size: 100.0 * 2f64.powi(index as i32 % 3),
            values: BTreeMap::from([(Term::RF, Measured { value: log.exp(), interval: None })]),
            replicates: replicates
                .get(index)
                .map(|log_r_f| Replicates { over: ("probe".to_owned(), 0), log_r_f: log_r_f.to_vec() }),
        };
        logs.iter().enumerate().map(network).collect()
    }

    fn fitted(networks: Vec<Network>) -> Result<Scaling> {
        Scaling::new(Evidence { networks, left_out: BTreeMap::new() })
    }

    #[test]
    fn each_group_has_its_law_and_the_source_its_mean() {
        let step = 2f64.ln();
        let mut all = networks("a", &[0.0, -step, -2.0 * step, 0.0], &[]);
        all.extend(networks("b", &[0.0, -0.5 * step, -step], &[]));
        all.extend(networks("c", &[0.0, 0.0], &[]));
        let scaling = fitted(all).expect("sizes enough");
        let betas: Vec<_> =
            scaling.laws.iter().map(|law| (law.group.as_str(), law.law.beta.value, law.law.n)).collect();
        assert!(matches!(betas[..], [("a", a, 4), ("b", b, 3)] if (a - 1.0).abs() < 1e-9 && (b - 0.5).abs() < 1e-9));
        let [mean] = &scaling.means[..] else { panic!("{:?}", scaling.means) };
        assert!((mean.beta.value - 0.75).abs() < 1e-9 && (mean.spread - 0.5 / 2f64.sqrt()).abs() < 1e-9);
        let without: Vec<_> = scaling.without_law().iter().map(|network| network.group.as_str()).collect();
        assert_eq!((without, scaling.sources()), (vec!["c"], vec!["table"]));
        assert!(fitted(networks("c", &[0.0, 0.0], &[])).is_err_and(|error| error.to_string().contains("2 sizes")));
    }

    #[test]
    fn what_images_do_to_all_sizes_alike_leaves_the_exponent_alone() {
        let step = 2f64.ln();
        let logs = [0.0, -0.9 * step, -2.1 * step];
        let over_images = |replicates: &[[f32; 2]]| {
            fitted(networks("a", &logs, replicates)).expect("three sizes").laws[0].sd_over_images
        };
        assert_eq!(over_images(&[]), None);
        assert!(over_images(&[[0.1, -0.3], [0.1, -0.3], [0.1, -0.3]]).is_some_and(|sd| sd < 1e-6));
        // Slopes against log P of -0.1 and 0.3: their standard deviation is 0.4 / sqrt 2.
        let tilted = |by: f64| [by, 0.0, -by].map(|log| (log * step) as f32);
        let [first, second] = [tilted(0.1), tilted(-0.3)];
        let replicates: Vec<_> = first.into_iter().zip(second).map(|(a, b)| [a, b]).collect();
        assert!(over_images(&replicates).is_some_and(|sd| (sd - 0.4 / 2f64.sqrt()).abs() < 1e-6));
        let mut other = networks("a", &logs, &replicates);
        other[1].replicates = Some(Replicates { over: ("other images".to_owned(), 0), log_r_f: vec![0.0, 0.0] });
        assert_eq!(fitted(other).expect("three sizes").laws[0].sd_over_images, None);
    }
}
