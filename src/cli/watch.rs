//! `relstab watch`: the daemon, from flags to its end.

mod events;
mod hello;
mod service;
mod system;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::flags::{Devices, Shared};
use super::once;
use super::outlet::Log;
use super::terminal::{Format, complain};
use crate::config::Flags;
use crate::error::{Error, ExitCode, Result};
use crate::file_system;
use crate::journal::{Journal, Lock};
use crate::path::{self, RawPath};
use crate::plan::Setup;
use crate::process;
use crate::report::figure;
use crate::report::gallery::of_network;
use crate::serve::{DrawImages, Http, Hub, Listeners, Places, TensorBoard, Token};
use crate::state;
use crate::store::address;
use crate::store::bucket::Stores;
use crate::watch::caller::Caller;
use crate::watch::daemon::{self, Channels, End, Message, Options, Seams};
use crate::watch::kinds::Kinds;
use crate::watch::planner::{self, Planner};
use crate::watch::pool::Limits;
use crate::watch::protocol::{Picture, Planned, Reply, Request};
use crate::watch::scan::Search;
use crate::watch::source::{Source, directory, store};
use crate::watch::starter::Local;
use events::print_events;
use hello::Hello;
use service::Service;
use system::{end_with_input, outlive_full_files, raise_open_files, room_for_clients, signals};

/// Threads that the daemon has at most while nobody asks it anything.
const THREADS: usize = 10;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Directories of checkpoints, each one run; or addresses such as s3://bucket/prefix (docs/stores.md)
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Measure what is there, print and exit; keeps no journal and opens no socket
    #[arg(long, conflicts_with = "Service")]
    once: bool,
    /// Read the settings of each directory, and its probe images if they are named, say what is wrong and end
    #[arg(long, conflicts_with = "once")]
    dry_run: bool,
    /// Write event files for TensorBoard below DIR, a folder for each run (docs/tensorboard.md)
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Every sub-directory is a run of its own, but those named after a step or an epoch
    #[arg(long)]
    recursive: bool,
    /// Names of the files that are checkpoints; with --export, of files and folders [default: *.onnx; with --export
    /// *.{pt,pth,ckpt,safetensors,keras,h5} and folders of a step or an epoch]
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Read this file instead of each run's relstab.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    daemon: Service,
    #[command(flatten)]
    shared: Shared,
}

/// How long the last lines of the log, and of what is printed, may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long clients and TensorBoard's files may take at the end.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long a picture may take.
const DRAWING: Duration = Duration::from_mins(1);

pub fn run(args: &Args) -> Result<ExitCode> {
    let devices = args.shared.running.devices()?;
    let shared = if args.once { args.shared.clone() } else { on_first(args, &devices) };
    let (roots, said) = (roots(args)?, flags(args, &shared)?);
    let has_export = said.has_export()?;
    let search = Search::new(args.recursive, Kinds::new(args.pattern.as_deref(), has_export)?);
    if has_export && roots.iter().any(|root| address::is_address(root)) {
        return Err(Error::setting("--export", "directories; checkpoints at addresses are ONNX files", "an address"));
    }
    if args.once {
        return once::run(&said, args.shared.format, &args.folders, &search, args.tensorboard.as_deref());
    }
    if args.dry_run {
        args.daemon.checked(devices, &roots)?;
        args.folders.iter().try_for_each(|folder| said.rehearse(folder))?;
        return Ok(ExitCode::Success);
    }
    watch(args, &said, devices, roots, search)
}

/// What is watched, by the names that runs have: directories, or addresses.
fn roots(args: &Args) -> Result<Vec<PathBuf>> {
    if !args.folders.iter().any(|folder| address::scheme(folder).is_some()) {
        return args.folders.iter().map(|folder| directory(folder)).collect();
    }
    if args.once || args.dry_run {
        let expected = "directories; addresses are watched by a daemon";
        return Err(Error::setting("--once or --dry-run", expected, "an address"));
    }
    let mut stores = Stores::default();
    let root = |folder: &PathBuf| {
        let root = address::normalised("DIR", folder)?;
        stores.prepare(&root).map(|()| root)
    };
    args.folders.iter().map(root).collect()
}

fn directory(folder: &Path) -> Result<PathBuf> {
    if !folder.is_dir() {
        let found = if folder.exists() { "a file" } else { "no such directory" };
        let found = format!("{found} ({})", folder.display());
        return Err(Error::setting("DIR", "a directory of checkpoints", found));
    }
    state::canonical(folder)
}

fn watch(args: &Args, said: &Flags, devices: Vec<u16>, roots: Vec<PathBuf>, search: Search) -> Result<ExitCode> {
    let flags = &args.daemon;
    let (limits, ending, receivers) = flags.checked(devices, &roots)?;
    let log = Log::start(flags.log_format == Format::Json).map_err(|source| Error::Io {
        path: "the log".into(),
        action: "start",
        source,
    })?;
    write_log(flags.log_format, &log);
    raise_open_files();
    process::try_threads(THREADS)?;
    let fail = |source| Error::Io { path: "the runtime".into(), action: "start", source };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(fail)?;
    outlive_full_files(&runtime)?;
    // What the daemon makes is its user's alone, from the first instant.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let starter = Local { nice: flags.nice, duty: flags.duty };
    let mut planner = Planner::new(Box::new(starter), said.clone(), roots.clone());
    let named = said.named()?;
    let plans = if args.recursive { Ok(Vec::new()) } else { planned(&mut planner, &roots) };
    let plans = match plans {
        Ok(plans) => plans,
        Err(code) => return Ok(code),
    };

    let journal_path = flags.journal.clone().map_or_else(|| state::journal_of(&roots), Ok)?;
    doubt(&journal_path);
    let socket = flags.socket.clone().unwrap_or_else(|| state::socket_of(&journal_path));
    if flags.journal.is_none() {
        state::keep_private(&journal_path)?;
    }
    let _locks = locks(args, &roots, &journal_path, &socket)?;
    let mut journal = Journal::open(&journal_path)?;
    if flags.journal.is_none() {
        state::adopt(&mut journal, &roots, args.recursive);
    }
    let last_seq = journal.last_seq()?;
    let reader = Journal::read(&journal_path)?;
    let board = |folder: &PathBuf| {
        Ok(TensorBoard::new(folder.clone(), Journal::read(&journal_path)?, draw_images(said, &roots, starter, &limits)))
    };
    let board = args.tensorboard.as_ref().map(board).transpose()?;

    let token = flags.tcp_token.as_ref().map(|file| Token::read(file, "--tcp-token")).transpose()?;
    let tcp = flags.tcp.zip(token);
    let (channels, received) = Channels::new();
    // A daemon that can be asked can be ended.
    runtime.block_on(async { signals(&channels) })?;
    let listeners = runtime.block_on(Listeners::bind(&socket, tcp))?;
    let http = flags.http.map(|address| runtime.block_on(Http::bind(address, flags.http_token.as_deref())));
    let http = http.transpose()?;
    let ends = CancellationToken::new();
    let hub = {
        let _inside = runtime.enter();
        Hub::new(channels.clone(), reader, ends.clone())
    };
    if flags.until_eof {
        end_with_input(&channels)?;
    }
    let places = Places::new(room_for_clients(limits.workers)?);
    let addresses = (listeners.tcp_address(), http.as_ref().and_then(Http::address));
    info!(
        socket = %socket.display(), tcp = ?addresses.0, http = ?addresses.1, clients = places.most(),
        journal = %journal_path.display(), "ready"
    );
    let (backend, page, journal_file) = (&said.backend, addresses.1, &journal_path);
    Hello { roots: &roots, plans: &plans, kinds: search.kinds(), backend, page, journal: journal_file }.say(&log);
    let server = runtime.spawn(listeners.serve(Arc::clone(&hub), Arc::clone(&places)));
    let pages = http.map(|http| {
        let (hub, folders) = (Arc::clone(&hub), roots.clone());
        runtime.spawn(async move { http.serve(hub, &folders, &places).await })
    });
    let board = board.map(|board| alone(&runtime, board.follow(Arc::clone(&hub), ends.clone())));
    let printer = runtime.spawn(print_events(hub, last_seq, args.shared.format, ends.clone()));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let source = source(roots, search, flags.list_every, &channels)?;
    let planner = planner.spawn(channels.messages.clone(), Message::Planned)?;
    let seams =
        Seams { source, starter: flags.starter(starter, named.and_then(|config| config.worker_command)), planner };
    // What it prints is no event.
    let on_stop = flags.on_stop.as_ref().map(|command| match args.shared.format {
        Format::Text => command.clone(),
        Format::Json => format!("exec >&2\n{command}"),
    });
    let options = Options {
        settle: flags.settle,
        give_up: flags.give_up,
        policy: flags.policy,
        attempts: flags.attempts,
        on_stop,
        umask,
        limits,
        receivers,
        ending,
        exports: std::path::absolute(&journal_path).unwrap_or(journal_path).with_added_extension("exports"),
    };
    let result = daemon::run(journal, options, seams, &channels, received);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    ends.cancel();
    runtime.block_on(ended([Some(server), Some(printer), pages, board]));
    // A thread that reads the journal for a client that is gone is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    log.finish(LAST_WORDS);
    result.map(code_of)
}

/// Does what holds its thread, as writing and drawing do, on one of its own.
fn alone(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let handle = runtime.handle().clone();
    runtime.spawn_blocking(move || handle.block_on(work))
}

/// All end by themselves, within the bounds of a goodbye; a picture that is being drawn may not.
async fn ended<const N: usize>(tasks: [Option<JoinHandle<()>>; N]) {
    for task in tasks.into_iter().flatten() {
        let _ = tokio::time::timeout(GOODBYE, task).await;
    }
}

/// Says if a journal lies where SQLite is not safe.
fn doubt(journal: &Path) {
    if let Some(name) = file_system::shared(journal) {
        warn!(
            "journal {}: {name} may be shared with other machines, or go with a container: SQLite is not safe there; keep the \
             journal on a local disk with --journal PATH",
            journal.display()
        );
    }
}

fn source(roots: Vec<PathBuf>, search: Search, every: Duration, channels: &Channels) -> Result<Box<dyn Source>> {
    let messages = channels.messages.clone();
    Ok(if roots.iter().any(|root| address::is_address(root)) {
        Box::new(store::spawn(roots, search, every, messages, Message::News)?)
    } else {
        Box::new(directory::spawn(roots, search, messages, Message::News)?)
    })
}

fn code_of(end: End) -> ExitCode {
    match end {
        End::Over { is_whole: false } => ExitCode::SomeFailed,
        End::Over { is_whole: true } | End::Told => ExitCode::Success,
    }
}

/// Keeps other daemons from the journal and from the directories `roots`.
fn locks(args: &Args, roots: &[PathBuf], journal: &Path, socket: &Path) -> Result<Vec<Lock>> {
    let note = json!({
        "pid": std::process::id(),
        "socket": path::text(socket),
        "journal": path::text(journal),
        "http": args.daemon.http.map(|address| address.to_string()),
    });
    let of_journal = std::iter::once(Lock::take(journal, &note.to_string()));
    let watched: BTreeSet<_> = roots.iter().collect();
    of_journal.chain(watched.into_iter().map(|root| state::lock(root, args.recursive, journal, &note))).collect()
}

/// The plans of the watched directories; what is wrong from the beginning is said at once. Where a store does not answer now there is none:
/// the run is planned again when a checkpoint is found, and waits until it can be.
fn planned(planner: &mut Planner, roots: &[PathBuf]) -> std::result::Result<Vec<Option<Planned>>, ExitCode> {
    let plan = |root: &PathBuf| match planner.plan(root) {
        Ok(planned) => Ok(Some(*planned)),
        Err(unplanned) if unplanned.is_of_store && address::is_address(root) => {
            warn!("{}; trying again once there is a checkpoint", unplanned.reason);
            Ok(None)
        }
        Err(unplanned) => {
            complain("error", &unplanned.reason);
            Err(unplanned.code)
        }
    };
    roots.iter().map(plan).collect()
}

fn flags(args: &Args, shared: &Shared) -> Result<Flags> {
    let (stop, alert) = (args.daemon.stop.clone(), args.daemon.alert.clone());
    Ok(Flags { config: args.config.clone().map(RawPath), stop, alert, ..shared.flags()? })
}

/// The shared flags with the first of several GPUs: what is planned and drawn needs no more, and each worker is told its own.
fn on_first(args: &Args, devices: &[u16]) -> Shared {
    let mut shared = args.shared.clone();
    shared.running.device = devices.first().map(|first| Devices::Listed(vec![*first]));
    shared
}

/// What a network is shown, to be sent.
pub fn drawn(setup: &Setup, model: &Path) -> Result<Picture> {
    let picture = of_network(setup, model)?;
    let png = figure::png(&picture).map_err(Error::io(model, "draw the images of"))?;
    Ok(Picture { width: picture.width(), height: picture.height(), png: BASE64_STANDARD.encode(png) })
}

/// Has drawn what the networks of a run are shown, by a worker of its own.
fn draw_images(flags: &Flags, roots: &[PathBuf], starter: Local, limits: &Limits) -> DrawImages {
    let (flags, roots, limits) = (flags.clone(), roots.to_vec(), limits.clone());
    Box::new(move |run, model| {
        let mut caller = Caller::new(Box::new(starter), limits.timeout.min(DRAWING), limits.memory);
        let run = Box::new(planner::run_of(&flags, &roots, run));
        match caller.call(&Request::Draw { run, model: RawPath(model.to_owned()) }) {
            Ok(Reply::Drawn(picture)) => Ok(picture),
            Ok(Reply::Unusable { reason }) => Err(reason),
            Ok(_) => Err("its worker answered something else".to_owned()),
            Err(silence) => Err(silence.reason()),
        }
    })
}

fn write_log(format: Format, log: &Log) {
    let mut filter = tracing_subscriber::EnvFilter::try_from_env("RELSTAB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // What these write may hold credentials.
    for off in ["object_store=off", "reqwest=off", "hyper_util=off"] {
        filter = off.parse().map_or(filter.clone(), |off| filter.add_directive(off));
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).with_target(false);
    // A second subscriber in one process is refused, and harmless.
    let _ = match format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().try_init(),
    };
}
