//! `relstab init`: the settings of a new run, from a look at its images and a network.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::terminal::{complain, print, with_progress};
use crate::backend::{self, Engine};
use crate::config::{Config, FILE_NAME, Flags, Perturbation};
use crate::error::{Error, ExitCode, Result};
use crate::path::RawPath;
use crate::start::{Look, Place, look, text};
use crate::store::address::is_address;
use crate::text::{visible, word};
use crate::watch::kinds::Kinds;
use crate::watch::scan::{Search, checkpoints};

/// What the copy of the probe images is called.
const PROBE: &str = "probe.npz";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's directory; made if it is not there
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Probe images, as of `relstab measure`; copied into RUN unless they lie there
    #[arg(long, value_name = "SRC")]
    probe: PathBuf,
    /// The network to look at [default: the last checkpoint in RUN]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Images to choose and copy, by class where they have labels [default: 1000, or all there are]
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Engine that runs the network
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    backend: Engine,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if is_address(&args.run) {
        let expected = "a directory, whose relstab.toml and probe images you then copy beside the checkpoints";
        return Err(Error::setting("RUN", expected, args.run.display()));
    }
    let config = args.run.join(FILE_NAME);
    free(&config, "it is measured as that says: relstab watch RUN; move it away to begin anew")?;
    let inside = inside(&args.run, &args.probe);
    let copy = args.run.join(PROBE);
    if inside.is_none() {
        free(&copy, "give it as --probe, or move it away")?;
    }
    let backend = backend::Options { engine: args.backend, ..backend::Options::default() };
    let perturbation = Perturbation { images: args.images, ..Perturbation::default() };
    let flags = Flags { probe: Some(RawPath(args.probe.clone())), backend, perturbation, ..Flags::default() };
    let setup = flags.plan(&Config::default(), Path::new(""))?.load()?;
    let path = args.model.clone().map_or_else(|| last(&args.run), |model| Ok(Some(model)))?;
    let model = path.as_deref().map(|path| setup.read(path)).transpose()?;
    let network = model.as_ref().map(|model| model.signature().0);
    let look = with_progress(|progress| look(&setup, model, progress))?;

    std::fs::create_dir_all(&args.run).map_err(Error::io(&args.run, "create"))?;
    let mut made = Vec::new();
    if inside.is_none() {
        let size = copied(&look, &copy)?;
        made.push(format!(
            "{}: {} images, {}",
            copy.display(),
            look.set.len(),
            bytesize::ByteSize(size).display().si()
        ));
    }
    let place = Place {
        probe: inside.as_deref().unwrap_or(PROBE),
        copied_from: inside.is_none().then_some(args.probe.as_path()),
    };
    let text = text(&look, &place, path.as_deref());
    let written = File::create_new(&config).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Error::io(&config, "create"))?;
    made.push(config.display().to_string());
    print(&told(args, &look, path.as_deref().zip(network).as_ref(), &made))?;
    Ok(ExitCode::Success)
}

/// Nothing is ever written over.
fn free(path: &Path, next: &str) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::setting("RUN", "a directory where nothing would be overwritten", format!("{} ({next})", path.display())))
}

/// The path of the probe images from the run's directory, if they lie in it.
fn inside(run: &Path, probe: &Path) -> Option<String> {
    let (run, probe) = (run.canonicalize().ok()?, probe.canonicalize().ok()?);
    let inside = probe.strip_prefix(run).ok()?.to_str()?.to_owned();
    Some(if inside.is_empty() { ".".to_owned() } else { inside })
}

/// The checkpoint that was trained longest, if there is one.
fn last(run: &Path) -> Result<Option<PathBuf>> {
    if !run.exists() {
        return Ok(None);
    }
    let found = checkpoints(&Search::new(false, Kinds::new(None, false)?), run, &mut |text| complain("note", text))?;
    Ok(found.into_iter().next_back().map(|found| found.path))
}

/// Writes the chosen images; `relstab.toml` cannot say in which order their axes are, so that must be plain.
fn copied(look: &Look, path: &Path) -> Result<u64> {
    let shape = look.set.shape();
    if !(1..=4).contains(&shape.channels) || (1..=4).contains(&shape.width) {
        let expected =
            "images of 1 to 4 channels and more than 4 columns (others: relstab watch RUN --probe SRC --layout ...)";
        return Err(Error::probe(path, expected, shape.to_string()));
    }
    look.set.save(path)
}

fn told(args: &Args, look: &Look, network: Option<&(&Path, String)>, made: &[String]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("{name:<10} {}\n", visible(&value));
    match network {
        Some((path, input)) => row("network", format!("{}: takes {input}", path.display())),
        None => row("network", "none yet: the images alone were looked at".to_owned()),
    }
    let kind = if look.set.is_bytes() { "bytes, read as 0 to 1" } else { "floats" };
    row("images", format!("{} of {}, {kind}", look.set.len(), look.set.shape()));
    for (channel, range) in look.channels.iter().enumerate() {
        row("", format!("channel {channel}: {:.3} to {:.3}, mean {:.3}", range.min, range.max, range.mean));
    }
    row("labels", look.classes().map_or("none".to_owned(), |classes| format!("of {classes} classes")));
    for (k, line) in look.told().into_iter().enumerate() {
        row(if k == 0 { "preprocess" } else { "" }, line);
    }
    for (k, made) in made.iter().enumerate() {
        row(if k == 0 { "wrote" } else { "" }, made.clone());
    }
    let doctor = network
        .map(|(path, _)| format!("relstab doctor {}   # what the network sees, and what looks wrong", word(path)));
    let watch = format!("relstab watch {} --http 127.0.0.1:7878   # each checkpoint as it lands", word(&args.run));
    for (k, command) in doctor.into_iter().chain([watch]).enumerate() {
        row(if k == 0 { "next" } else { "" }, command);
    }
    text
}
