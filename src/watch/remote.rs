//! What a worker brings from object stores before it reads it: settings, probe images, networks.

use std::path::{Path, PathBuf};

use super::protocol::RunOf;
use super::weights::{Part, beside, stamp_of};
use crate::backend::weights_beside;
use crate::config::{FILE_NAME, RunPlan};
use crate::error::{Error, Result};
use crate::path::RawPath;
use crate::plan::Plan;
use crate::probe;
use crate::store::address::{Object, digest, is_address};
use crate::store::cache::{Cache, Fetched};

/// How often what changes while it is fetched is fetched again.
const ATTEMPTS: usize = 3;

/// A worker's way to object stores, opened when the first address is met.
#[derive(Default)]
pub struct Remote {
    cache: Option<Cache>,
}

impl Remote {
    /// Copies lie below `folder` rather than in the user's state folder.
    ///
    /// # Errors
    /// As [`Cache::below`].
    pub fn below(folder: &Path) -> Result<Self> {
        Ok(Self { cache: Some(Cache::below(folder)?) })
    }

    fn cache(&mut self) -> Result<&mut Cache> {
        match &mut self.cache {
            Some(cache) => Ok(cache),
            none => Ok(none.insert(Cache::open()?)),
        }
    }

    /// Copies of these objects; `None` if one of them is not what it was any more. What `have` holds of them is not brought again.
    ///
    /// # Errors
    /// As [`Cache::fetch`].
    pub fn fetch(&mut self, objects: &[Object], have: Option<&Fetched>) -> Result<Option<Fetched>> {
        self.cache()?.fetch(objects, have)
    }

    /// Copies of what is there now, as `find` tells.
    fn fetch_present(
        &mut self,
        address: &Path,
        find: impl Fn(&mut Cache) -> Result<Vec<Object>>,
    ) -> Result<(Fetched, Vec<Object>)> {
        let cache = self.cache()?;
        for _ in 0..ATTEMPTS {
            let objects = find(cache)?;
            if let Some(fetched) = cache.fetch(&objects, None)? {
                return Ok((fetched, objects));
            }
        }
        Err(changing(address))
    }

    /// The plan of a run by its settings as they are, and what was brought for it. What lies in a store is named by its address.
    ///
    /// # Errors
    /// As [`crate::config::Flags::run_plan`] and [`Cache::fetch`]; in their text, and in the paths of what `relstab.toml` names, copies
    /// stand for addresses.
    pub fn run_plan(&mut self, of: &RunOf) -> (Option<Fetched>, Result<RunPlan>, Vec<RawPath>) {
        let fetched = if is_address(&of.run.0) {
            match self.settings(of) {
                Ok(fetched) => Some(fetched),
                Err(error) => return (None, Err(error), Vec::new()),
            }
        } else {
            None
        };
        let local = |path: &RawPath| fetched.as_ref().map_or_else(|| path.0.clone(), |fetched| fetched.local(&path.0));
        let (config, folder) = match of.flags.config_of(&local(&of.run), &local(&of.root)) {
            Ok(found) => found,
            Err(error) => return (fetched, Err(error), Vec::new()),
        };
        let mut planned = of.flags.run_plan_by(&config, &folder);
        if let (Ok(RunPlan { plan, .. }), Some(fetched)) = (&mut planned, &fetched)
            && let Some(address) = fetched.address(&plan.probe.0)
        {
            (plan.probe.0, plan.within) = (address, None);
        }
        let probe = config.probe.as_ref().map(|probe| folder.join(probe));
        let files = config.preprocess.file(&folder).into_iter().chain(probe).map(RawPath).collect();
        (fetched, planned, files)
    }

    /// Copies of a run's `relstab.toml`, of those above it, and of a preset's file that one names.
    fn settings(&mut self, of: &RunOf) -> Result<Fetched> {
        let all = |cache: &mut Cache| {
            let folders = of.run.0.ancestors().take_while(|folder| folder.starts_with(&of.root.0));
            let found = folders.filter_map(|folder| cache.find(&folder.join(FILE_NAME)).transpose());
            found.collect::<Result<Vec<_>>>()
        };
        let (fetched, _) = self.fetch_present(&of.run.0, all)?;
        let named = of.flags.config_of(&fetched.local(&of.run.0), &fetched.local(&of.root.0));
        let preset = named.ok().and_then(|(config, folder)| fetched.address(&config.preprocess.file(&folder)?));
        let Some(preset) = preset else { return Ok(fetched) };
        let with_preset = |cache: &mut Cache| Ok(all(cache)?.into_iter().chain(cache.find(&preset)?).collect());
        Ok(self.fetch_present(&of.run.0, with_preset)?.0)
    }

    /// What a plan's probe images are now; `None` where there are none.
    ///
    /// # Errors
    /// `Store` if a store does not tell.
    pub fn probe(&mut self, probe: &Path) -> Result<Option<String>> {
        if !is_address(probe) {
            return Ok(stamp_of(probe));
        }
        let objects = images(self.cache()?, probe)?;
        Ok((!objects.is_empty()).then(|| digest(&objects, Object::stamp)))
    }

    /// Brings what a plan's probe images lie in, and has the plan name the copies.
    ///
    /// # Errors
    /// `Store` if a store does not give them.
    pub fn bring_probe(&mut self, plan: &mut Plan) -> Result<Option<Fetched>> {
        let address = plan.probe.0.clone();
        if !is_address(&address) {
            return Ok(None);
        }
        let (fetched, _) = self.fetch_present(&address, |cache| images(cache, &address))?;
        plan.probe.0 = fetched.local(&address);
        Ok(Some(fetched))
    }

    /// Brings the network at `address`, with what is read beside it.
    ///
    /// # Errors
    /// As [`Cache::fetch`].
    pub fn bring_network(&mut self, address: &Path) -> Result<Fetched> {
        let names: Vec<PathBuf> = std::iter::once(address.to_owned()).chain(beside(address)).collect();
        let set = |cache: &mut Cache| {
            names.iter().filter_map(|name| cache.find(name).transpose()).collect::<Result<Vec<_>>>()
        };
        let (fetched, objects) = self.fetch_present(address, set)?;
        let more = self.weights(&fetched, address)?;
        if more.is_empty() {
            return Ok(fetched);
        }
        let all = [objects, more].concat();
        self.fetch(&all, Some(&fetched))?.ok_or_else(|| changing(address))
    }

    /// The objects that hold weights of the network at `address` under names that only the network tells, and that were not brought.
    ///
    /// # Errors
    /// `Store` if a store does not tell.
    pub fn weights(&mut self, fetched: &Fetched, address: &Path) -> Result<Vec<Object>> {
        // What is wrong with it is said where it is measured.
        let named = weights_beside(&fetched.local(address)).unwrap_or_default();
        let missing: Vec<_> =
            named.iter().filter(|file| !file.exists()).filter_map(|file| fetched.address(file)).collect();
        let cache = self.cache()?;
        missing.iter().filter_map(|address| cache.find(address).transpose()).collect()
    }
}

fn changing(address: &Path) -> Error {
    Error::Store { address: address.to_owned(), action: "fetch", reason: "it changes again and again".to_owned() }
}

/// The objects that probe images lie in, with labels beside them.
fn images(cache: &mut Cache, probe: &Path) -> Result<Vec<Object>> {
    let mut objects = cache.find_all(probe)?;
    if objects.len() == 1 {
        for labels in probe::labels_beside(probe) {
            objects.extend(cache.find(&labels)?);
        }
    }
    Ok(objects)
}

/// The parts by their addresses, as these objects have them.
pub fn addressed(parts: &[Part], fetched: &Fetched, objects: &[Object]) -> Vec<Part> {
    let of = |part: &Part| {
        let address = fetched.address(part.file())?;
        let object = objects.iter().find(|object| object.path() == address)?;
        Some(Part::at(address, object.stamp()))
    };
    parts.iter().filter_map(of).collect()
}
