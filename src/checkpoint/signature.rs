//! What a file is by its first bytes, where it is no ONNX network, and what to do then.

/// So many of a file's first bytes tell what it is.
pub const ENOUGH: usize = 4096;

/// How PyTorch writes an ONNX network.
pub const EXPORT: &str = "export the network with torch.onnx.export(model, (example,), 'NAME.onnx', dynamo=True)";
/// As [`EXPORT`], of Keras.
pub const EXPORT_KERAS: &str =
    "export the network with model.export('NAME.onnx', format='onnx'), or convert it with tf2onnx";
const TFLITE: &str = "convert it with python -m tf2onnx.convert --tflite FILE --output NAME.onnx";
const UNZIP: &str = "unpack it and give the .onnx file in it";
const ANOTHER: &str = "give the .onnx file itself";

/// A kind of file that is no ONNX network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it is, with its article.
    pub name: String,
    /// The next step.
    pub next: &'static str,
}

impl Signature {
    fn new(name: impl Into<String>, next: &'static str) -> Self {
        Self { name: name.into(), next }
    }
}

/// `web page: give the .onnx file itself`.
impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.next)
    }
}

/// The two bytes that a gzip archive begins with.
pub const GZIP: &[u8] = &[0x1f, 0x8b];

/// Where a mark stands, the mark, what has it there, and the next step.
type Mark = (usize, &'static [u8], &'static str, &'static str);

/// None of these begins a protobuf message with the fields of an ONNX network.
const MARKS: [Mark; 27] = [
    // Behind an offset of less than 16 MiB: a network's producer may have such a name.
    (3, b"\0ORTM", "a network in ONNX Runtime's ORT format", "give the .onnx file that it was made from"),
    (3, b"\0TFL3", "a TFLite network", TFLITE),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", EXPORT_KERAS),
    (512, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", EXPORT_KERAS),
    (1024, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", EXPORT_KERAS),
    (2048, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", EXPORT_KERAS),
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "fetch the network with git lfs pull"),
    (0, GZIP, "a gzip archive", "name it NAME.onnx.gz, or unpack it with gunzip"),
    (0, b"\xfd7zXZ\0", "an xz archive", "unpack it with xz -d"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it with zstd -d"),
    (0, b"BZh", "a bzip2 archive", "unpack it with bunzip2"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive", "unpack it with lz4 -d"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNZIP),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNZIP),
    (257, b"ustar", "a tar archive", UNZIP),
    (0, b"\x93NUMPY", "a NumPy array", ANOTHER),
    (0, b"GGUF", "a GGUF file", ANOTHER),
    (0, b"ftrt", "a TensorRT engine", "give the .onnx file that it was built from"),
    (0, b"ML\xefR", "MLIR, as JAX and StableHLO write it", "export the network to ONNX instead"),
    (
        1,
        b"\xa6params",
        "Flax's msgpack, weights without the network",
        "export the network to ONNX (docs/frameworks.md)",
    ),
    (0, b"PAR1", "a Parquet file", ANOTHER),
    (0, b"\x7fELF", "a program or a library", ANOTHER),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", ANOTHER),
    (0, b"\xff\xd8\xff", "a JPEG image", ANOTHER),
    (0, b"%PDF-", "a PDF document", ANOTHER),
    (0, b"SQLite format 3\0", "an SQLite database", ANOTHER),
    (0, b"\xff\xfe", "text in UTF-16", ANOTHER),
];

/// What the file is that begins with `start`, unless that may begin an ONNX network.
pub fn of(start: &[u8]) -> Option<Signature> {
    let has = |(at, mark, ..): &&Mark| start.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    let marked = MARKS.iter().find(has).map(|(.., name, next)| Signature::new(*name, next));
    let other = marked.or_else(|| zip(start)).or_else(|| pickle(start)).or_else(|| safetensors(start));
    other.or_else(|| text(start)).or_else(|| protobuf(start))
}

/// Protobuf of other kinds: where an ONNX network has a number, they have a message, or one where it has the producer's name.
fn protobuf(start: &[u8]) -> Option<Signature> {
    const SAVED: &str =
        "python -m tf2onnx.convert --saved-model FOLDER --output NAME.onnx converts the folder that it lies in";
    const GRAPH: &str = "python -m tf2onnx.convert --graphdef FILE --output NAME.onnx converts the first";
    match start {
        [0x0a, length, rest @ ..] if *length > 0 && rest.contains(&0x0a) => {
            Some(Signature::new("protobuf, but no ONNX: TensorFlow's GraphDef or a Caffe model", GRAPH))
        }
        [0x08, version @ 1..=16, 0x12, rest @ ..] => {
            let message = rest.iter().position(|byte| *byte < 0x80).and_then(|end| rest.get(end + 1..))?;
            (message.first() == Some(&0x0a)).then(|| match version {
                1 => Signature::new("a TensorFlow SavedModel", SAVED),
                _ => Signature::new("a Core ML model", "export the network that it was made from to ONNX"),
            })
        }
        _ => None,
    }
}

/// A zip archive, by the name of its first entry.
fn zip(start: &[u8]) -> Option<Signature> {
    const NAME: usize = 30;
    if start.starts_with(b"PK\x05\x06") {
        return Some(Signature::new("an empty zip archive", ANOTHER));
    }
    let rest = start.strip_prefix(b"PK\x03\x04")?;
    let length = rest.get(22..24).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let name = start.get(NAME..).map_or(&[][..], |rest| &rest[..length.min(rest.len())]);
    // PyTorch aligns its entries, behind a mark of its own.
    let is_aligned = start.get(NAME + length..).is_some_and(|extra| extra.starts_with(b"FB"));
    let is_pytorch = is_aligned || [&b"/data.pkl"[..], b"/version"].iter().any(|end| name.ends_with(end));
    Some(match name {
        b"metadata.json" | b"config.json" => Signature::new("a Keras file (a zip archive)", EXPORT_KERAS),
        _ if name.ends_with(b".npy") => Signature::new("NumPy arrays (a zip archive)", ANOTHER),
        _ if is_pytorch => Signature::new("a PyTorch file (a zip archive)", EXPORT),
        _ => Signature::new("a zip archive", UNZIP),
    })
}

fn pickle(start: &[u8]) -> Option<Signature> {
    // A long integer of 10 bytes, which PyTorch before 1.6 wrote first.
    const PYTORCH: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    match start {
        [0x80, 2..=5, rest @ ..] if rest.starts_with(PYTORCH) => {
            Some(Signature::new("a PyTorch file (a pickle)", EXPORT))
        }
        [0x80, 2..=5, _, ..] => Some(Signature::new("a Python pickle, as PyTorch writes them", EXPORT)),
        _ => None,
    }
}

/// The length of a JSON object, then the object.
fn safetensors(start: &[u8]) -> Option<Signature> {
    const LONGEST_HEADER: u64 = 100_000_000;
    let (length, header) = start.split_first_chunk()?;
    let is_header = header.starts_with(b"{\"") || header.starts_with(b"{}");
    (is_header && u64::from_le_bytes(*length) <= LONGEST_HEADER)
        .then(|| Signature::new("weights in safetensors, without the network", EXPORT))
}

/// Fewer characters than this may yet become anything.
const SHORTEST_TEXT: usize = 8;
/// So many characters of a text are quoted.
const QUOTED: usize = 40;

fn text(start: &[u8]) -> Option<Signature> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // Cut within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_text = text.len() >= SHORTEST_TEXT && !text.contains(|c: char| c.is_control() && !c.is_ascii_whitespace());
    is_text.then(|| named(text))
}

fn named(text: &str) -> Signature {
    let lower = text.to_ascii_lowercase();
    let is_json = lower.starts_with(['{', '[']);
    let is_markup = lower.starts_with('<');
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if is_json && has(&["\"irVersion\"", "\"ir_version\"", "\"opsetImport\""]) {
        let next = "onnx.save(onnx.load(FILE, format='json'), 'NAME.onnx') makes a network of it";
        Signature::new("an ONNX network as JSON", next)
    } else if is_json {
        Signature::new("JSON", ANOTHER)
    } else if has(&["ir_version", "opset_import"]) {
        let next = if is_markup {
            "onnx.save(onnx.load(FILE, format='onnxtxt'), 'NAME.onnx') makes a network of it"
        } else {
            "onnx.save(onnx.load(FILE, format='textproto'), 'NAME.onnx') makes a network of it"
        };
        Signature::new("an ONNX network as text", next)
    } else if is_markup && ["<!doctype html", "<html", "<head", "<body"].iter().any(|word| lower.contains(word)) {
        Signature::new("a web page (HTML)", "the download met a page: fetch the .onnx file itself")
    } else if is_markup && lower.contains("<net ") {
        Signature::new("a network of OpenVINO", "give the .onnx file that it was made from")
    } else if is_markup {
        Signature::new("XML, as servers answer with", ANOTHER)
    } else {
        let line: String = text.lines().next().unwrap_or_default().chars().take(QUOTED).collect();
        Signature::new(format!("text that begins {line:?}"), ANOTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    fn is(start: &[u8], words: &str) {
        let found = of(start).unwrap_or_else(|| panic!("{words}: not known"));
        assert!(found.to_string().contains(words), "{found}, not {words}");
        // More bytes change nothing.
        if start.len() < 200 && !start.is_ascii() {
            let longer = [start, &[b'A'; 4000]].concat();
            assert_eq!(of(&longer), Some(found));
        }
    }

    fn entry(name: &str) -> Vec<u8> {
        let mut header = b"PK\x03\x04".to_vec();
        header.resize(26, 0);
        header.extend((name.len() as u16).to_le_bytes());
        header.extend([0, 0]);
        [header, name.as_bytes().to_vec(), vec![0xff; 9]].concat()
    }

    #[test]
    fn files_are_what_their_first_bytes_say() {
        is(b"\x14\0\0\0ORTM\x0c\0\x10\0\xff", "ORT format");
        is(b"\x1c\0\0\0TFL3\x14\0\x20\0\xff", "TFLite");
        is(b"\x89HDF\r\n\x1a\n\0\0", "HDF5");
        is(&[&[0; 512][..], b"\x89HDF\r\n\x1a\n"].concat(), "HDF5");
        is(b"\xfd7zXZ\0\0\x04", "xz");
        is(b"\x28\xb5\x2f\xfd\x04\0", "Zstandard");
        is(b"\x1f\x8b\x08\0", "NAME.onnx.gz");
        is(&entry("archive/data.pkl"), "PyTorch");
        is(&entry("metadata.json"), "Keras");
        is(&entry("arr_0.npy"), "NumPy");
        is(&entry("network.onnx"), "unpack it");
        is(b"PK\x03\x04", "zip");
        is(b"\x80\x02\x8a\x0alFh", "pickle");
        is(b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", "pickle");
        is(b"\x58\0\0\0\0\0\0\0{\"__metadata__\":{}", "safetensors");
        is(b"\0\x01\0\0\0\0\0\0{\"a\":{}", "safetensors");
        is(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "git lfs pull");
        is(b"\n <!DOCTYPE html><html><body>404", "web page");
        is(b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>", "XML");
        is(b"<?xml version=\"1.0\"?>\n<net name=\"network\" version=\"11\">", "OpenVINO");
        is(b"\xff\xfe4\x000\x004\0", "UTF-16");
        is(b"{\"error\": \"gone\"}", "JSON");
        is(b"{\n \"irVersion\": \"8\", \"graph\": {}}", "format='json'");
        is(b"ir_version: 8\nproducer_name: \"pytorch\"\n", "format='textproto'");
        is(b"<\n   ir_version: 10,\n   opset_import: [\"\" : 20]\n>\nagraph", "format='onnxtxt'");
        is(b"404: Not Found", "404: Not Found");
        is(b"\x0a\x1a\x0a\x01x\x12\x0bPlaceholder*\xff", "GraphDef");
        is(b"\x08\x01\x12\xa8\xb5\x01\x0a\xe7\x21\x12\xff", "SavedModel");
        is(b"\x08\x04\x12\x50\x0a\x1c\x0a\x05image\xff", "Core ML");
        is(b"ML\xefR\x0d", "MLIR");
        is(b"\x81\xa6params\x82\xff", "Flax");
    }

    #[test]
    fn files_of_the_libraries_themselves_are_named() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/foreign/");
        let all = [
            ("bzip2", "bzip2"),
            ("gzip", "gzip"),
            ("keras_hdf5", "HDF5"),
            ("keras_zip", "Keras"),
            ("npz", "NumPy"),
            ("onnx_json", "format='json'"),
            ("onnx_text", "format='onnxtxt'"),
            ("onnx_textproto", "format='textproto'"),
            ("ort_format", "ORT format"),
            ("pickle", "pickle"),
            ("safetensors", "safetensors"),
            ("tar", "a tar archive"),
            ("tflite", "TFLite"),
            ("torch_export", "a PyTorch file (a zip"),
            ("torch_pickle", "a PyTorch file (a pickle"),
            ("torch_zip", "a PyTorch file (a zip"),
            ("torchscript", "a PyTorch file (a zip"),
            ("xz", "xz"),
            ("zip", "a zip archive"),
        ];
        assert_eq!(std::fs::read_dir(folder).expect("fixtures").count(), all.len());
        for (name, words) in all {
            is(&std::fs::read(format!("{folder}{name}")).expect("read"), words);
        }
    }

    #[test]
    fn what_may_become_a_network_is_not_named() {
        let begins: [&[u8]; 10] = [
            b"",
            &[0; 4096],
            b"\x08\x08\x12\x07pytorch\x1a\x052.9.0",
            b"\x08",
            b"P",
            b"PK",
            b"\x80",
            b"\x08\x08\x12\x09ORTModule",
            // The graph first, or the metadata.
            b":\x8c\x01\n\x10\n\x05image\x12\x01y\"\x04Relu",
            b"r\x0e\n\x04step\x12\x06001200",
        ];
        for start in begins {
            assert_eq!(of(start), None, "{start:?}");
        }
    }

    #[test]
    fn the_projects_own_networks_are_not_named() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        let mut networks = 0;
        for file in std::fs::read_dir(folder).expect("fixtures").flatten() {
            let path = file.path();
            if path.extension().is_some_and(|end| end == "onnx") {
                networks += 1;
                assert_eq!(of(&std::fs::read(&path).expect("read")), None, "{}", path.display());
            }
        }
        assert!(networks > 20);
    }
}
