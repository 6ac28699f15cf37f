//! Checkpoints in object stores, found by listing everything below each address again and again.
//!
//! Keys have no order that matters, so each list is a whole one, compared with the last by name, size, `ETag` and last write. One thread lists
//! and waits for slow answers; the daemon reads the last list that was whole. An object is whole once it is listed, a set of objects is
//! whole once it was left alone for a while.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::{News, Rest, Source};
use crate::checkpoint::folders::Listing;
use crate::error::{Error, Result};
use crate::store::address::{Object, is_address, scheme};
use crate::store::bucket::Stores;
use crate::watch::scan::{Met, Search};
use crate::watch::tree::Tree;
use crate::watch::version::Version;
use crate::watch::weights::{Part, beside, stamp_of};

/// The longest pause between two tries of a list that fails.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The shortest time between two lists that changes ask for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// Pauses differ by this share, so that daemons do not ask together.
const JITTER: f64 = 0.1;

/// Watched addresses.
#[derive(Debug)]
pub struct Addresses {
    bell: Sender<Bell>,
    listed: Listed,
    search: Search,
}

/// What the daemon asks of the thread that lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bell {
    /// Something changed.
    List,
    /// Tell of everything again.
    TellAll,
}

impl Source for Addresses {
    fn rescan(&self) {
        let _ = self.bell.send(Bell::TellAll);
    }

    fn version(&self, checkpoint: &Path) -> Option<Version> {
        self.search.version(checkpoint)
    }

    fn knows(&self, path: &Path) -> bool {
        self.listed.read().roots.iter().any(|root| path.starts_with(root))
    }

    fn changed(&self, _checkpoint: &Path) {
        let _ = self.bell.send(Bell::List);
    }

    fn objects(&self, checkpoint: &Path) -> Vec<Object> {
        let mut objects = self.listed.set(checkpoint);
        let learned = self.search.weights().files(checkpoint);
        objects.extend(learned.iter().filter_map(|file| self.listed.object(file)));
        objects
    }

    fn stamp(&self, file: &Path) -> Option<String> {
        if is_address(file) { self.listed.stamp(file) } else { stamp_of(file) }
    }

    fn learn(&self, checkpoint: &Path, weights: Vec<Part>) {
        self.search.weights().learn(checkpoint, weights);
    }
}

/// The last lists; clones share them.
#[derive(Debug, Clone, Default)]
struct Listed(Arc<RwLock<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// By their addresses.
    objects: BTreeMap<String, Object>,
    /// The watched addresses that were listed.
    roots: BTreeSet<PathBuf>,
}

impl Listed {
    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, address: &Path) -> Option<Object> {
        self.read().objects.get(address.to_str()?).cloned()
    }

    /// A checkpoint and what lies beside it for it: weights, and what it says of itself.
    fn set(&self, checkpoint: &Path) -> Vec<Object> {
        let Some(own) = self.object(checkpoint) else { return Vec::new() };
        std::iter::once(own).chain(beside(checkpoint).filter_map(|file| self.object(&file))).collect()
    }

    /// Takes a whole list of what lies below `root`.
    fn replace(&self, root: &Path, objects: Vec<Object>) {
        let below = format!("{}/", root.display());
        let mut listed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listed.objects.retain(|address, _| !address.starts_with(&below));
        listed.objects.extend(objects.into_iter().map(|object| (object.address.clone(), object)));
        listed.roots.insert(root.to_owned());
    }
}

impl Tree for Listed {
    fn list(&self, folder: &Path) -> std::io::Result<Listing> {
        let below = format!("{}/", folder.display());
        let mut listing = Listing::default();
        for address in self.read().objects.range(below.clone()..).map(|(address, _)| address) {
            let Some(rest) = address.strip_prefix(&below) else { break };
            if rest.starts_with('.') {
                continue;
            }
            match rest.split_once('/') {
                None => listing.files.push(address.into()),
                Some((name, _)) => {
                    let folder = PathBuf::from(format!("{below}{name}"));
                    if listing.folders.last() != Some(&folder) {
                        listing.folders.push(folder);
                    }
                }
            }
        }
        Ok(listing)
    }

    fn version(&self, checkpoint: &Path) -> Option<Version> {
        let set = self.set(checkpoint);
        // What it says of itself is no content.
        let parts = set.iter().filter(|object| object.path().extension().is_none_or(|ending| ending != "json"));
        let fingerprint = parts.map(Object::version).collect::<Vec<_>>().join("+");
        Some(Version { fingerprint, written: set.iter().map(Object::written).max()?, seen: None })
    }

    fn stamp(&self, file: &Path) -> Option<String> {
        self.object(file).map(|object| object.stamp())
    }
}

/// Watches the addresses `roots`, listing each every `interval`; `tell` turns news into the daemon's messages.
///
/// # Errors
/// `Io` if the thread cannot be set up.
pub fn spawn<M: Send + 'static>(
    roots: Vec<PathBuf>,
    search: Search,
    interval: Duration,
    sender: SyncSender<M>,
    tell: fn(News) -> M,
) -> Result<Addresses> {
    let fail = |source| Error::Io { path: "watching".into(), action: "set up", source };
    let listed = Listed::default();
    let search = search.over(Arc::new(listed.clone()));
    let (bell, asked) = channel();
    let watching = Watching {
        roots: roots.into_iter().map(Root::new).collect(),
        stores: Stores::default(),
        listed: listed.clone(),
        search: search.clone(),
        interval,
        noticed: HashSet::new(),
        // A daemon that is gone hears no news: the thread is about to end.
        tell: Box::new(move |news| drop(sender.send(tell(news)))),
    };
    // It may wait for a slow answer: nobody waits for its end.
    std::thread::Builder::new().name("source".to_owned()).spawn(move || watching.run(&asked)).map_err(fail)?;
    Ok(Addresses { bell, listed, search })
}

/// A watched address; one that cannot be listed keeps no other waiting.
struct Root {
    address: PathBuf,
    /// It was listed once.
    has_list: bool,
    /// Lists that failed in a row.
    failures: u32,
    /// When it is listed next.
    due: Instant,
    /// Checkpoints with hashes of the runs and versions that were told.
    known: HashMap<PathBuf, u64>,
}

impl Root {
    fn new(address: PathBuf) -> Self {
        Self { address, has_list: false, failures: 0, due: Instant::now(), known: HashMap::new() }
    }
}

struct Watching {
    roots: Vec<Root>,
    stores: Stores,
    listed: Listed,
    search: Search,
    interval: Duration,
    noticed: HashSet<String>,
    tell: Box<dyn Fn(News) + Send>,
}

impl Watching {
    fn run(mut self, asked: &Receiver<Bell>) {
        let mut is_caught_up = false;
        loop {
            let began = Instant::now();
            for k in 0..self.roots.len() {
                if self.roots[k].due <= began {
                    let had_list = self.roots[k].has_list;
                    self.list(k);
                    self.meet(k);
                    // What was below it is known to be gone, or there, from now on.
                    is_caught_up &= had_list || !self.roots[k].has_list;
                    self.roots[k].due = Instant::now() + self.pause(self.roots[k].failures);
                }
            }
            // Each was listed by now, or failed: nobody waits for an address that may never be there.
            if !is_caught_up {
                is_caught_up = true;
                (self.tell)(News::Caught);
            }
            let next = self.roots.iter().map(|root| root.due).min().unwrap_or(began + self.interval);
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(first) => {
                    let is_of_all = std::iter::once(first).chain(asked.try_iter()).any(|bell| bell == Bell::TellAll);
                    if is_of_all {
                        self.roots.iter_mut().for_each(|root| root.known.clear());
                        is_caught_up = false;
                    } else {
                        std::thread::sleep(SHORTEST_PAUSE.min(self.interval).saturating_sub(began.elapsed()));
                    }
                    for root in self.roots.iter_mut().filter(|root| is_of_all || root.failures == 0) {
                        root.due = Instant::now();
                    }
                }
            }
        }
    }

    /// How long to wait after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        let pause = self.interval.saturating_mul(1 << failures.min(8)).min(LONGEST_PAUSE.max(self.interval));
        let chance = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
        pause.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
    }

    /// Asks for a list; one that fails leaves the last as it was.
    fn list(&mut self, k: usize) {
        let root = &mut self.roots[k];
        let name = root.address.display().to_string();
        match self.stores.list(&root.address) {
            Ok(objects) => {
                let (is_empty, was_failing) = (objects.is_empty(), root.failures > 0);
                (root.has_list, root.failures) = (true, 0);
                self.listed.replace(&root.address, objects);
                if was_failing {
                    (self.tell)(News::Notice(format!("{name}: is listed again")));
                }
                if is_empty {
                    self.notice(format!("{name}: nothing lies there yet"));
                }
            }
            Err(error) => {
                root.failures = root.failures.saturating_add(1);
                if root.failures == 1 {
                    (self.tell)(News::Notice(format!("{}; trying again, ever more seldom", error.one_line())));
                }
            }
        }
    }

    /// Tells what is new in a list.
    fn meet(&mut self, k: usize) {
        let (mut met, mut known) = (Vec::new(), HashMap::new());
        // A list can always be walked.
        let _ = self.search.walk(&self.roots[k].address, &mut |one| met.push(one));
        for one in met {
            match one {
                Met::Checkpoint(found) => {
                    let mut hasher = DefaultHasher::new();
                    (&found.run, &found.version.fingerprint).hash(&mut hasher);
                    let version = hasher.finish();
                    known.insert(found.path.clone(), version);
                    if self.roots[k].known.get(&found.path) != Some(&version) {
                        // A file of this machine may be half written as it is listed.
                        let is_alone = scheme(&found.path) != Some("file") && self.listed.set(&found.path).len() == 1;
                        (self.tell)(News::Found(found, if is_alone { Rest::Renamed } else { Rest::Closed }));
                    }
                }
                Met::Run(folder) => {
                    if known.insert(folder.clone(), 0).or(self.roots[k].known.get(&folder).copied()).is_none() {
                        (self.tell)(News::Run(folder));
                    }
                }
                other => other.notice().into_iter().for_each(|text| self.notice(text)),
            }
        }
        self.roots[k].known = known;
    }

    fn notice(&mut self, text: String) {
        if self.noticed.insert(text.clone()) {
            (self.tell)(News::Notice(text));
        }
    }
}
