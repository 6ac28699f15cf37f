//! What CUDA needs on a machine: a GPU that is not hidden, its driver, and NVIDIA's libraries.

use std::error::Error as _;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use ort::util::preload_dylib;
use serde::Serialize;

use super::discover::site_packages;
use super::{Runtime, elf};
use crate::path;

/// The NVIDIA driver and its GPUs, hidden ones too.
#[derive(Debug, Clone, Serialize)]
pub struct Driver {
    /// Its version.
    pub version: String,
    /// The newest CUDA that it runs, major and minor.
    pub cuda: (i32, i32),
    /// Name and memory of each GPU.
    pub gpus: Vec<String>,
}

/// Asks the NVIDIA driver; `None` where there is none, or it does not answer.
pub fn driver() -> Option<Driver> {
    let ask = || -> Result<Driver, NvmlError> {
        let nvml = Nvml::init()?;
        let cuda = nvml.sys_cuda_driver_version()?;
        // What a GPU does not tell, such as a memory that it shares, hides nothing else.
        let gpus = (0..nvml.device_count()?).map(|index| {
            let gpu = nvml.device_by_index(index).ok();
            let name = gpu.as_ref().and_then(|gpu| gpu.name().ok());
            let memory = gpu.and_then(|gpu| gpu.memory_info().ok()).map(|memory| bytesize::ByteSize(memory.total));
            let memory = memory.map_or_else(String::new, |memory| format!(", {memory}"));
            format!("{}{memory}", name.unwrap_or_else(|| format!("GPU {index}")))
        });
        Ok(Driver {
            version: nvml.sys_driver_version()?,
            cuda: (cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda)),
            gpus: gpus.collect(),
        })
    };
    ask().ok()
}

/// Brings ONNX Runtime with CUDA and what it needs.
pub const INSTALL: &str = "pip install 'onnxruntime-gpu[cuda,cudnn]'";

/// What keeps this library from CUDA, each with what mends it; nothing where CUDA can be tried.
///
/// Loads NVIDIA's libraries from the Python packages beside ONNX Runtime on the way: its CUDA provider looks for them where the
/// system does, and takes those that are loaded.
pub fn lacks(runtime: &Runtime) -> Vec<String> {
    // A process has one runtime, and what it loaded stays: a worker need not look again at each checkpoint.
    static NOTHING: AtomicBool = AtomicBool::new(false);
    if NOTHING.load(Ordering::Relaxed) {
        return Vec::new();
    }
    if !runtime.has_cuda() {
        return vec![format!("an ONNX Runtime built with CUDA: {INSTALL} in place of onnxruntime")];
    }
    let provider = runtime.path.with_file_name("libonnxruntime_providers_cuda.so");
    let needed = match needed(&provider) {
        Ok(needed) => needed,
        Err(reason) => return vec![format!("{}: {reason}: reinstall onnxruntime-gpu", provider.display())],
    };
    let version = cuda_version(&needed);
    let visible = std::env::var_os(VISIBLE);
    let hidden = visible.filter(|visible| hides_all(visible)).map(|visible| {
        format!("a GPU to see: {VISIBLE}={} hides all: unset it, or name one", visible.to_string_lossy())
    });
    let libraries = load(&needed, version, &packages(&runtime.path));
    let outdated = driver().and_then(|driver| outdated(&driver, version));
    let all: Vec<_> = hidden.into_iter().chain(libraries).chain(outdated).collect();
    NOTHING.store(all.is_empty(), Ordering::Relaxed);
    all
}

/// How many GPUs CUDA shows a program here, which calls them 0, 1 and so on.
pub fn visible_gpus() -> usize {
    let gpus = driver().map_or(0, |driver| driver.gpus.len());
    std::env::var_os(VISIBLE).map_or(gpus, |visible| shown(&visible, gpus))
}

/// Names of the GPUs by the driver's files, which it need not be loaded for; `None` where there are none, or all are hidden.
pub(super) fn gpus_at_hand() -> Option<String> {
    let visible = std::env::var_os(VISIBLE);
    if visible.as_ref().is_some_and(|visible| hides_all(visible)) {
        return None;
    }
    let folders = Path::new("/proc/driver/nvidia/gpus").read_dir().into_iter().flatten().flatten();
    let mut folders: Vec<_> = folders.map(|folder| folder.path()).collect();
    folders.sort();
    let name = |folder: PathBuf| model(&std::fs::read_to_string(folder.join("information")).ok()?);
    let mut names: Vec<_> = folders.into_iter().filter_map(name).collect();
    if names.is_empty() && Path::new("/dev/nvidia0").exists() {
        // A container may have the device without the driver's files.
        names.push("a GPU".to_owned());
    }
    let mut names = (!names.is_empty()).then(|| names.join(" + "))?;
    if let Some(visible) = visible {
        names += &format!(" ({VISIBLE}={})", visible.to_string_lossy());
    }
    Some(names)
}

/// A GPU's name in what the driver says of it.
fn model(information: &str) -> Option<String> {
    let name = information.lines().find_map(|line| line.strip_prefix("Model:"))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
const DRIVER: &str = "libcuda.so.1";

fn hides_all(visible: &OsStr) -> bool {
    shown(visible, usize::MAX) == 0
}

/// CUDA sees the devices listed before the first that does not exist, of so many GPUs.
fn shown(visible: &OsStr, gpus: usize) -> usize {
    let visible = visible.to_string_lossy();
    let exists = |device: &&str| match (device.trim(), device.trim().parse::<usize>()) {
        ("" | "NoDevFiles", _) => false,
        (_, Ok(number)) => number < gpus,
        // By another name, or a number below 0.
        (name, Err(_)) => !name.starts_with('-'),
    };
    visible.split(',').take_while(exists).count()
}

/// A driver runs the CUDA of its own major version and all before.
fn outdated(driver: &Driver, version: u32) -> Option<String> {
    let Driver { version: own, cuda: (major, minor), .. } = driver;
    let is_older = u32::try_from(*major).is_ok_and(|major| major < version);
    let older = if *major == 12 { ", or pip install 'onnxruntime-gpu[cuda,cudnn]<1.27'" } else { "" };
    is_older.then(|| format!("a driver for CUDA {version}: {own} runs CUDA {major}.{minor} at most: update it{older}"))
}

/// NVIDIA's libraries that the CUDA provider is linked with, and those that it opens for every network.
fn needed(provider: &Path) -> Result<Vec<String>, String> {
    let mut names = elf::needed(provider)?;
    names.retain(|name| name == DRIVER || package(name).is_some());
    // Older providers are linked with cuDNN, newer ones with the driver; all need both.
    for (stem, name) in [("libcuda.", DRIVER), ("libcudnn.", "libcudnn.so.9")] {
        if !names.iter().any(|name| name.starts_with(stem)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The CUDA that a provider is for, by its major version: that of the libraries that count with it.
fn cuda_version(needed: &[String]) -> u32 {
    let version = |name: &String| -> Option<u32> {
        name.strip_prefix("libcudart.so.").or_else(|| name.strip_prefix("libcublas.so."))?.parse().ok()
    };
    needed.iter().find_map(version).unwrap_or(12)
}

/// Folders of libraries in NVIDIA's Python packages, those beside ONNX Runtime's first: `nvidia/cu13/lib`, before CUDA 13
/// `nvidia/cublas/lib` and so on.
fn packages(library: &Path) -> Vec<PathBuf> {
    let beside = library.ancestors().nth(3).map(Path::to_owned);
    let environments = beside.into_iter().chain(site_packages());
    let parts = environments.flat_map(|folder| folder.join("nvidia").read_dir()).flatten().flatten();
    parts.map(|part| part.path().join("lib")).filter(|folder| folder.is_dir()).collect()
}

/// Loads what is `needed`, from `folders` where it lies there; gives what could not be loaded and what mends that.
fn load(needed: &[String], version: u32, folders: &[PathBuf]) -> Vec<String> {
    let in_folders = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    // Opened for some networks: taken where they are there.
    let others = [format!("libnvrtc.so.{version}"), format!("libcufft.so.{}", version - 1)];
    let mut waiting: Vec<_> = needed.iter().map(|name| in_folders(name).unwrap_or_else(|| name.into())).collect();
    waiting.extend(others.iter().filter_map(|name| in_folders(name)));
    let mut lacks = Vec::new();
    waiting.retain(|path| {
        // Those that have but a name are looked for by the linker.
        let is_found = path.parent() != Some(Path::new(""));
        let Some(reason) = elf::whole(path).err().filter(|_| is_found) else { return true };
        lacks.push(lack(&file_name(path), &reason, version));
        false
    });
    // They need each other: again, as long as that loads more.
    let mut before = usize::MAX;
    while waiting.len() < before {
        before = waiting.len();
        waiting.retain(|path| preload_dylib(path).is_err());
    }
    for path in waiting {
        // The linker blames the library that is missing or damaged, be it this one or one that it needs.
        let Err(error) = preload_dylib(&path) else { continue };
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let (blamed, reason) = text.split_once(": ").unwrap_or(("", &text));
        let lack = lack(&file_name(Path::new(blamed)), reason, version);
        if !lacks.contains(&lack) {
            lacks.push(lack);
        }
    }
    lacks
}

fn file_name(path: &Path) -> String {
    path::text(path.file_name().unwrap_or_default().as_ref())
}

/// What mends a library that the linker cannot load for a `reason`.
fn lack(library: &str, reason: &str, version: u32) -> String {
    let is_missing = reason.starts_with("cannot open shared object file");
    match package(library) {
        _ if library == DRIVER => {
            format!("the NVIDIA driver ({library}): install it; a container is started with --gpus all")
        }
        None => format!("{library}: {reason}"),
        Some(package) => {
            // From CUDA 13 on only cuDNN's name tells the version; 9 is what its package has without one.
            let suffix = match (package, version) {
                (CUDNN, _) if library.ends_with(".so.8") => format!("-cu{version}==8.*"),
                (CUDNN, _) | (_, ..13) => format!("-cu{version}"),
                _ => String::new(),
            };
            let again = if is_missing { "" } else { " --force-reinstall" };
            let damage = if is_missing { String::new() } else { format!("{reason}: ") };
            let package = format!("{package}{suffix}");
            let package = if suffix.contains('*') { format!("'{package}'") } else { package };
            format!("{library}: {damage}pip install{again} {package}")
        }
    }
}

const CUDNN: &str = "nvidia-cudnn";

/// NVIDIA's package on `PyPI` that holds a library, without the CUDA version; `None` for libraries of others.
fn package(library: &str) -> Option<&'static str> {
    let (stem, _) = library.split_once(".so.")?;
    match stem {
        "libcudart" => Some("nvidia-cuda-runtime"),
        "libcublas" | "libcublasLt" => Some("nvidia-cublas"),
        "libcufft" => Some("nvidia-cufft"),
        "libcurand" => Some("nvidia-curand"),
        "libnvrtc" => Some("nvidia-cuda-nvrtc"),
        "libnvJitLink" => Some("nvidia-nvjitlink"),
        _ => stem.starts_with("libcudnn").then_some(CUDNN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_devices_hides_all_if_its_first_does_not_exist() {
        for (visible, hidden) in [("", true), ("-1", true), (" ", true), ("NoDevFiles", true), ("-1,0", true)] {
            assert_eq!(hides_all(visible.as_ref()), hidden, "{visible}");
        }
        for visible in ["0", "1,-1", "GPU-8932f937", "MIG-1"] {
            assert!(!hides_all(visible.as_ref()), "{visible}");
        }
        for (visible, count) in [("0,1,2", 2), ("1", 1), ("1,-1,0", 1), ("5,0", 0), ("GPU-1, GPU-2", 2), ("", 0)] {
            assert_eq!(shown(visible.as_ref(), 2), count, "{visible}");
        }
    }

    #[test]
    fn a_gpu_has_a_name_in_the_drivers_files() {
        let information = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 18\nGPU UUID: \t GPU-1\n";
        assert_eq!(model(information).as_deref(), Some("NVIDIA H200"));
        assert_eq!((model("IRQ: 18\n"), model("Model: \n")), (None, None));
    }

    #[test]
    fn a_driver_runs_its_own_cuda_and_older_ones() {
        let driver = |major| Driver { version: "535.104.05".to_owned(), cuda: (major, 2), gpus: Vec::new() };
        assert_eq!(outdated(&driver(12), 12), None);
        assert_eq!(outdated(&driver(13), 12), None);
        let told = outdated(&driver(12), 13).expect("outdated");
        assert!(told.contains("CUDA 13") && told.contains("535.104.05 runs CUDA 12.2"), "{told}");
    }

    #[test]
    fn packages_are_named_as_on_pypi() {
        let missing =
            |library, version| lack(library, "cannot open shared object file: No such file or directory", version);
        assert_eq!(missing("libcublasLt.so.13", 13), "libcublasLt.so.13: pip install nvidia-cublas");
        assert_eq!(missing("libcublasLt.so.12", 12), "libcublasLt.so.12: pip install nvidia-cublas-cu12");
        assert_eq!(missing("libcudnn.so.9", 13), "libcudnn.so.9: pip install nvidia-cudnn-cu13");
        assert_eq!(missing("libcudnn.so.8", 12), "libcudnn.so.8: pip install 'nvidia-cudnn-cu12==8.*'");
        assert_eq!(missing("libz.so.1", 13), "libz.so.1: cannot open shared object file: No such file or directory");
        let damaged = lack("libcudart.so.13", "file too short", 13);
        assert_eq!(damaged, "libcudart.so.13: file too short: pip install --force-reinstall nvidia-cuda-runtime");
    }
}
