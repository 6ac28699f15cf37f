//! The worker process: reads what users write (configurations, probe images, networks), keeps library and probe images loaded, and
//! answers one request at a time.
//!
//! It speaks JSON lines over its standard input and output, and ends when its input does. What a file does to the process, it does to
//! this one only. Between batches it rests, so that it computes its share of the time. It leads a process group of its own, which a
//! command that exports a checkpoint belongs to: both end together.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::protocol::{Hello, Measure, Picture, Planned, Reply, Request, RunOf, Said, Unplanned, own_host};
use super::remote::{Remote, addressed};
use super::throttle::Throttle;
use super::version::{Version, version};
use super::weights::Part;
use crate::backend::{self, Model};
use crate::config::RunPlan;
use crate::error::{Error, Reach, Result};
use crate::event::{Measurement, REASON, Strip};
use crate::measure::Kept;
use crate::path;
use crate::plan::{Plan, Resolved, Setup};
use crate::process;
use crate::store::address::{Object, is_address};
use crate::store::cache::Fetched;
use crate::text::cut;

/// A plan may take this much, bytes: it is sent with each checkpoint.
const LONGEST_PLAN: usize = 64 << 10;

/// Draws what the network at a path is shown.
pub type Draw = fn(&Setup, &Path) -> Result<Picture>;

/// Answers requests on standard input until it ends, computing for `duty` of the time, with at most `memory` bytes resident.
///
/// # Errors
/// `Io` if the daemon cannot be heard or answered, `Unavailable` where no threads can be started.
pub fn run(duty: f64, memory: Option<u64>, draw: Draw) -> Result<()> {
    let fail = |source| Error::Io { path: "the daemon".into(), action: "talk to", source };
    // One that leads a group already is none the worse.
    let _ = rustix::process::setpgid(None, None);
    process::die_with_parent(true);
    process::try_threads(thread::available_parallelism().map_or(1, NonZero::get) + 2)?;
    let requests = File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(fail)?);
    let answer = File::from(std::io::stdout().as_fd().try_clone_to_owned().map_err(fail)?);
    // Native libraries print to standard output as well: where the daemon hears answers, that would be nonsense.
    rustix::stdio::dup2_stdout(std::io::stderr()).map_err(|error| fail(error.into()))?;
    if let Some(limit) = memory {
        process::stay_below(limit).map_err(fail)?;
    }
    let is_busy = Arc::new(AtomicBool::new(false));
    let requests = listen(requests, Arc::clone(&is_busy)).map_err(fail)?;
    let mut worker =
        Worker { answer, remote: Remote::default(), loaded: None, brought: Vec::new(), throttle: Throttle::new(duty) };
    worker.say(Reply::Hello(Hello::own()), Duration::ZERO).map_err(fail)?;
    for line in requests {
        let request: Request = serde_json::from_str(&line).map_err(|error| fail(error.into()))?;
        worker.throttle = Throttle::new(duty);
        worker.say(Reply::Taken, Duration::ZERO).map_err(fail)?;
        let reply = match request {
            Request::Plan(run) => worker.plan(&run),
            Request::Measure(measure) => worker.measure(*measure).map_err(fail)?,
            Request::Draw { run, model } => worker.picture(&run, &model.0, draw),
        };
        let rest = worker.throttle.left();
        is_busy.store(false, Ordering::SeqCst);
        worker.say(reply, rest).map_err(fail)?;
        worker.brought.drain(..).for_each(Fetched::remove);
    }
    Ok(())
}

/// Reads requests on a thread of its own, which hears the end of the daemon while a network computes.
fn listen(input: impl Read + Send + 'static, is_busy: Arc<AtomicBool>) -> std::io::Result<Receiver<String>> {
    let (sender, requests) = channel();
    thread::Builder::new().name("requests".to_owned()).spawn(move || {
        for line in BufReader::new(input).lines() {
            let Ok(line) = line else { break };
            is_busy.store(true, Ordering::SeqCst);
            if sender.send(line).is_err() {
                return;
            }
        }
        if is_busy.load(Ordering::SeqCst) {
            process::die();
        }
    })?;
    Ok(requests)
}

struct Worker {
    answer: File,
    remote: Remote,
    /// What was loaded last, and what of.
    loaded: Option<(String, Loaded)>,
    /// What was brought for the request in hand.
    brought: Vec<Fetched>,
    throttle: Throttle,
}

/// What a run is measured on, and the copies that it lies in, if it was brought.
struct Loaded {
    setup: Setup,
    brought: Option<Fetched>,
}

impl Worker {
    /// Says something, with addresses in place of the copies of what lies there.
    fn say(&self, reply: Reply, rest: Duration) -> std::io::Result<()> {
        let mut text = serde_json::to_string(&Said { reply, rest })?;
        for place in self.loaded.iter().filter_map(|(_, loaded)| loaded.brought.as_ref()).chain(&self.brought) {
            text = place.named(&text);
        }
        text.push('\n');
        (&self.answer).write_all(text.as_bytes())
    }

    /// A run's plan by its files as they are.
    fn plan(&mut self, of: &RunOf) -> Reply {
        let (brought, planned, files) = self.remote.run_plan(of);
        self.brought.extend(brought);
        let fail = |error: &Error| {
            let is_of_store = matches!(error, Error::Store { .. });
            let files = files.clone();
            Reply::Unplanned(Unplanned { reason: reason(error), code: error.exit_code(), is_of_store, files })
        };
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => return fail(&error),
        };
        let size = serde_json::to_vec(&plan).map_or(0, |text| text.len());
        if size > LONGEST_PLAN {
            let expected = format!("settings of at most {LONGEST_PLAN} bytes, with the law and what the preset says");
            return fail(&Error::setting("relstab.toml", expected, format!("{size}")));
        }
        match self.remote.probe(&plan.plan.probe.0) {
            Ok(probe) => {
                let key = probe.map(|stamp| plan.plan.key(&stamp));
                Reply::Planned(Box::new(Planned { plan, key }))
            }
            Err(error) => fail(&error),
        }
    }

    fn picture(&mut self, run: &RunOf, model: &Path, draw: Draw) -> Reply {
        self.drawn(run, model, draw).map_or_else(|error| Reply::Unusable { reason: reason(&error) }, Reply::Drawn)
    }

    fn drawn(&mut self, run: &RunOf, model: &Path, draw: Draw) -> Result<Picture> {
        let (brought, planned, _) = self.remote.run_plan(run);
        self.brought.extend(brought);
        let RunPlan { mut plan, .. } = planned?;
        self.brought.extend(self.remote.bring_probe(&mut plan)?);
        if !is_address(model) {
            return draw(&plan.load()?, model);
        }
        let network = self.remote.bring_network(model)?;
        let local = network.local(model);
        self.brought.push(network);
        draw(&plan.load()?, &local)
    }

    /// Loads the plan's probe images unless they are loaded, then measures.
    fn measure(&mut self, request: Measure) -> std::io::Result<Reply> {
        let Measure { path, plan, known, resolved, objects, room, seen } = request;
        if let Err(error) = self.load(plan) {
            return Ok(Reply::Unusable { reason: reason(&error) });
        }
        self.say(Reply::Loaded, Duration::ZERO)?;
        let Some((_, Loaded { setup, .. })) = &self.loaded else { return Ok(Reply::Changed) };
        let throttle = &self.throttle;
        if objects.is_empty() {
            let before = seen_anew(&path.0);
            if let Some(reason) = seen.and_then(|seen| is_another(&path.0, seen, before.as_ref())) {
                return Ok(Reply::Stale { reason });
            }
            let Some(before) = before else { return Ok(Reply::Changed) };
            return Ok(match self.read(setup, &path.0, &known, &room.0)? {
                Ok(model) => measure(setup, (&path.0, &before), model, &known, resolved, throttle),
                Err(_) if version(&path.0).as_ref() != Some(&before) => Reply::Changed,
                Err(reply) => reply,
            });
        }
        let mut measured = |path: &Path| match (version(path), setup.read(path)) {
            (None, _) => Reply::Changed,
            (Some(before), Ok(model)) => measure(setup, (path, &before), model, &known, resolved, throttle),
            (Some(_), Err(error)) => refusal(&error, None, Vec::new()),
        };
        let reply = measure_remote(&mut self.remote, &mut self.brought, &path.0, objects, &mut measured);
        Ok(reply.unwrap_or_else(|error| unfetched(&path.0, error)))
    }

    /// Reads the network at `path`, which a command may have to export into `room`; gives the reply where there is nothing to measure.
    fn read(
        &self,
        setup: &Setup,
        path: &Path,
        known: &[(String, String)],
        room: &Path,
    ) -> std::io::Result<Result<Model, Reply>> {
        let refused = |error: &Error| refusal(error, None, Vec::new());
        let native = match backend::native(path, setup.backend()) {
            Ok(Some(native)) => native,
            Ok(None) => return Ok(setup.read(path).map_err(|error| refused(&error))),
            Err(error) => return Ok(Err(refused(&error))),
        };
        let content = (native.sha256.clone(), setup.key().to_owned());
        if known.contains(&content) {
            return Ok(Err(Reply::Known { content: content.0, settings: content.1, weights: Vec::new() }));
        }
        self.say(Reply::Exporting, Duration::ZERO)?;
        process::die_with_parent(false);
        let model = backend::export(native, setup.backend(), Some(room));
        process::die_with_parent(true);
        self.say(Reply::Loaded, Duration::ZERO)?;
        Ok(model.map_err(|error| refusal(&error, Some(content), Vec::new())))
    }

    fn load(&mut self, mut plan: Plan) -> Result<()> {
        let probe = plan.probe.0.clone();
        let Some(stamp) = self.remote.probe(&probe)? else {
            let missing = std::fs::metadata(&probe).err().unwrap_or_else(|| std::io::ErrorKind::NotFound.into());
            return Err(Error::io(&probe, "open")(missing));
        };
        let identity = serde_json::to_string(&plan).unwrap_or_default() + &stamp;
        if self.loaded.as_ref().is_some_and(|(held, _)| *held == identity) {
            return Ok(());
        }
        self.loaded = None;
        let brought = self.remote.bring_probe(&mut plan)?;
        let setup = match plan.load() {
            Ok(setup) => setup,
            Err(error) => {
                self.brought.extend(brought);
                return Err(error);
            }
        };
        // Image files are decoded now: what they take is not the doing of the first network. What is wrong with them
        // is said with it, for it may say how they are to be resized.
        let _ = setup.probe(&|_, _| self.throttle.rest());
        self.loaded = Some((identity, Loaded { setup, brought }));
        Ok(())
    }
}

/// The version that lies at `path` now, not one of a while ago.
fn seen_anew(path: &Path) -> Option<Version> {
    if path.is_file() {
        // A network file system asks its server when a file is opened, and remembers what it was told otherwise.
        let _ = File::open(path);
    }
    version(path)
}

/// Why the file is not the one that the daemon sees.
fn is_another(path: &Path, seen: (u64, i64), here: Option<&Version>) -> Option<String> {
    let here = here.and_then(|version| version.seen);
    let told = |(size, second): (u64, i64)| format!("{size} bytes, written at Unix time {second}");
    (here != Some(seen)).then(|| {
        let (path, there, host) = (path::text(path), told(seen), own_host());
        let here = here.map_or_else(|| "no such file".to_owned(), told);
        let mut reason =
            format!("model {path}: expected the file that the daemon sees ({there}), found {here} on {host}");
        cut(&mut reason, REASON);
        reason
    })
}

/// Brings a checkpoint's objects, and measures the copy.
fn measure_remote(
    remote: &mut Remote,
    brought: &mut Vec<Fetched>,
    checkpoint: &Path,
    mut objects: Vec<Object>,
    measured: &mut impl FnMut(&Path) -> Reply,
) -> Result<Reply> {
    let Some(fetched) = remote.fetch(&objects, None)? else { return Ok(Reply::Changed) };
    brought.push(fetched);
    let mut fetched = &brought[brought.len() - 1];
    let mut reply = measured(&fetched.local(checkpoint));
    if matches!(reply, Reply::Unfinished { .. }) {
        let more = remote.weights(fetched, checkpoint)?;
        if !more.is_empty() {
            objects.extend(more);
            let Some(all) = remote.fetch(&objects, Some(fetched))? else { return Ok(Reply::Changed) };
            brought.push(all);
            fetched = &brought[brought.len() - 1];
            reply = measured(&fetched.local(checkpoint));
        }
    }
    if let Reply::Measured { weights, .. } | Reply::Known { weights, .. } | Reply::Failed { weights, .. } = &mut reply {
        *weights = addressed(weights, fetched, &objects);
    }
    Ok(reply)
}

fn measure(
    setup: &Setup,
    (path, before): (&Path, &Version),
    model: Model,
    known: &[(String, String)],
    mut resolved: Option<Resolved>,
    throttle: &Throttle,
) -> Reply {
    let parts = Part::all(model.external_data());
    let weights = Part::told(path, &parts);
    let content = (model.sha256().to_owned(), setup.key().to_owned());
    if known.contains(&content) {
        return Reply::Known { content: content.0, settings: content.1, weights };
    }
    let mut strip = None;
    let outcome = measured(setup, model, &mut resolved, &mut strip, throttle);
    if version(path).as_ref() != Some(before) || !parts.iter().all(Part::is_the_same) {
        return Reply::Changed;
    }
    match outcome {
        Ok(measurement) => {
            let measurement = Box::new(measurement.bounded());
            Reply::Measured { settings: content.1, measurement, resolved, weights, strip }
        }
        Err(error) => refusal(&error, Some(content), weights),
    }
}

/// Measures a network; then shows the images whose answers moved most, if it can.
fn measured(
    setup: &Setup,
    model: Model,
    resolved: &mut Option<Resolved>,
    strip: &mut Option<Box<Strip>>,
    throttle: &Throttle,
) -> Result<Measurement> {
    let rest = |_, _| throttle.rest();
    let (opened, mut kept) = (setup.open(model, &rest)?, Kept::default());
    let (measurement, _) = opened.measure_kept(&mut kept, resolved, &rest)?;
    // A checkpoint is measured whether or not its images can be shown.
    *strip = opened.strip(&kept, &rest).ok().flatten().and_then(Strip::bounded).map(Box::new);
    Ok(measurement)
}

/// Whatever keeps a checkpoint's objects from being brought is none of their doing, nor of its run.
fn unfetched(checkpoint: &Path, error: Error) -> Reply {
    let error = match error {
        Error::Unfinished { .. } => return refusal(&error, None, Vec::new()),
        // It names a copy that is gone by now.
        Error::Io { action, source, .. } => {
            let reason = format!("could not {action} its copy: {source}");
            Error::Store { address: checkpoint.to_owned(), action: "fetch", reason }
        }
        error => error,
    };
    Reply::Unfetched { reason: reason(&error) }
}

/// What went wrong, on one line of bounded length.
fn reason(error: &Error) -> String {
    let mut reason = error.one_line();
    cut(&mut reason, REASON);
    reason
}

fn refusal(error: &Error, content: Option<(String, String)>, weights: Vec<Part>) -> Reply {
    let reason = reason(error);
    match error {
        Error::Unfinished { .. } => Reply::Unfinished { reason },
        error if error.reach() == Reach::Process => Reply::Unusable { reason },
        error => Reply::Failed { content, reason, is_finite: !matches!(error, Error::NonFinite { .. }), weights },
    }
}
