//! One network over cutoffs and sizes: every point a measurement, and points that cannot be told.

use std::process::Output;

use crate::common::{FixedBackend, in_bundled, project};
use relstab::measure::Settings;
use relstab::measure::sweep::{Grid, Sizes, sweep};
use relstab::probe::{self, ProbeSet};
use serde_json::Value;

const NETWORK: &str = "step=006000.onnx";

/// A command on the last checkpoint of the bundled run, with few passes.
fn told(command: &str, more: &[&str]) -> Output {
    in_bundled(&[&[command, NETWORK, "--images", "40", "--draws", "1"], more].concat())
}

fn json(command: &str, more: &[&str]) -> Value {
    let output = told(command, &[more, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn points(sweep: &Value) -> &Vec<Value> {
    assert_eq!(sweep["schema"], "relstab.sweep/1");
    sweep["points"].as_array().expect("points")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_point_of_a_sweep_is_the_measurement_there() {
    for backend in ["tract", "onnxruntime"] {
        let sweep = json("sweep", &["--backend", backend, "--cutoffs", "5,3", "--deltas", "1,0.5"]);
        let places: Vec<_> =
            points(&sweep).iter().map(|point| (number(&point["cutoff"]), number(&point["delta"]))).collect();
        assert_eq!(places, [(3.0, 0.5), (3.0, 1.0), (5.0, 0.5), (5.0, 1.0)]);
        for point in points(&sweep) {
            let flags = ["--cutoff", &point["cutoff"].to_string(), "--delta", &point["delta"].to_string()];
            let mut alone = json("measure", &[&flags[..], &["--backend", backend]].concat());
            let mut among = point["measurement"].clone();
            assert!(number(&among["timing"]["total_s"]) > 0.0);
            (alone["timing"], among["timing"]) = (Value::Null, Value::Null);
            assert_eq!(among, alone, "{backend}");
            assert!(point["in_natural_range"] == true && point["temperature"] == among["settings"]["temperature"]);
        }
        let predicted = points(&sweep).iter().map(|point| point["measurement"]["prediction"].is_object());
        assert_eq!(
            predicted.collect::<Vec<_>>(),
            [false, true, false, false],
            "the run's law is of cutoff 3 and delta 1"
        );
    }
}

#[test]
fn a_law_that_fits_no_point_says_so_once() {
    let flags = ["--backend", "tract", "--cutoffs", "3", "--deltas", "1,2", "--law", "cifar10"];
    let sweep = json("sweep", &flags);
    let notes = sweep["notes"].as_array().expect("notes");
    assert!(notes.len() == 1 && notes[0].as_str().is_some_and(|note| note.contains("side 32")), "{notes:?}");
    let text = String::from_utf8_lossy(&told("sweep", &flags).stdout).into_owned();
    assert_eq!((text.matches("note: ").count(), text.matches("law cifar10").count()), (1, 1), "{text}");
}

#[test]
fn along_delta_the_same_fields_grow() {
    let sweep = json("sweep", &["--backend", "tract", "--cutoffs", "5", "--deltas", "0.5,1,2"]);
    let rms: Vec<_> = points(&sweep).iter().map(|point| number(&point["measurement"]["displacement_rms_px"])).collect();
    // Other draws of 40 images differ by a few per cent.
    assert!((rms[1] / rms[0] - 2.0).abs() < 1e-5 && (rms[2] / rms[0] - 4.0).abs() < 1e-5, "{rms:?}");
    let images = |point: &Value| point["measurement"]["probe"]["sha256"].clone();
    assert!(points(&sweep).iter().all(|point| images(point) == images(&points(&sweep)[0])));
    let marks: Vec<_> = points(&sweep).iter().map(|point| &point["in_natural_range"]).collect();
    assert_eq!(marks, [true, true, false], "up to 28 / (5 pi) = 1.78 pixels");
}

#[test]
fn temperatures_span_the_natural_range() {
    let sweep = json("sweep", &["--backend", "tract", "--cutoffs", "3,25", "--temperatures", "4"]);
    let deltas: Vec<_> = points(&sweep).iter().map(|point| number(&point["delta"])).collect();
    let most = 28.0 / (3.0 * std::f64::consts::PI);
    let expected = (0..4).map(|index| 0.5 * (most / 0.5).powf(f64::from(index) / 3.0));
    assert!(deltas.len() == 4 && deltas.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-9), "{deltas:?}");
    assert!(points(&sweep).iter().all(|point| point["in_natural_range"] == true && point["cutoff"] == 3));
    assert!(sweep["notes"][0].as_str().is_some_and(|note| note.contains("cutoff 25 is above 2n/pi = 17.8")));
    let empty = told("sweep", &["--cutoffs", "25,30", "--temperatures", "4"]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(error(&empty).contains("--temperatures") && error(&empty).contains("cutoff 30"), "{}", error(&empty));
}

#[test]
fn grids_that_mean_nothing_are_refused() {
    for (flags, words) in [
        (&["--cutoffs", ""][..], &["--cutoffs"][..]),
        (&["--cutoffs", "3,,5"], &["--cutoffs"]),
        (&["--cutoffs", "1,3"], &["cutoff", "from 2", "found 1"]),
        (&["--cutoffs", "-1"], &["--cutoffs", "-1"]),
        (&["--cutoffs", "nan"], &["--cutoffs", "nan"]),
        (&["--cutoffs", "5,3,5"], &["--cutoffs", "once", "5 twice"]),
        (&["--deltas", ""], &["--deltas"]),
        (&["--deltas", "1,-1"], &["delta", "above 0", "-1"]),
        (&["--deltas", "0"], &["delta", "above 0"]),
        (&["--deltas", "nan,1"], &["delta", "NaN"]),
        (&["--deltas", "inf"], &["delta", "inf"]),
        (&["--deltas", "1,2,1.0"], &["--deltas", "once", "1 twice"]),
        (&["--temperatures", "1"], &["--temperatures", "2 or more"]),
        (&["--temperatures", "-2"], &["--temperatures", "-2"]),
        (&["--temperatures", "3", "--deltas", "1"], &["--temperatures", "--deltas"]),
        (&["--cutoff", "3"], &["--cutoff", "--cutoffs"]),
        (&["--delta", "1"], &["--delta", "--deltas"]),
        (&["--temperature", "1e-4"], &["--temperature", "--temperatures"]),
        (&["--figure", "sweep.pdf"], &["--figure", ".svg or .png"]),
    ] {
        let output = told("sweep", flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", error(&output));
        assert!(
            output.stdout.is_empty() && words.iter().all(|word| error(&output).contains(word)),
            "{}",
            error(&output)
        );
    }
}

#[test]
fn a_precision_is_settled_once() {
    let flags = ["--backend", "tract", "--cutoffs", "3", "--deltas", "1,0.5", "--precision", "0.3", "--images", "20"];
    let output = in_bundled(&[&["sweep", NETWORK, "--draws", "1", "--format", "json"], &flags[..]].concat());
    let sweep: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let taken = |point: &Value| {
        let record = &point["measurement"];
        (record["probe"]["images"].clone(), record["settings"]["draws"].clone())
    };
    let (first, second) = (taken(&points(&sweep)[0]), taken(&points(&sweep)[1]));
    assert!(first == second && number(&first.0) > 20.0, "{first:?} {second:?}");
}

#[test]
fn a_point_that_fails_costs_only_itself() {
    let probe = ProbeSet::open(&project("tests/fixtures/images.npz"), &probe::Options::default()).expect("images");
    // Noise as large as a deformation by 8 pixels leaves the range that this network bears.
    let network = FixedBackend::new(probe.shape(), 1, Vec::new(), |image, outputs, _| {
        let is_borne = image.iter().all(|value| (-0.5..1.5).contains(value));
        outputs[0] = if is_borne { image.iter().sum() } else { f32::NAN };
    });
    let settings = Settings { images: 40, draws: 1, ..Settings::default() };
    let run = |deltas: &[f64]| {
        let grid = Grid::new(vec![3], Sizes::Deltas(deltas.to_vec())).expect("a grid");
        sweep(&network, &probe, &settings, &grid, &|_, _| ())
    };
    let found = run(&[0.1, 8.0]).expect("one point");
    assert!(found.points[0].measurement.is_some() && found.points[0].untold().is_none());
    let reason = found.points[1].untold().expect("a reason");
    assert!(found.points[1].measurement.is_none() && reason.contains("noisy"), "{reason}");
    let text = relstab::report::terminal::text(&relstab::report::sweep::document(&found));
    assert!(
        text.contains("failed")
            && text.contains("no R_f at 1 of 2 points: model fixed: expected outputs that are finite"),
        "{text}"
    );
    assert!(matches!(run(&[8.0]), Err(relstab::error::Error::NonFinite { .. })));
}

#[test]
fn what_is_undefined_everywhere_ends_as_its_measurement() {
    let [network, probe] = ["constant.onnx", "images.npz"].map(|name| project("tests/fixtures").join(name));
    let [network, probe] = [&network, &probe].map(|path| path.to_str().expect("UTF-8"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let figure = folder.path().join("figure.svg");
    let flags = ["sweep", network, "--probe", probe, "--backend", "tract", "--images", "20", "--draws", "1"];
    let output = in_bundled(&[&flags[..], &["--figure", figure.to_str().expect("UTF-8")]].concat());
    assert_eq!(output.status.code(), Some(8), "{}", error(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("  undefined").count(), 9, "{text}");
    assert_eq!(text.matches("no R_f at 9 of 9 points: ").count(), 1, "{text}");
    assert!(error(&output).contains("no figure") && !figure.exists());
}

#[test]
fn a_sweep_is_told_as_table_page_and_figure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("a file");
    let grid = ["--backend", "tract", "--cutoffs", "3,5", "--deltas", "1,2"];

    let drawn = path("drawn.svg");
    let output = told("sweep", &[&grid[..], &["--figure", &drawn]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sweep = json("sweep", &grid);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["40", "images", "x", "1", "draws,", "seed", "0"]);
    assert_eq!(lines[2][..4], ["cutoff", "delta", "temperature", "rms"]);
    for (point, cells) in points(&sweep).iter().zip(&lines[3..7]) {
        let record = &point["measurement"];
        let mark = if point["in_natural_range"] == true { "" } else { "*" };
        assert_eq!(
            (cells[0], cells[1]),
            (point["cutoff"].to_string().as_str(), format!("{:.2}{mark}", number(&point["delta"])).as_str())
        );
        for (cell, value) in [
            (2, &point["temperature"]),
            (3, &record["displacement_rms_px"]),
            (5, &record["r_f"]["value"]),
            (8, &record["scores"]["invariance"]["deformed"]["value"]),
            (9, &record["d_f"]["value"]),
            (10, &record["g_f"]["value"]),
        ] {
            let shown: f64 = cells[cell].parse().expect("a number");
            assert!((shown / number(value) - 1.0).abs() < 0.006, "{cells:?} {value}");
        }
    }
    assert!(
        text.contains(
            "* outside the natural range of delta, 0.500 to 2.97 px at cutoff 3, 0.500 to 1.78 px at cutoff 5\n"
        ),
        "{text}"
    );
    assert_eq!(text.matches("note:").count(), 0, "{text}");

    std::fs::write(path("sweep.json"), sweep.to_string()).expect("written");
    let [html, markdown, again] = ["page.html", "page.md", "again.svg"].map(path);
    let report = ["report", &path("sweep.json"), "--html", &html, "--markdown", &markdown, "--figure", &again];
    let output = in_bundled(&report);
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(read("again.svg"), read("drawn.svg"));
    for part in ["R_f", "D_f", "G_f", "c = 3", "c = 5", "rings: outside the natural range"] {
        assert!(read("again.svg").contains(part), "{part}");
    }
    let (page, markdown) = (read("page.html"), read("page.md"));
    assert!(page.matches("<svg").count() == 3 && page.contains("role=\"img\" aria-label=\"R_f, D_f and G_f over"));
    assert!(markdown.contains("](again.svg)") && markdown.starts_with("# Sweep of `step=006000.onnx`\n"), "{markdown}");
    let rows: Vec<_> = markdown.lines().filter(|line| line.starts_with("| 3 |") || line.starts_with("| 5 |")).collect();
    assert_eq!(rows.iter().map(|row| row.contains("| outside |")).collect::<Vec<_>>(), [false, false, false, true]);
    assert!(markdown.contains("- draws: 1\n") && !markdown.contains("- cutoff:"), "{markdown}");
    // The one point where half of the deformations fold says so, and nothing else is doubtful.
    let (_, warnings) = markdown.split_once("## Warnings\n\n").expect("a doubt");
    assert_eq!(warnings.lines().filter(|line| !line.is_empty()).count(), 1, "{warnings}");
    assert!(warnings.starts_with("- 1 of 4 points: **doubt**: 48% of the deformations fold the image"), "{warnings}");

    let figure = |name: &str, code: i32| {
        let output = in_bundled(&["report", &path("sweep.json"), "--figure", name]);
        assert_eq!(output.status.code(), Some(code), "{}", error(&output));
    };
    figure(&path("again.png"), 0);
    assert!(image::open(path("again.png")).is_ok_and(|image| image.width() == 1000));
    std::os::unix::fs::symlink("/dev/full", path("full.svg")).expect("a link");
    figure(&path("full.svg"), 10);
    figure(&path("missing/again.svg"), 10);
    std::fs::write(path("cut.json"), &sweep.to_string()[..900]).expect("written");
    let cut = in_bundled(&["report", &path("cut.json"), "--figure", &again]);
    assert!(cut.status.code() == Some(2) && error(&cut).contains("EOF"), "{}", error(&cut));
    assert_eq!(read("again.svg"), read("drawn.svg"));
}

#[test]
fn a_figure_has_no_more_cutoffs_than_colours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let figure = folder.path().join("figure.svg");
    let flags = ["--backend", "tract", "--cutoffs", "2,3,4,5,6,7,8", "--deltas", "1", "--figure"];
    let output = told("sweep", &[&flags[..], &[figure.to_str().expect("UTF-8")]].concat());
    assert_eq!(
        (output.status.code(), error(&output).as_str()),
        (Some(0), "note: the figure shows the first 6 of 7 cutoffs, one in each colour\n")
    );
    let drawn = std::fs::read_to_string(figure).expect("a figure");
    assert!(drawn.contains("c = 7") && !drawn.contains("c = 8"));
}
