//! Which networks count: measured ones and rows of tables, of each training the last checkpoint.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::network::{Measured, Network, QUANTITIES, Replicates};
use crate::error::{Error, Result};
use crate::estimate::{Estimate, Estimator};
use crate::event::Measurement;
use crate::measure::conditions;
use crate::path;
use crate::predict::table;
use crate::predict::terms::Term;

/// The source of networks that come from no table.
pub const NETWORKS: &str = "networks";
/// What networks of one source must share.
const SETTINGS: [&str; 5] = ["cutoff", "delta", "interpolation", "estimator", "side"];
/// What checkpoints of one training share, beside their group and training set.
const TRAINING: [&str; 2] = ["run", "seed"];

/// Which networks count, and for which law.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The column, or key of metadata, that names a network's group; without it, its source does.
    pub group: Option<String>,
    /// Values that columns, or keys of metadata, must have where there are any.
    pub filters: Vec<(String, String)>,
    /// The reading that counts in tables that have several.
    pub estimator: Estimator,
}

/// Why a network was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Another value than the one that was asked for.
    #[strum(serialize = "not chosen by --where")]
    NotChosen,
    /// Nothing tells the size of its training set.
    #[strum(serialize = "without train_size")]
    NoTrainSize,
    /// Step 0.
    #[strum(serialize = "before any training")]
    Initial,
    /// A later checkpoint of the same training counts.
    #[strum(serialize = "not the last of its training")]
    NotLast,
}

/// Networks that count, and how many do not.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Those that count.
    pub networks: Vec<Network>,
    /// Those that do not.
    pub left_out: BTreeMap<Reason, usize>,
}

impl Evidence {
    /// Takes in what another source has.
    pub fn extend(&mut self, other: Self) {
        self.networks.extend(other.networks);
        for (reason, count) in other.left_out {
            self.leave_out(reason, count);
        }
    }

    /// Counts networks that were left out.
    pub fn leave_out(&mut self, reason: Reason, count: usize) {
        if count > 0 {
            *self.left_out.entry(reason).or_default() += count;
        }
    }
}

/// A network with all that is said of it.
struct Candidate {
    label: String,
    fields: Map<String, Value>,
    values: BTreeMap<Term, Measured>,
    replicates: Option<Replicates>,
}

/// Measured networks with their runs.
///
/// # Errors
/// `Points` where they were measured in different ways.
pub fn of_measurements(measured: &[(String, Measurement)], choice: &Choice) -> Result<Evidence> {
    let candidates: Vec<_> = measured.iter().map(|(run, record)| of_measurement(run, record)).collect();
    let all = candidates.len();
    let chosen: Vec<_> = candidates.into_iter().filter(|candidate| choice.takes(&candidate.fields)).collect();
    let not_chosen = all - chosen.len();
    count(chosen, not_chosen, NETWORKS, choice)
}

/// The networks of a table: CSV with a header, or a JSON array of objects, with `train_size` and one or more of `r_f`, `d_f`
/// and `g_f`, or first of `r_f_coordinate_median` and so on by the reading that counts; `low` and `high` are the interval of
/// `r_f`.
///
/// # Errors
/// `Io` if the file cannot be read, `Points` naming the row that cannot be used.
pub fn of_table(path: &Path, choice: &Choice) -> Result<Evidence> {
    let (mut chosen, mut not_chosen) = (Vec::new(), 0);
    for (label, row) in table::rows::<Map<String, Value>>(path)? {
        let fields = row.map_err(|found| Error::points(&label, "a row of named values", found))?;
        if choice.takes(&fields) {
            chosen.push(of_row(label, fields, choice.estimator)?);
        } else {
            not_chosen += 1;
        }
    }
    count(chosen, not_chosen, &path::text(path), choice)
}

impl Choice {
    fn takes(&self, fields: &Map<String, Value>) -> bool {
        self.filters.iter().all(|(key, wanted)| said(fields, key).is_none_or(|said| agree(&said, wanted)))
    }
}

fn of_measurement(run: &str, record: &Measurement) -> Candidate {
    // Plain data: it has a JSON form.
    let mut fields = match serde_json::to_value(&record.metadata) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let conditions = conditions(record);
    fields.insert("run".to_owned(), run.into());
    fields.insert("cutoff".to_owned(), conditions.cutoff.into());
    fields.insert("delta".to_owned(), conditions.delta.into());
    fields.insert("interpolation".to_owned(), json!(conditions.interpolation));
    fields.insert("estimator".to_owned(), json!(conditions.estimator));
    fields.insert("side".to_owned(), conditions.side.into());
    let known = [(Term::RF, &record.r_f), (Term::DF, &record.d_f), (Term::GF, &record.g_f)];
    let measured = |of: &Estimate| Measured { value: of.value, interval: Some((of.low, of.high)) };
    Candidate {
        label: path::text(&record.model.path),
        fields,
        values: known.into_iter().filter_map(|(term, of)| Some((term, measured(of.as_ref()?)))).collect(),
        replicates: record
            .replicates_log_r_f
            .clone()
            .map(|log_r_f| Replicates { over: (record.probe.sha256.clone(), record.settings.seed), log_r_f }),
    }
}

fn of_row(label: String, fields: Map<String, Value>, estimator: Estimator) -> Result<Candidate> {
    let number = |key: &str| number(&label, &fields, key);
    let mut values = BTreeMap::new();
    for term in QUANTITIES {
        let (of_reading, plain) = (number(&format!("{term}_{estimator}"))?, number(&term.to_string())?);
        let interval = if term == Term::RF { number("low")?.zip(number("high")?) } else { None };
        if let Some(value) = of_reading.or(plain) {
            values.insert(term, Measured { value, interval: interval.filter(|_| plain == Some(value)) });
        }
    }
    if values.is_empty() {
        return Err(Error::points(label, "a number in column r_f, d_f or g_f", "none"));
    }
    Ok(Candidate { label, fields, values, replicates: None })
}

/// What `key` says, unless that is nothing.
fn said(fields: &Map<String, Value>, key: &str) -> Option<String> {
    match fields.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

fn number(label: &str, fields: &Map<String, Value>, key: &str) -> Result<Option<f64>> {
    let Some(text) = said(fields, key) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
        _ => Err(Error::points(label, format!("a positive number as {key}"), text)),
    }
}

/// Whether both are the same text, or the same number.
fn agree(said: &str, wanted: &str) -> bool {
    let are_equal = |(a, b): (f64, f64)| a.total_cmp(&b).is_eq();
    said == wanted || said.parse().ok().zip(wanted.parse().ok()).is_some_and(are_equal)
}

impl Candidate {
    fn number(&self, key: &str) -> Result<Option<f64>> {
        number(&self.label, &self.fields, key)
    }

    fn is_initial(&self) -> bool {
        let time = said(&self.fields, "step").or_else(|| said(&self.fields, "epoch"));
        time.is_some_and(|time| agree(&time, "0"))
    }

    /// Step, or else epoch.
    fn time(&self) -> Result<Option<f64>> {
        match self.number("step")? {
            None => self.number("epoch"),
            step => Ok(step),
        }
    }

    /// The network, if the size of its training set is known.
    fn network(&self, source: &str, group: Option<&str>) -> Result<Option<Network>> {
        let named = group.and_then(|key| said(&self.fields, key));
        Ok(self.number("train_size")?.map(|train_size| Network {
            label: self.label.clone(),
            source: source.to_owned(),
            group: named.unwrap_or_else(|| source.to_owned()),
            train_size,
            values: self.values.clone(),
            replicates: self.replicates.clone(),
        }))
    }
}

/// Those of `chosen` that count.
fn count(chosen: Vec<Candidate>, not_chosen: usize, source: &str, choice: &Choice) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    evidence.leave_out(Reason::NotChosen, not_chosen);
    settings_agree(&chosen)?;
    if let Some(key) = &choice.group
        && !chosen.is_empty()
        && chosen.iter().all(|candidate| said(&candidate.fields, key).is_none())
    {
        return Err(Error::points(source, format!("networks that say {key}, which --group names"), "none"));
    }
    // The place of each training's last checkpoint so far, and its step or epoch.
    let mut trainings = BTreeMap::new();
    for candidate in chosen {
        if candidate.is_initial() {
            evidence.leave_out(Reason::Initial, 1);
            continue;
        }
        let Some(network) = candidate.network(source, choice.group.as_deref())? else {
            evidence.leave_out(Reason::NoTrainSize, 1);
            continue;
        };
        let Some(time) = candidate.time()? else {
            evidence.networks.push(network);
            continue;
        };
        let training =
            (network.group.clone(), network.train_size.to_bits(), TRAINING.map(|key| said(&candidate.fields, key)));
        match trainings.entry(training) {
            Entry::Vacant(entry) => {
                entry.insert((evidence.networks.len(), time));
                evidence.networks.push(network);
            }
            Entry::Occupied(mut entry) => {
                let (at, latest) = *entry.get();
                if time.total_cmp(&latest).is_eq() {
                    let found = format!("step {time} twice, here and in {}", evidence.networks[at].label);
                    return Err(Error::points(network.label, "a step of a training once (--where chooses)", found));
                }
                if time > latest {
                    entry.insert((at, time));
                    evidence.networks[at] = network;
                }
                evidence.leave_out(Reason::NotLast, 1);
            }
        }
    }
    Ok(evidence)
}

fn settings_agree(chosen: &[Candidate]) -> Result<()> {
    let Some(first) = chosen.first() else { return Ok(()) };
    for (candidate, key) in chosen.iter().flat_map(|one| SETTINGS.map(|key| (one, key))) {
        let [here, there] = [candidate, first].map(|of| said(&of.fields, key).unwrap_or_default());
        if !agree(&here, &there) {
            let expected = format!("{key} {there} as in the first (--where {key}={there} leaves out the rest)");
            return Err(Error::points(&candidate.label, expected, here));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, filters: &[(&str, &str)]) -> Result<Evidence> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let filters = filters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let group = text.contains("kind").then(|| "kind".to_owned());
        of_table(file.path(), &Choice { group, filters, ..Choice::default() })
    }

    type Counted<'a> = (Vec<(&'a str, f64)>, Vec<(Reason, usize)>);

    fn counted(evidence: &Evidence) -> Counted<'_> {
        let networks = evidence.networks.iter().map(|one| (one.group.as_str(), one.values[&Term::RF].value)).collect();
        (networks, evidence.left_out.iter().map(|(reason, count)| (*reason, *count)).collect())
    }

    #[test]
    fn of_each_training_the_last_checkpoint_counts() {
        let text = "kind,train_size,seed,step,cutoff,r_f\n\
                    a,100,0,0,3,1\na,100,0,20,3,0.3\na,100,0,5,3,0.5\na,100,1,20,3,0.4\nb,100,0,10,3,0.2\n\
                    a,100,0,20,5,0.9\n,,0,20,3,0.7\na,200,0,20,3.0,0.1\n";
        let evidence = read(text, &[("cutoff", "3")]).expect("a table");
        let (networks, left_out) = counted(&evidence);
        assert_eq!(networks, [("a", 0.3), ("a", 0.4), ("b", 0.2), ("a", 0.1)]);
        let expected = [(Reason::NotChosen, 1), (Reason::NoTrainSize, 1), (Reason::Initial, 1), (Reason::NotLast, 1)];
        assert_eq!(left_out, expected);
    }

    #[test]
    fn rows_without_a_step_are_trainings_and_without_a_group_of_their_table() {
        let rows = r#"[{"train_size": 100, "r_f": 0.5}, {"train_size": 100, "r_f_coordinate_median": 0.4},
                       {"train_size": 100, "r_f": 0.3, "kind": "a"}]"#;
        let evidence = read(rows, &[]).expect("a table");
        let source = evidence.networks[0].source.clone();
        assert_eq!(counted(&evidence).0, [(source.as_str(), 0.5), (source.as_str(), 0.4), ("a", 0.3)]);
    }

    #[test]
    fn the_reading_that_counts_comes_before_a_plain_column() {
        let text = "train_size,r_f,r_f_coordinate_median,d_f_mean,low,high\n100,0.5,0.5,0.1,0.4,0.6\n";
        let evidence = read(text, &[]).expect("a table");
        let values = &evidence.networks[0].values;
        assert_eq!(values[&Term::RF], Measured { value: 0.5, interval: Some((0.4, 0.6)) });
        assert!(!values.contains_key(&Term::DF));
    }

    #[test]
    fn the_row_that_cannot_be_used_is_named() {
        for (text, parts) in [
            ("train_size,r_f\n100,much\n", ["row 1", "positive number as r_f"]),
            ("train_size,r_f\n100,0.5\n100,-1\n", ["row 2", "found -1"]),
            ("train_size,r_f\nmany,0.5\n", ["row 1", "train_size"]),
            ("train_size,error\n100,0.5\n", ["row 1", "r_f, d_f or g_f"]),
            ("train_size,r_f\n100,0.5\n100\n", ["row 2", "fields"]),
            ("train_size,r_f,cutoff\n100,0.5,3\n200,0.5,5\n", ["row 2", "--where cutoff=3"]),
            ("train_size,r_f,step\n100,0.5,7\n100,0.4,7\n", ["row 2", "row 1"]),
            ("[{\"r_f\": 0.5}, 3]", ["row 2", "named values"]),
            ("[", ["JSON", "EOF"]),
        ] {
            let message = read(text, &[]).expect_err(text).to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }
}
