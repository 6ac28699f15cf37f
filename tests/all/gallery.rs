//! What `relstab gallery` shows, through the command and as other parts of a program take it.

use std::path::Path;

use crate::common::{project, relstab_in};
use image::RgbImage;
use npyz::WriterBuilder as _;
use relstab::gallery::Gallery;
use relstab::perturb::{Deformation, Perturber, Size};
use relstab::probe::{Options, ProbeSet};
use relstab::report::gallery::picture;
use serde_json::Value;

const PROBE: &str = "models/fashion-mnist-cnn/probe.npz";

fn succeeds(arguments: &[&str]) {
    let output = relstab_in("", arguments);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// The cells of the rows of the table of settings.
fn settings(html: &str) -> Vec<Vec<String>> {
    let (_, table) = html.split_once("<tbody>").expect("a table");
    let (table, _) = table.split_once("</tbody>").expect("a table");
    let without_tags = |cell: &str| {
        let parts = cell.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text));
        parts.collect::<String>()
    };
    let rows = table.split("</tr>").filter(|row| !row.is_empty());
    rows.map(|row| row.split_inclusive("</").map(without_tags).filter(|cell| !cell.is_empty()).collect()).collect()
}

/// The decoded pictures of a page, with their texts.
fn pictures(html: &str) -> Vec<(String, RgbImage)> {
    use base64::Engine as _;
    let images = html.split("src=\"data:image/png;base64,").skip(1);
    let decoded = images.map(|rest| {
        let (data, rest) = rest.split_once("\" alt=\"").expect("a text");
        let bytes = base64::prelude::BASE64_STANDARD.decode(data).expect("base64");
        let alt = rest.split('"').next().expect("a text").to_owned();
        (alt, image::load_from_memory(&bytes).expect("a PNG").to_rgb8())
    });
    decoded.collect()
}

#[test]
fn a_page_tells_what_a_measurement_will_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("gallery.html");
    let page_name = page.to_str().expect("UTF-8");
    let model = "models/fashion-mnist-cnn/step=006000.onnx";
    succeeds(&["gallery", model, "--html", page_name, "--images", "40", "--draws", "2", "--show", "3"]);
    let html = read(&page);
    assert!(!html.contains("<script") && !html.contains("://") && !html.contains("@import"));
    let rows = settings(&html);
    // Cutoffs 3, 5, 15 and deltas 0.5, 1, 2.9: the chosen one first.
    assert_eq!((rows.len(), rows[0][0].as_str()), (9, "cutoff 3, delta 1 px (chosen)"));
    assert!(html.contains("It lies inside the natural range of this cutoff, delta 0.5 to 2.97 px"), "{html}");

    let flags = ["--backend", "tract", "--images", "40", "--draws", "2", "--format", "json"];
    for (row, flag) in rows.iter().zip([
        &["--cutoff", "3"][..],
        &["--delta", "0.5"],
        &["--delta", "2.9"],
        &["--cutoff", "5", "--delta", "0.5"],
    ]) {
        let measured: Value =
            serde_json::from_slice(&relstab_in("", &[&["measure", model], &flags[..], flag].concat()).stdout)
                .expect("JSON");
        let number = |value: &Value| value.as_f64().expect("a number");
        let shown = |cell: usize| row[cell].trim_end_matches(" px").parse::<f64>().expect("a number");
        let rms = number(&measured["displacement_rms_px"]);
        assert!((shown(2) / rms - 1.0).abs() < 0.005, "{row:?} {rms}");
        assert_eq!(row[3], format!("{:.1}%", 100.0 * number(&measured["folded_share"])), "{row:?}");
        let temperature = number(&measured["settings"]["temperature"]);
        assert!((shown(1) / temperature - 1.0).abs() < 0.005, "{row:?} {temperature}");
    }

    // Original, then deformed, noise, difference and mesh by setting, for each image.
    let pictures = pictures(&html);
    assert_eq!(pictures.len(), 3 * (1 + 9 * 4));
    let probe = ProbeSet::open(&project(PROBE), &Options { images: Some(40), ..Options::default() }).expect("images");
    let mut image = vec![0.0; probe.shape().len()];
    for index in 0..3 {
        let (alt, original) = &pictures[37 * index];
        assert_eq!(*alt, format!("{}, original", probe.name(index)));
        // As it is stored, though the network sees it normalised.
        probe.image(index, &mut image);
        let stored: Vec<u8> = image.iter().map(|value| (255.0 * value).round() as u8).collect();
        assert_eq!(original.pixels().map(|pixel| pixel.0[0]).collect::<Vec<_>>(), stored);
        let deformed = &pictures[37 * index + 1].1;
        let difference = &pictures[37 * index + 3].1;
        for ((original, deformed), difference) in original.pixels().zip(deformed.pixels()).zip(difference.pixels()) {
            let change = f64::from(deformed.0[0]) - f64::from(original.0[0]);
            let shown = f64::from(difference.0[0]) - 127.5;
            // Rounding of all three.
            assert!((shown - change.clamp(-127.5, 127.5)).abs() <= 1.5 + 1e-9, "{change} {shown}");
        }
    }
}

#[test]
fn a_sheet_shows_everything_in_one_picture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sheet = folder.path().join("sheet.png");
    let common = ["--images", "5", "--cutoffs", "3", "--deltas", "0.5", "--show", "2"];
    succeeds(&[&["gallery", "--probe", PROBE, "--png", sheet.to_str().expect("UTF-8")], &common[..]].concat());
    let written = image::open(&sheet).expect("a PNG").to_rgb8();

    let probe = ProbeSet::open(&project(PROBE), &Options { images: Some(5), ..Options::default() }).expect("images");
    let perturber = |delta| {
        let deformation = Deformation { size: Size::Delta(delta), ..Deformation::default() };
        Perturber::new(probe.shape(), &deformation, 0).expect("valid settings")
    };
    let gallery = Gallery::new(&probe, perturber(1.0), vec![perturber(0.5)], 2, 4).expect("a gallery");
    let drawn = picture(&gallery).expect("drawn");
    assert_eq!(drawn.dimensions(), written.dimensions());
    // The path in its title is another.
    let below = |image: &RgbImage| image.as_raw()[60 * image.width() as usize * 3..].to_vec();
    assert!(below(&drawn) == below(&written), "the command and the library draw different sheets");
    // Each original is on it, enlarged eight times, once for each setting.
    let exhibit = gallery.exhibit(1);
    let of_row = |image: &RgbImage, y: u32| (0..28).map(|x| image[(x, y)]).collect::<Vec<_>>();
    let wanted = of_row(&exhibit.original, 14);
    let found =
        (0..written.height()).filter(|y| (0..28).all(|x| written[(24 + 8 * x + 4, *y)] == wanted[x as usize])).count();
    assert_eq!(found, 2 * 8);
}

#[test]
fn one_image_of_any_channels_is_enough() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let source = path("two channels.npy");
    let values: Vec<f32> = (0..2 * 12 * 9).map(|value| ((value * 37) % 100) as f32).collect();
    let file = std::fs::File::create(&source).expect("created");
    let options = npyz::WriteOptions::new().default_dtype().shape(&[1, 2, 12, 9]);
    let mut writer = options.writer(file).begin_nd().expect("a header");
    writer.extend(values).expect("written");
    writer.finish().expect("written");
    let flags = ["--layout", "nchw", "--interpolation", "gaussian", "--cutoff", "7", "--temperature", "0.01"];
    let [html, png] = ["page.html", "sheet.png"].map(path);
    succeeds(&[&["gallery", "--probe", &source, "--html", &html, "--png", &png], &flags[..]].concat());
    let text = read(&html);
    assert!(text.contains("Of the 2 channels, the first is shown, as grey."), "{text}");
    assert!(text.contains("from 0 (black) to 99 (white)"), "{text}");
    assert!(
        text.contains("At this cutoff there is no natural range") && text.contains("cutoff of at most 6."),
        "{text}"
    );
    assert!(text.contains("1 of 1 images") && text.contains("<bdi>image 0</bdi>"), "{text}");
    assert!(image::open(&png).is_ok());
}

#[test]
fn what_cannot_be_shown_says_so_and_what_was_there_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let there = folder.path().join("there.html");
    std::fs::write(&there, "before").expect("written");
    let there = there.to_str().expect("UTF-8");
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = relstab_in("", &[&["gallery"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let small = ["--probe", PROBE, "--images", "2", "--html", there];
    let with = |more: &[&'static str]| [&small[..], more].concat();
    fails(&["--probe", PROBE], 2, &["--html", "--png"]);
    fails(&["--html", there], 2, &["--probe"]);
    fails(&with(&["--cutoffs", "1"]), 2, &["cutoff: expected a whole number from 2 to 1000, found 1"]);
    fails(&with(&["--cutoffs", ""]), 2, &["--cutoffs"]);
    fails(&with(&["--cutoffs", "3,,5"]), 2, &["--cutoffs"]);
    fails(&with(&["--deltas", "0"]), 2, &["delta: expected a finite number of pixels above 0", "found 0"]);
    fails(&with(&["--deltas", "-1"]), 2, &["delta", "found -1"]);
    fails(&with(&["--deltas", "nan"]), 2, &["delta", "found NaN"]);
    fails(&with(&["--deltas", ""]), 2, &["--deltas"]);
    fails(&with(&["--delta", "1", "--temperature", "1"]), 2, &["--temperature"]);
    fails(&with(&["--show", "0"]), 2, &["--show: expected from 1 to"]);
    fails(&with(&["--draws", "0"]), 2, &["--draws"]);
    fails(&["missing.onnx", "--probe", PROBE, "--html", there], 10, &["missing.onnx"]);
    fails(&["--probe", "missing.npz", "--html", there], 10, &["missing.npz"]);
    let few = ["--probe", PROBE, "--images", "2", "--show", "1", "--cutoffs", "3", "--deltas", "1"];
    for flag in ["--html", "--png"] {
        fails(&[&few[..], &[flag, "/dev/full"]].concat(), 10, &["/dev/full", "write"]);
    }
    let missing = folder.path().join("missing/sheet.png");
    fails(&[&few[..], &["--png", missing.to_str().expect("UTF-8")]].concat(), 10, &["sheet.png"]);
    assert_eq!(read(there), "before");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "something was left behind");
}
