//! Flags of what the daemon does besides measuring.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Component, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use crate::alert::{Alert, Form, Webhook};
use crate::cli::terminal::Format;
use crate::error::{Error, Result};
use crate::journal::Policy;
use crate::stop::Rule;
use crate::watch::daemon::{Ending, Receivers};
use crate::watch::messenger;
use crate::watch::pool::Limits;
use crate::watch::starter::{ByCommand, Local, Starter};

const MOST_WORKERS: usize = 1024;

/// What the daemon does besides measuring.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Daemon")]
pub struct Service {
    /// A closed file must have been left alone for this long; one that is renamed into place need not
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::text::duration)]
    pub settle: Duration,
    /// How often addresses are listed: a request for each 1,000 objects below them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::text::duration)]
    pub list_every: Duration,
    /// A file that is not a whole network for this long has failed
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = crate::text::duration)]
    pub give_up: Duration,
    /// Which checkpoints are measured: all, latest (older ones are skipped), every:N
    #[arg(long, value_name = "POLICY", default_value = "all")]
    pub policy: Policy,
    /// Worker processes that measure side by side [default: 1, or one on each GPU of --device]
    #[arg(long, value_name = "N", value_parser = crate::cli::flags::one_or_more)]
    pub workers: Option<NonZeroUsize>,
    /// A worker without work ends after this long; with 0s it gives back the GPU, or memory, after each checkpoint
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::text::duration)]
    pub worker_idle: Duration,
    /// One measurement may take this long, rests included
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = crate::text::duration)]
    pub timeout: Duration,
    /// A worker may grow to this size, such as 4GiB
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,
    /// A checkpoint fails when workers died of it this often
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,
    /// Niceness added to the workers'
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=19))]
    pub nice: i32,
    /// Share of the time that a worker may compute: it rests between batches
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub duty: f64,
    /// Start workers by this shell command, which speaks over its standard input and output: "ssh host relstab worker" (docs/watch.md)
    #[arg(long, value_name = "CMD", conflicts_with_all = ["nice", "duty", "memory_limit"])]
    pub worker_command: Option<String>,
    /// The journal's file [default: a folder under $XDG_STATE_HOME/relstab]
    #[arg(long, value_name = "PATH")]
    pub journal: Option<PathBuf>,
    /// The Unix socket [default: under $XDG_RUNTIME_DIR, else beside the journal]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Listen on a loopback address as well, such as 127.0.0.1:7777, for clients that show the token of --tcp-token
    #[arg(long, value_name = "ADDR", requires = "tcp_token", value_parser = crate::cli::flags::address)]
    pub tcp: Option<SocketAddr>,
    /// File whose first line clients of --tcp must show before anything else
    #[arg(long, value_name = "FILE", requires = "tcp")]
    pub tcp_token: Option<PathBuf>,
    /// Serve HTTP at an address on loopback, such as 127.0.0.1:7878 (docs/http.md)
    #[arg(long, value_name = "ADDR", value_parser = crate::cli::flags::address)]
    pub http: Option<SocketAddr>,
    /// File whose first line HTTP clients must show; with it --http may be any address
    #[arg(long, value_name = "FILE", requires = "http")]
    pub http_token: Option<PathBuf>,
    /// Early-stopping rule in place of relstab.toml's, such as monitor=val_error,patience=5,min_delta=1%
    #[arg(long, value_name = "RULE")]
    pub stop: Vec<Rule>,
    /// Shell command for a run that should stop; RELSTAB_RUN, RELSTAB_BEST and RELSTAB_REASON tell about it
    #[arg(long, value_name = "CMD")]
    pub on_stop: Option<String>,
    /// Alert in place of relstab.toml's, such as on=stall,after=30m or on=threshold,monitor=val_error,above=0.5,for=10m
    #[arg(long, value_name = "ALERT")]
    pub alert: Vec<Alert>,
    /// Program with its arguments, up to a ";", that is run for alerts; {run}, {alert} and {text} are filled in
    #[arg(long, value_name = "CMD", num_args = 1.., value_terminator = ";", allow_hyphen_values = true)]
    pub alert_command: Vec<String>,
    /// File whose first line is the address that alerts are posted to; env:NAME for a variable of the environment
    #[arg(long, value_name = "FILE")]
    pub alert_webhook: Option<String>,
    /// How they are written there
    #[arg(long, value_enum, default_value_t = Form::Json, requires = "alert_webhook")]
    pub alert_form: Form,
    /// End once no checkpoint has come for this long and none waits; exit code 11 if some could not be measured
    #[arg(long, value_name = "TIME", value_parser = crate::text::duration)]
    pub until_idle: Option<Duration>,
    /// End once a file of this name, such as DONE, lies in each run's directory and no checkpoint waits
    #[arg(long, value_name = "FILE")]
    pub until: Option<PathBuf>,
    /// End when standard input does, as for a program that starts the daemon and may die
    #[arg(long)]
    pub until_eof: bool,
    /// How the log on standard error is written; RELSTAB_LOG sets how much (warn, info, debug)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

impl Service {
    /// What workers on these GPUs may take, when the daemon of the directories `roots` ends by itself, and who hears of alerts.
    ///
    /// # Errors
    /// `Setting` for what no daemon can do.
    pub fn checked(&self, devices: Vec<u16>, roots: &[PathBuf]) -> Result<(Limits, Ending, Receivers)> {
        Ok((self.limits(devices)?, self.ending(roots)?, self.receivers()?))
    }

    fn limits(&self, devices: Vec<u16>) -> Result<Limits> {
        if !(0.01..=1.0).contains(&self.duty) {
            return Err(Error::setting("--duty", "a share of the time, 0.01 to 1", self.duty));
        }
        let workers = self.workers.map_or_else(|| devices.len().max(1), NonZeroUsize::get);
        if workers > MOST_WORKERS {
            return Err(Error::setting("--workers", format!("1 to {MOST_WORKERS}"), workers));
        }
        if workers < devices.len() {
            let expected = format!("{} or more, one on each GPU of --device", devices.len());
            return Err(Error::setting("--workers", expected, workers));
        }
        Ok(Limits {
            workers,
            devices,
            idle: self.worker_idle,
            timeout: self.timeout,
            memory: self.memory_limit.map(|size| size.as_u64()),
        })
    }

    /// Who hears of alerts that name nobody themselves; an error never has an address in it.
    fn receivers(&self) -> Result<Receivers> {
        let Some(place) = &self.alert_webhook else {
            return Ok(Receivers { command: self.alert_command.clone(), webhook: None });
        };
        let webhook = Webhook { form: self.alert_form, ..place.parse()? };
        let expected = "a file whose first line is the address, or env:NAME for a variable that is it";
        messenger::address(&webhook).map_err(|found| Error::setting("--alert-webhook", expected, found))?;
        Ok(Receivers { command: self.alert_command.clone(), webhook: Some(webhook) })
    }

    fn ending(&self, roots: &[PathBuf]) -> Result<Ending> {
        let is_inside = |marker: &PathBuf| marker.components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(outside) = self.until.as_ref().filter(|marker| !is_inside(marker)) {
            return Err(Error::setting(
                "--until",
                "a name within each run's directory, such as DONE",
                outside.display(),
            ));
        }
        Ok(Ending { idle: self.until_idle, marker: self.until.clone(), roots: roots.to_vec() })
    }

    /// What starts the workers that measure, `local` unless a command does: the flag's, else that of a configuration that is named.
    pub fn starter(&self, local: Local, configured: Option<String>) -> Box<dyn Starter> {
        match self.worker_command.clone().or(configured) {
            Some(command) => Box::new(ByCommand { command }),
            None => Box::new(local),
        }
    }
}
