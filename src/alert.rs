//! What people and programs want to be told of a run: conditions on what is known of it, and who hears when one has held for long
//! enough.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::event::{Code, Finding, Severity};
use crate::stop::{Change, Mark, Mode, Monitor, Point, Rule};
use crate::text::{self, cut};

/// Words of an alert may take this many bytes.
const LONGEST: usize = 1000;

/// A time as people write it, such as `"30m"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// In milliseconds.
    pub fn milliseconds(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        text::duration(&written)
            .map(Self)
            .map_err(|expected| de::Error::custom(format!("{expected}, found {written:?}")))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "A time with its unit, such as \"30m\".", "type": "string"})
    }
}

/// What an alert waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum On {
    /// The latest checkpoint's monitor is `above` or `below` a value.
    Threshold,
    /// The latest checkpoint's monitor is worse than that of the one before, `by` so much.
    Change,
    /// The latest checkpoint has a finding.
    Finding,
    /// The latest checkpoint could not be measured, or nothing of the run can be.
    Failure,
    /// No checkpoint came for the time `after`.
    Stall,
    /// A rule says that the run should stop.
    Stop,
}

/// When to tell of a run, and whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// What it waits for.
    pub on: On,
    /// What it is called; by what it waits for where it has no name.
    #[serde(default)]
    pub name: Option<String>,
    /// The quantity (`threshold`, `change`).
    #[serde(default)]
    pub monitor: Monitor,
    /// It holds where the monitor is more than this (`threshold`).
    #[serde(default)]
    pub above: Option<f64>,
    /// It holds where the monitor is less than this (`threshold`).
    #[serde(default)]
    pub below: Option<f64>,
    /// How much worse: in the monitor's units, or a share such as `"20%"` (`change`).
    #[serde(default)]
    pub by: Option<Change>,
    /// Findings that matter as much as this or more (`finding`; doubt where neither this nor a code is named).
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Findings of this code (`finding`).
    #[serde(default)]
    pub code: Option<Code>,
    /// How long no checkpoint came (`stall`).
    #[serde(default)]
    pub after: Option<Span>,
    /// How long it must hold before anybody is told.
    #[serde(default, rename = "for")]
    pub lasting: Span,
    /// The least time between two tellings.
    #[serde(default)]
    pub cooldown: Span,
    /// A program and its arguments, with `{run}`, `{alert}` and `{text}` filled in; only in a file that the user names.
    #[serde(default)]
    pub command: Vec<String>,
    /// An address that is told; only in a file that the user names.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// Where an address is kept that must not be seen, and how what is sent there is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// A file whose first line is the address.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A variable of the daemon's environment that is the address.
    #[serde(default)]
    pub env: Option<String>,
    /// How it is written.
    #[serde(default)]
    pub form: Form,
}

/// How a webhook is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The event as it is on the socket.
    #[default]
    Json,
    /// A message as Slack, Mattermost and Discord's `/slack` take it.
    Slack,
}

impl Webhook {
    /// Checks that it names one place.
    ///
    /// # Errors
    /// `Setting` for both or neither.
    pub fn validated(self) -> Result<Self> {
        let places = [self.file.as_deref().and_then(std::path::Path::to_str), self.env.as_deref()];
        places.into_iter().flatten().try_for_each(|place| refuse_address("alert: webhook", place))?;
        if self.file.is_some() == self.env.is_some() {
            let found = if self.file.is_some() { "both" } else { "neither" };
            return Err(Error::setting("alert: webhook", "file or env, which hold the address", found));
        }
        Ok(self)
    }
}

/// `FILE`, or `env:NAME`.
impl FromStr for Webhook {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        refuse_address("--alert-webhook", text)?;
        Ok(match text.strip_prefix("env:") {
            Some(name) => Self { file: None, env: Some(name.to_owned()), form: Form::default() },
            None => Self { file: Some(text.into()), env: None, form: Form::default() },
        })
    }
}

/// Refuses an address where the place of one is to be named.
fn refuse_address(setting: &'static str, place: &str) -> Result<()> {
    if !place.contains("://") {
        return Ok(());
    }
    Err(Error::setting(
        setting,
        "a file whose first line is the address, or a variable",
        "an address, which is a secret",
    ))
}

/// What the daemon knows of a run beside its journal.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Why nothing of it can be measured, if so.
    pub blocked: Option<String>,
    /// Whether all that was written while nobody watched is known.
    pub is_caught: bool,
    /// Whether nothing more will come.
    pub is_over: bool,
}

/// What is known of a run now.
#[derive(Debug, Default)]
pub struct Seen {
    /// What is known of it beside the journal.
    pub standing: Standing,
    /// Its checkpoints in training order; the last two count.
    pub points: Vec<Point>,
    /// What was found about the latest.
    pub findings: Vec<Finding>,
    /// Why the last one could not be measured, if so.
    pub failure: Option<String>,
    /// When its newest checkpoint was written, milliseconds since 1970.
    pub written: Option<i64>,
    /// Why it should stop.
    pub stop: Option<String>,
    /// When the oldest checkpoint was written that waits to be measured, milliseconds since 1970.
    pub waiting: Option<i64>,
}

/// What an alert waits for, come true.
#[derive(Debug, PartialEq)]
pub struct Cause {
    /// In words.
    pub text: String,
    /// The checkpoint that it is about.
    pub at: Option<Mark>,
}

impl Alert {
    /// Checks what a user wrote.
    ///
    /// # Errors
    /// `Setting` for what its kind lacks or has no use for.
    pub fn validated(self) -> Result<Self> {
        let refused = |expected: &str, found: &str| {
            Err(Error::setting("alert", expected, format!("on = {:?} with {found}", self.on.to_string())))
        };
        let numbers = [self.above, self.below].into_iter().flatten();
        if numbers.chain(self.by.map(Change::number)).any(|number| !number.is_finite()) {
            return refused("finite numbers", "another");
        }
        // Programs take no name with one, files and addresses neither.
        if self.name.as_ref().is_some_and(|name| name.contains('\0')) {
            return refused("a name without NUL", "one");
        }
        let has_bound = self.above.is_some() || self.below.is_some();
        match self.on {
            On::Threshold if !has_bound => return refused("above or below", "neither"),
            On::Threshold if self.monitor == Monitor::Auto => return refused("a monitor that is named", "none"),
            On::Change if self.by.is_none_or(|by| by.number() < 0.0) => {
                return refused("by, such as 0.05 or 20%", "none");
            }
            On::Stall if self.after.is_none_or(|after| after.0.is_zero()) => {
                return refused("after, such as 30m", "none");
            }
            _ => {}
        }
        let is_monitoring = matches!(self.on, On::Threshold | On::Change);
        let of_others = [
            ("monitor", self.monitor != Monitor::Auto && !is_monitoring),
            ("above or below", has_bound && self.on != On::Threshold),
            ("by", self.by.is_some() && self.on != On::Change),
            ("severity or code", (self.severity.is_some() || self.code.is_some()) && self.on != On::Finding),
            ("after", self.after.is_some() && self.on != On::Stall),
        ];
        if let Some((key, _)) = of_others.into_iter().find(|(_, is_there)| *is_there) {
            return refused("keys that it has a use for", key);
        }
        if self.code == Some(Code::Other) {
            return refused("a code that findings have, such as near_chance (docs/findings.md)", "another");
        }
        if self.command.first().is_some_and(String::is_empty) {
            return refused("a program and its arguments", "an empty one");
        }
        let webhook = self.webhook.clone().map(Webhook::validated).transpose()?;
        Ok(Self { webhook, ..self })
    }

    /// What it is called.
    pub fn title(&self) -> String {
        let bound = |word: &str, value: Option<f64>| value.map_or(String::new(), |value| format!(" {word} {value}"));
        self.name.clone().unwrap_or_else(|| match self.on {
            On::Threshold => {
                format!("{}{}{}", self.monitor, bound("above", self.above), bound("below", self.below))
            }
            On::Change if self.monitor == Monitor::Auto => "change".to_owned(),
            On::Change => format!("change of {}", self.monitor),
            On::Finding => self.code.map_or_else(|| "finding".to_owned(), |code| code.to_string()),
            other => other.to_string(),
        })
    }

    /// Tells it from the others of a run: all that it says, with a hash in place of whom it tells.
    pub fn key(&self) -> String {
        let bare = Self { command: Vec::new(), webhook: None, ..self.clone() };
        let key = serde_json::to_string(&bare).unwrap_or_else(|_| format!("{bare:?}"));
        if self.command.is_empty() && self.webhook.is_none() {
            return key;
        }
        let whom = format!("{:?}", (&self.command, &self.webhook));
        format!("{key} {}", hex::encode(&Sha256::digest(whom)[..8]))
    }

    /// Whether what was written before it is due may end what it waits for: it holds for a time, or while nothing comes.
    pub fn may_be_ended(&self, seen: &Seen, due: i64) -> bool {
        let is_of_checkpoints = !matches!(self.on, On::Stall | On::Stop);
        let is_lasting = !self.lasting.0.is_zero();
        let is_waiting = seen.waiting.is_some_and(|written| written <= due);
        (is_lasting || self.on == On::Stall) && !seen.standing.is_caught
            || is_lasting && is_of_checkpoints && is_waiting
    }

    /// Whether it holds, and why. Of a stall that is known only by the clock: see [`Alert::stalls_at`].
    pub fn cause(&self, seen: &Seen) -> Option<Cause> {
        let (mut text, at) = match self.on {
            On::Threshold => self.beyond(seen.points.last()?)?,
            On::Change => self.worse(&seen.points)?,
            On::Finding => (self.found(&seen.findings)?, None),
            On::Failure => (seen.standing.blocked.clone().or_else(|| seen.failure.clone())?, None),
            On::Stall => (format!("no checkpoint came for {}", in_words(self.after?)), None),
            On::Stop => (seen.stop.clone()?, None),
        };
        cut(&mut text, LONGEST);
        Some(Cause { text, at })
    }

    /// When no checkpoint will have come for so long, milliseconds since 1970; never, where the run should stop or is over.
    pub fn stalls_at(&self, seen: &Seen) -> Option<i64> {
        let is_to_go_on = seen.stop.is_none() && !seen.standing.is_over;
        let after = self.after.filter(|_| self.on == On::Stall && is_to_go_on)?;
        Some(seen.written?.saturating_add(after.milliseconds()))
    }

    fn beyond(&self, latest: &Point) -> Option<(String, Option<Mark>)> {
        let value = latest.value(self.monitor)?;
        let (name, place) = (self.monitor, place(latest));
        // NaN is beyond every bound.
        let is_above = self.above.filter(|above| value.is_nan() || value > *above);
        let is_below = self.below.filter(|below| value.is_nan() || value < *below);
        let text = match (is_above, is_below) {
            (Some(above), _) => format!("{name} is {value:.4}{place}, above {above}"),
            (None, Some(below)) => format!("{name} is {value:.4}{place}, below {below}"),
            (None, None) => return None,
        };
        Some((text, Some(Mark::new(latest, value))))
    }

    fn worse(&self, points: &[Point]) -> Option<(String, Option<Mark>)> {
        let (monitor, by) = (self.monitor, self.by?);
        let rule = Rule { monitor, mode: Mode::Auto.of(monitor), min_delta: by, ..Rule::default() }.on(points);
        let [.., before, latest] = points else { return None };
        let (old, new) = (before.value(rule.monitor)?, latest.value(rule.monitor)?);
        let worst = match rule.mode {
            Mode::Max => old - by.from(old),
            Mode::Min | Mode::Auto => old + by.from(old),
        };
        let is_worse = new.is_nan() || if rule.mode == Mode::Max { new < worst } else { new > worst };
        let text =
            || format!("{} went from {old:.4} to {new:.4}{}, worse by more than {by}", rule.monitor, place(latest));
        is_worse.then(|| (text(), Some(Mark::new(latest, new))))
    }

    fn found(&self, findings: &[Finding]) -> Option<String> {
        let least = self.severity.unwrap_or(if self.code.is_some() { Severity::Note } else { Severity::Doubt });
        let is_it = |finding: &&Finding| finding.severity >= least && self.code.is_none_or(|code| code == finding.code);
        let worst = findings.iter().filter(is_it).max_by_key(|finding| finding.severity)?;
        Some(format!("{}, {}: {}", worst.severity, worst.code, worst.text))
    }
}

/// `on=threshold,monitor=val_error,above=0.5,for=10m`.
impl FromStr for Alert {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "keys and values such as on=threshold,monitor=val_error,above=0.5,for=10m";
        let alert: Self = text::of_pairs("--alert", expected, text)?;
        alert.validated()
    }
}

fn place(point: &Point) -> String {
    point.step.map_or(String::new(), |step| format!(" at step {step}"))
}

fn in_words(span: Span) -> String {
    let seconds = span.0.as_secs_f64();
    match seconds {
        ..120.0 => format!("{seconds} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}
