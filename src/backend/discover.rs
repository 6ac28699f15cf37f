//! Finding the ONNX Runtime library: named by the user, in the active Python environment, or installed in the system.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that may be ONNX Runtime, and why it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The library's file.
    pub path: PathBuf,
    /// Who named it: a flag, a variable, a Python environment, the system.
    pub origin: &'static str,
}

const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Whether the user's environment names a library.
pub(super) fn is_named() -> bool {
    named_by_variable().is_some()
}

fn named_by_variable() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The libraries to try, in order. One that is named, by `--onnxruntime` or `ORT_DYLIB_PATH`, is the only one.
pub fn candidates(named: Option<&Path>) -> Vec<Candidate> {
    if let Some(path) = named {
        return vec![Candidate { path: inside(path), origin: "--onnxruntime" }];
    }
    if let Some(path) = named_by_variable() {
        return vec![Candidate { path: inside(&path), origin: VARIABLE }];
    }
    searched(python_packages()).collect()
}

/// The first of them that is found without asking `python3`, which takes longer than all else.
pub(super) fn at_hand() -> Option<Candidate> {
    match named_by_variable() {
        Some(path) => Some(Candidate { path: inside(&path), origin: VARIABLE }),
        None => searched(packages_of_environments()).next(),
    }
}

/// Libraries in Python packages, then in the system.
fn searched(packages: Vec<PathBuf>) -> impl Iterator<Item = Candidate> {
    let python = packages.into_iter().filter_map(|package| library_in(&package.join("capi")));
    let python = python.map(|path| Candidate { path, origin: "the active Python environment" });
    let system = system_folders().into_iter().filter_map(|folder| library_in(&folder));
    let system = system.map(|path| Candidate { path, origin: "the system's library path" });
    python.chain(system)
}

/// A folder stands for the library in it, or for the one in a Python package.
fn inside(path: &Path) -> PathBuf {
    library_in(path).or_else(|| library_in(&path.join("capi"))).unwrap_or_else(|| path.to_owned())
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let is_library = |name: &str| {
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.") || name == "libonnxruntime.dylib"
    };
    let entries = folder.read_dir().ok()?;
    let libraries = entries.flatten().map(|entry| entry.path());
    libraries.filter(|path| path.file_name().is_some_and(|name| is_library(&name.to_string_lossy()))).max()
}

/// Folders of the `onnxruntime` package in the active Python environment; asks `python3` where no environment is set.
fn python_packages() -> Vec<PathBuf> {
    if asks_python() { asked_of_python().into_iter().collect() } else { packages_of_environments() }
}

/// Whether only `python3` knows where the package would be.
pub(super) fn asks_python() -> bool {
    environments().is_empty()
}

fn packages_of_environments() -> Vec<PathBuf> {
    site_packages().into_iter().map(|folder| folder.join("onnxruntime")).filter(|package| package.is_dir()).collect()
}

/// Folders of packages in the active Python environments.
pub(super) fn site_packages() -> Vec<PathBuf> {
    let versions = environments().into_iter().flat_map(|prefix| prefix.join("lib").read_dir()).flatten().flatten();
    versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python"))
        .map(|entry| entry.path().join("site-packages"))
        .collect()
}

fn environments() -> Vec<PathBuf> {
    let named = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    own_environment().into_iter().chain(named).collect()
}

/// The Python environment that this very command was installed into, whether active or not.
fn own_environment() -> Option<PathBuf> {
    let prefix = env::current_exe().ok()?.parent()?.parent()?.to_owned();
    prefix.join("pyvenv.cfg").exists().then_some(prefix)
}

fn asked_of_python() -> Option<PathBuf> {
    // `find_spec` finds the package without importing it; -I keeps the current folder out of the search.
    let script = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')";
    let output = Command::new("python3").args(["-I", "-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim()).filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn system_folders() -> Vec<PathBuf> {
    let listed = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let fixed = [
        "/usr/local/lib",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/opt/homebrew/lib",
    ];
    env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).chain(fixed.map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_stands_for_the_newest_library_in_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let capi = folder.path().join("capi");
        std::fs::create_dir(&capi).expect("created");
        for name in ["libonnxruntime.so.1.20.0", "libonnxruntime.so.1.22.1", "libonnxruntime_providers_shared.so"] {
            std::fs::write(capi.join(name), "").expect("written");
        }
        let found = candidates(Some(folder.path()));
        assert_eq!(found, [Candidate { path: capi.join("libonnxruntime.so.1.22.1"), origin: "--onnxruntime" }]);
    }

    #[test]
    fn a_named_file_is_taken_as_it_is() {
        let found = candidates(Some(Path::new("/no/such/library.so")));
        assert_eq!(found[0].path, Path::new("/no/such/library.so"));
    }
}
