//! A folder of image files: one sub-folder a class, as torchvision's and Hugging Face's `ImageFolder`, or flat.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::contents::{Catalogue, Encoded};
use crate::error::{Error, Result};
use crate::path;

const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp"];
/// Images that are not read.
const OTHERS: [&str; 8] = ["tif", "tiff", "gif", "ppm", "pgm", "avif", "heic", "jp2"];
/// Lists in which data sets keep labels.
const LISTS: [&str; 4] = ["csv", "tsv", "json", "jsonl"];
/// Endings of files that hold many images.
const ARRAYS: [&str; 4] = [".npz", ".npy", "-ubyte", "-ubyte.gz"];
/// Files that are named.
const NAMED: usize = 3;
/// Names that split a data set: folders of them are no classes.
const SPLITS: [&str; 10] =
    ["train", "training", "val", "valid", "validation", "test", "testing", "eval", "evaluation", "dev"];

struct Files {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

/// Lists the folder; classes are numbered in the order of their names.
pub fn open(root: &Path) -> Result<Catalogue> {
    let (folders, flat): (Vec<_>, Vec<_>) = entries(root, 1)?.into_iter().partition(|entry| entry.file_type().is_dir());
    let (images, mut passed_over): (Vec<_>, Vec<_>) = flat.into_iter().partition(is_image);
    let mut paths: Vec<_> = images.into_iter().map(DirEntry::into_path).collect();
    let mut notes = Vec::new();
    let mut labels = None;
    if paths.is_empty() {
        let names: Vec<_> = folders.iter().map(|folder| path::text(folder.file_name().as_ref())).collect();
        refuse_parts(root, &names)?;
        let mut classes = Vec::new();
        for (class, folder) in folders.iter().enumerate() {
            let found = entries(folder.path(), usize::MAX)?;
            if folders.len() == 1 {
                refuse_classes_below(root, folder, &found)?;
            }
            let (images, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(is_image);
            paths.extend(images.into_iter().map(DirEntry::into_path));
            passed_over.extend(rest);
            classes.resize(paths.len(), class as u32);
        }
        if let [only] = &names[..] {
            notes.push(format!(
                "all images lie in one sub-folder, {only}: it is taken for no class, and there are no labels"
            ));
        } else {
            notes.extend(numbers_out_of_order(&names));
            labels = Some(classes);
        }
    } else if !folders.is_empty() {
        notes.push(format!("only the images of {} itself are read, not those of its sub-folders", root.display()));
    }
    if paths.is_empty() {
        return Err(Error::probe(
            root,
            "images (PNG, JPEG, WebP, BMP)",
            "a folder without any".to_owned() + &others(root)?,
        ));
    }
    if labels.is_none()
        && let Some(list) = passed_over.iter().find(|entry| is_of(entry, &LISTS))
    {
        let name = path::text(list.file_name().as_ref());
        notes.push(format!("{name} is not read: labels come from one sub-folder for each class"));
    }
    passed_over.retain(|entry| is_of(entry, &OTHERS));
    if let Some(first) = passed_over.first() {
        let name = path::text(first.path().strip_prefix(root).unwrap_or(first.path()));
        notes.push(format!(
            "{} files are passed over, of kinds that are not read ({name}): PNG, JPEG, WebP, BMP are",
            passed_over.len()
        ));
    }
    let count = paths.len();
    Ok(Catalogue { images: Box::new(Files { root: root.to_owned(), paths }), count, labels, notes })
}

/// What is expected of a folder of folders.
const CLASSES: &str = "images, or one sub-folder for each class";

/// Refuses folders that hold the parts of a data set.
fn refuse_parts(root: &Path, names: &[String]) -> Result<()> {
    let parts: Vec<_> = names.iter().filter(|name| SPLITS.contains(&name.to_lowercase().as_str())).cloned().collect();
    if parts.len() > 1 {
        return Err(Error::probe(root, CLASSES, format!("the folders {}: name one of them", parts.join(", "))));
    }
    Ok(())
}

/// Refuses a single folder in which what was `found` are folders: they are the classes.
fn refuse_classes_below(root: &Path, only: &DirEntry, found: &[DirEntry]) -> Result<()> {
    let mut inside = found.iter().filter(|entry| entry.depth() == 1);
    if inside.clone().any(is_image) || !inside.any(|entry| entry.file_type().is_dir()) {
        return Ok(());
    }
    let (name, path) = (path::text(only.file_name().as_ref()), only.path().display());
    Err(Error::probe(root, CLASSES, format!("one folder, {name}, that holds folders: name {path}")))
}

/// Files of a folder without images that hold some, to be named.
fn others(root: &Path) -> Result<String> {
    let holds = |path: &Path| {
        let name = path.to_string_lossy();
        ARRAYS.iter().any(|ending| name.ends_with(ending))
    };
    let names = entries(root, 1)?.into_iter().filter(|entry| entry.file_type().is_file() && holds(entry.path()));
    let names: Vec<_> = names.take(NAMED).map(|entry| path::text(entry.file_name().as_ref())).collect();
    if names.is_empty() {
        return Ok(" (name the folder or the file that holds them)".to_owned());
    }
    Ok(format!(", but {}: name the file", names.join(", ")))
}

/// Folder 10 comes before folder 2, there as here: a network trained on numbers means other classes.
fn numbers_out_of_order(names: &[String]) -> Option<String> {
    let numbers: Vec<u64> = names.iter().map(|name| name.parse().ok()).collect::<Option<_>>()?;
    (!numbers.is_sorted()).then(|| {
        let class = numbers.windows(2).position(|pair| pair[0] > pair[1]).map_or(0, |place| place + 1);
        format!(
            "classes are numbered in the order of their names, as torchvision does: folder {} is class {class}",
            numbers[class]
        )
    })
}

fn entries(folder: &Path, depth: usize) -> Result<Vec<DirEntry>> {
    let walk = WalkDir::new(folder).min_depth(1).max_depth(depth).follow_links(true).sort_by_file_name();
    let is_shown = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let listed = walk.into_iter().filter_entry(is_shown).collect::<std::result::Result<Vec<_>, _>>();
    listed.map_err(|error| {
        let place = error.path().unwrap_or(folder).to_owned();
        Error::io(&place, "list")(error.into())
    })
}

fn is_image(entry: &DirEntry) -> bool {
    is_of(entry, &EXTENSIONS)
}

fn is_of(entry: &DirEntry, extensions: &[&str]) -> bool {
    entry.file_type().is_file() && ends_in(&entry.file_name().to_string_lossy(), extensions)
}

/// Whether a file is taken for an image by its name.
pub fn has_image_name(name: &str) -> bool {
    ends_in(name, &EXTENSIONS)
}

fn ends_in(name: &str, extensions: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension.to_lowercase().as_str()))
}

impl Encoded for Files {
    fn name(&self, index: usize) -> String {
        let path = &self.paths[index];
        path::text(path.strip_prefix(&self.root).unwrap_or(path))
    }

    fn read(&self, indices: &[usize]) -> Vec<std::result::Result<Vec<u8>, String>> {
        indices.iter().map(|index| std::fs::read(&self.paths[*index]).map_err(|error| error.to_string())).collect()
    }
}

/// The files of a folder that have this extension, in the order of their names; refused where they are of several splits.
pub fn shards(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let is_shard = |path: &Path| path.extension().is_some_and(|found| found == extension);
    let paths: Vec<_> = entries(root, 1)?
        .into_iter()
        .map(DirEntry::into_path)
        .filter(|path| is_shard(path) && path.is_file())
        .collect();
    let splits: BTreeSet<_> = paths.iter().filter_map(|path| split_of(path)).collect();
    if splits.len() > 1 {
        let found = format!("shards of {}: name a file, or a folder of one split", Vec::from_iter(splits).join(", "));
        return Err(Error::probe(root, "the shards of one split", found));
    }
    Ok(paths)
}

/// `test` of `test-00000-of-00002.parquet`.
fn split_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    name.split(|c: char| !c.is_ascii_alphabetic()).find(|word| SPLITS.contains(word)).map(str::to_owned)
}
