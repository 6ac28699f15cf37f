//! `relstab scaling` through the command: tables, networks, runs, figures and what is refused.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::daemon::{Daemon, Place, bundled, property};
use crate::common::{project, relstab_at};
use serde_json::Value;

const FEW: [&str; 6] = ["--backend", "tract", "--images", "50", "--draws", "1"];

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&text(output)).expect("JSON")
}

/// A table of two kinds of networks, `R_f = 3 P^-0.5` and `P^-1`, `D_f` constant.
fn table(folder: &Path) {
    let mut text = "kind,train_size,seed,step,r_f,low,high,d_f\n".to_owned();
    for (size, seed) in [(100, 0), (100, 1), (400, 0), (400, 1), (1600, 0), (1600, 1)] {
        let p = f64::from(size);
        let noise = if seed == 0 { 1.1 } else { 1.0 / 1.1 };
        for (kind, r_f) in [("<b>slow|", 3.0 * p.powf(-0.5) * noise), ("fast", noise / p)] {
            text += &format!("{kind},{size},{seed},7,0.9,,,0.9\n");
            text += &format!("{kind},{size},{seed},70,{r_f},{},{},0.02\n", 0.9 * r_f, 1.1 * r_f);
        }
    }
    fs::write(folder.join("networks.csv"), text).expect("written");
}

#[test]
fn a_table_gives_a_law_a_group_in_text_json_and_figures() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    table(path);
    let run = |more: &[&str]| relstab_at(path, &[&["scaling", "networks.csv", "--group", "kind"], more].concat());
    let found = json(&run(&["--format", "json", "--figure", "laws.png"]));
    assert_eq!(found["schema"], "relstab.scaling/1");
    let laws: Vec<_> = found["laws"].as_array().expect("laws").iter().collect();
    let betas: Vec<_> = laws.iter().map(|law| (law["quantity"].as_str(), law["beta"]["value"].as_f64())).collect();
    for ((quantity, beta), expected) in betas.iter().zip([0.5, 1.0, 0.0, 0.0]) {
        assert!(beta.is_some_and(|beta| (beta - expected).abs() < 1e-9), "{quantity:?} {beta:?}");
    }
    assert_eq!((laws.len(), &laws[0]["n"], &laws[0]["sizes"]), (4, &6.into(), &3.into()));
    assert_eq!(found["left_out"]["not_last"], 12);
    assert!(image::open(path.join("laws.png")).is_ok_and(|image| image.width() == 1000));

    let printed = text(&run(&["--where", "seed=0", "--figure", "laws.svg"]));
    assert!(printed.contains("0.50 [0.50, 0.50]") && printed.contains("mean of 2 groups"), "{printed}");
    assert!(printed.contains("12 left out: not chosen by --where") && printed.contains("100-1600"), "{printed}");
    let svg = fs::read_to_string(path.join("laws.svg")).expect("a figure");
    assert!(svg.contains("&lt;b&gt;slow|") && svg.contains("training images"), "{svg}");

    fs::write(path.join("found.json"), run(&["--format", "json"]).stdout).expect("written");
    let report = ["report", "found.json", "--html", "page.html", "--markdown", "page.md", "--figure", "report.svg"];
    text(&relstab_at(path, &report));
    let page = fs::read_to_string(path.join("page.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("<bdi>&lt;b&gt;slow|</bdi>") && !page.contains("<b>slow"));
    let markdown = fs::read_to_string(path.join("page.md")).expect("Markdown");
    assert!(markdown.contains("](report.svg)") && markdown.contains("| R_f | 0.50 [0.3"), "{markdown}");
}

#[test]
fn networks_and_runs_tell_the_size_themselves() {
    let place = Place::new();
    for (name, size) in [("step=000054.onnx", 1000), ("step=000316.onnx", 4000), ("step=006000.onnx", 16_000)] {
        let mut network = fs::read(bundled(name)).expect("a network");
        network.extend(property("relstab.train_size", &size.to_string()));
        place.put(name, &network);
    }
    let run = place.run();
    let mut arguments = [&["scaling", run.to_str().expect("UTF-8"), "--format", "json"], &FEW[..]].concat();
    let measured = json(&relstab_at(place.path(), &arguments));
    let law = &measured["laws"][0];
    assert_eq!((&law["quantity"], &law["n"], &law["group"]), (&"r_f".into(), &3.into(), &"networks".into()));
    assert!(law["sd_over_images"].as_f64().is_some_and(|sd| sd > 0.0), "{law}");
    assert_eq!(measured["laws"].as_array().map(Vec::len), Some(3));

    let daemon = Daemon::start(&place, &["--images", "50", "--draws", "1"]);
    assert!(place.ask("wait", &["--timeout", "50s"]).status.success());
    daemon.end();
    let journal = place.journal();
    arguments.extend(["--journal", journal.to_str().expect("UTF-8")]);
    assert_eq!(json(&relstab_at(place.path(), &arguments))["laws"], measured["laws"]);

    let saved = ["step=000054", "step=000316", "step=006000"];
    for name in saved {
        let network = run.join(format!("{name}.onnx"));
        let measure = ["measure", network.to_str().expect("UTF-8"), "--format", "json"];
        let output = relstab_at(place.path(), &[&measure, &FEW[..]].concat());
        fs::write(place.path().join(name), text(&output)).expect("written");
    }
    let of_saved = json(&relstab_at(place.path(), &[&["scaling", "--format", "json"], &saved[..]].concat()));
    assert_eq!(of_saved["laws"][0]["beta"], law["beta"]);
}

#[test]
fn the_simple_model_stands_beside_the_zoo() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [zoo, stripes] =
        ["models/zoo/results.csv", "models/stripes.csv"].map(|path| project(path).display().to_string());
    let chosen = ["--group", "architecture", "--where", "cutoff=3", "--where", "data_set=fashionmnist"];
    let beside = [&["scaling", &zoo, &stripes, "--format", "json", "--estimator", "mean"], &chosen[..]].concat();
    let found = json(&relstab_at(folder.path(), &beside));
    let of = |key: &str, source: &str, quantity: &str| {
        let all = found[key].as_array().expect("an array").iter();
        all.filter(|one| one["source"] == source && one["quantity"] == quantity).cloned().collect::<Vec<_>>()
    };
    assert_eq!((of("laws", &zoo, "r_f").len(), of("laws", &stripes, "r_f").len()), (15, 4));
    assert_eq!(of("means", &zoo, "g_f")[0]["groups"], 15);
    // 15 trainings of three sizes, five checkpoints of each, one of them before training; three settings, two data sets.
    assert_eq!(found["left_out"], serde_json::json!({"not_chosen": 1125, "initial": 45, "not_last": 135}));
    // As the example prints them.
    let falls = |law: &Value| law["beta"]["low"].as_f64().is_some_and(|low| low > 0.0);
    assert!(of("laws", &stripes, "r_f").iter().all(falls), "{found}");
}

#[test]
fn what_cannot_be_fitted_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    table(path);
    fs::write(path.join("two.csv"), "train_size,r_f\n100,0.5\n200,0.4\n").expect("written");
    fs::write(path.join("cut.json"), "{\"schema\": \"relstab.measurement/1\", ").expect("written");
    fs::write(path.join("there.svg"), "before").expect("written");
    let zoo = project("models/zoo/results.csv").display().to_string();
    for (arguments, code, parts) in [
        (&["two.csv", "--figure", "there.svg"][..], 9, &["3 or more sizes", "2 networks of 2 sizes"][..]),
        (&["networks.csv", "--where", "kind=none"], 9, &["0 networks"]),
        (&["networks.csv", "--where", "kind"], 2, &["KEY=VALUE"]),
        (&["networks.csv", "--figure", "laws.pdf"], 2, &["--figure", ".svg or .png"]),
        (&["networks.csv", "--group", "kind", "--figure", "missing/laws.svg"], 10, &["missing/laws.svg"]),
        (&["cut.json"], 9, &["cut.json", "EOF"]),
        (&["missing.csv"], 10, &["missing.csv"]),
        (&[&zoo, "--group", "architecture"], 9, &["row 2", "--where cutoff=3"]),
        (&["networks.csv", "--group", "kinds"], 9, &["--group", "kinds"]),
        (&[&zoo, "--where", "cutoff=3"], 9, &["twice", "row "]),
    ] {
        let output = relstab_at(path, &[&["scaling"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_to_string(path.join("there.svg")).expect("there"), "before");
}
