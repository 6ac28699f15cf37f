//! NumPy's `.npz`: images and perhaps labels, by the names of their arrays.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::npy;
use super::raw::Raw;
use crate::arrays::Archive;
use crate::error::{Error, Result};

const IMAGES: [&str; 7] = ["images", "image", "x", "X", "x_test", "data", "arr_0"];
const LABELS: [&str; 8] = ["labels", "label", "y", "Y", "y_test", "targets", "target", "fine_labels"];
/// Arrays that got no name, as by `numpy.savez(FILE, images, labels)`.
const UNNAMED: (&str, &str) = ("arr_0", "arr_1");
/// Arrays that are named, of those that are not read.
const NAMED: usize = 3;

pub fn read(path: &Path) -> Result<Raw> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let mut archive = Archive::new(file).map_err(|error| damaged(path, &error))?;
    let names = archive.names();
    let named = |wanted: &[&'static str]| wanted.iter().copied().find(|wanted| names.iter().any(|name| name == wanted));
    let images = match (named(&IMAGES), names.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, _) => {
            let found = if names.is_empty() { "no array".to_owned() } else { format!("arrays {}", names.join(", ")) };
            return Err(Error::probe(path, "an array named images (and labels)", found));
        }
    };
    let (pixels, dims) = npy::array(path, entry(path, &mut archive, images)?)?;
    let mut of_labels = named(&LABELS);
    let mut labels = of_labels.map(|name| npy::labels(path, entry(path, &mut archive, name)?)).transpose()?;
    if (images, of_labels) == (UNNAMED.0, None) && names.iter().any(|name| name == UNNAMED.1) {
        // It may be anything: whole numbers, one for each image, are labels.
        let second = npy::labels(path, entry(path, &mut archive, UNNAMED.1)?).ok();
        labels = second.filter(|labels| Some(labels.len()) == dims.first().copied());
        of_labels = labels.as_ref().map(|_| UNNAMED.1);
    }
    let others: Vec<_> = names.iter().filter(|name| *name != images && Some(name.as_str()) != of_labels).collect();
    let mut notes = Vec::new();
    if labels.is_none() && !others.is_empty() {
        let some: Vec<_> = others.iter().take(NAMED).map(|name| name.as_str()).collect();
        notes.push(format!("no labels: none of the other arrays ({}) is named labels", some.join(", ")));
    }
    Ok(Raw { pixels, dims, labels, notes })
}

fn entry<'a>(path: &Path, archive: &'a mut Archive<BufReader<File>>, name: &str) -> Result<impl Read + use<'a>> {
    let file = archive.entry(name).map_err(|error| damaged(path, &error))?;
    // A few bytes of other methods come to gigabytes; NumPy writes none of them.
    let method = file.compression().to_string();
    if !["Stored", "Deflated"].contains(&method.as_str()) {
        return Err(Error::probe(path, "arrays stored or deflated, as NumPy does", format!("{name} by {method}")));
    }
    Ok(file)
}

fn damaged(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::probe(path, "a whole .npz archive", format!("a damaged one ({error})"))
}
