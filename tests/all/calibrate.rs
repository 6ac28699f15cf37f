//! Laws of one's own, through the command: fitted, saved, applied, refused.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::daemon::{Client, Daemon, Place, bundled};
use crate::common::{project, relstab_at};
use serde_json::{Value, json};

const FEW: [&str; 6] = ["--backend", "tract", "--images", "200", "--draws", "2"];

/// A home of its own for saved laws and journals.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        relstab_at(self.0.path(), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Exit code and complaint.
    fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn table(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    }
}

fn bundled_run() -> String {
    project("models/fashion-mnist-cnn").to_string_lossy().into_owned()
}

/// Networks of `0.3 R_f^0.5`, five runs of four, as CSV.
fn table(more: &str) -> String {
    let mut text = "run,step,r_f,error,confidence_clean,side,classes,cutoff\n".to_owned();
    for index in 0..20 {
        let r_f = 0.05 * 1.3f64.powi(index * 7 % 20);
        let error = 0.3 * r_f.sqrt() * if index % 2 == 0 { 1.05 } else { 0.95 };
        let confidence = 0.5 + 0.02 * f64::from(index * 3 % 20);
        text += &format!("run {},{},{r_f},{error},{confidence},28,10,3\n", index / 4, 100 + index);
    }
    text + more
}

#[test]
fn a_law_from_a_directory_is_saved_and_applied() {
    let (home, run) = (Home::new(), bundled_run());
    let fitted = home.json(&[&["calibrate", &run, "--save", "mine"], &FEW[..]].concat());
    assert_eq!((&fitted["schema"], &fitted["law"]["version"]), (&json!("relstab.law/1"), &json!(1)));
    // Step 0 is left out; one training keeps the usual form.
    assert_eq!((&fitted["law"]["points"], &fitted["calibration"]["form"]), (&json!(10), &json!("invariance")));
    assert_eq!(fitted["calibration"]["verdict"], "predictive", "{fitted}");
    assert!(fitted["calibration"]["candidates"].as_array().is_some_and(|all| all.len() == 8));

    let last = format!("{run}/step=006000.onnx");
    let measured = home.json(&[&["measure", &last, "--law", "mine"], &FEW[..]].concat());
    let prediction = &measured["prediction"];
    assert_eq!(
        (&prediction["law"]["name"], &prediction["law"]["version"]),
        (&json!("mine"), &json!(1)),
        "{prediction}"
    );
    let number = |value: &Value| value.as_f64().expect("a number");
    let known = number(&measured["metadata"]["val_error"]);
    assert!(number(&prediction["low"]) < known && known < number(&prediction["high"]), "{prediction}");

    // The error on the probe images counts if asked for, and gives the next version.
    let again = home.json(&[&["calibrate", &run, "--save", "mine", "--error", "probe_error"], &FEW[..]].concat());
    assert_eq!(again["law"]["version"], 2);
    assert_ne!(again["law"]["a"], fitted["law"]["a"]);
    let confidence =
        home.json(&[&["calibrate", &run, "--save", "sure", "--form", "confidence_clean"], &FEW[..]].concat());
    assert_eq!(confidence["law"]["terms"], json!(["confidence_clean"]));
    let measured = home.json(&[&["measure", &last, "--law", "sure"], &FEW[..]].concat());
    assert_eq!(measured["prediction"]["law"]["terms"], json!(["confidence_clean"]));

    let listed = String::from_utf8(home.run(&["calibrate", "list"]).stdout).expect("text");
    assert!(listed.contains("cifar10-c5") && listed.contains("mine") && listed.contains("sure"), "{listed}");
    assert_eq!(home.json(&["calibrate", "show", "mine"])["law"], again["law"]);
    assert_eq!(home.json(&["calibrate", "show", "cifar10"])["law"]["a"], 0.2);
    assert!(home.run(&["calibrate", "remove", "mine"]).status.success());
    assert_eq!(home.refused(&["calibrate", "remove", "mine"]).0, Some(2));
    let (code, told) = home.refused(&[&["measure", &last, "--law", "mine"], &FEW[..]].concat());
    assert!(code == Some(9) && told.contains("sure"), "{told}");
}

#[test]
fn a_law_from_a_journal_counts_the_errors_that_were_told() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    for step in ["000030", "000054", "003330", "006000"] {
        let name = format!("step={step}.onnx");
        place.put(&name, &fs::read(bundled(&name)).expect("a network"));
    }
    client.outcomes(4);
    place.annotate(&daemon, 6000, 0.05);
    let output = place.ask("calibrate", &["--format", "json"]);
    let fitted: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let points = fitted["calibration"]["points"].as_array().expect("points");
    let told =
        |label: &str| points.iter().find(|point| point["label"].as_str().is_some_and(|path| path.ends_with(label)));
    assert_eq!(points.len(), 4, "{fitted}");
    assert_eq!(told("step=006000.onnx").map(|point| &point["error"]), Some(&json!(0.05)));
    assert_eq!(points[0]["run"], place.run_name());
}

#[test]
fn a_law_from_a_table_is_found_again() {
    let home = Home::new();
    let fitted = home.json(&["calibrate", &home.table("a.csv", &table(""))]);
    let law = &fitted["law"];
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap_or(f64::NAN) / expected - 1.0).abs() < 0.05;
    assert!(near(&law["a"], 0.3) && near(&law["b"], 0.5), "{law}");
    let text = String::from_utf8(home.run(&["calibrate", &home.table("a.csv", &table(""))]).stdout).expect("text");
    assert!(text.contains("predictive") && text.contains("runs left out"), "{text}");
    // One network far off is flagged, and counts.
    let far = home.json(&["calibrate", &home.table("b.csv", &table("run 9,5,0.1,0.9,0.7,28,10,3\n")), "--form", "r_f"]);
    let flagged: Vec<_> = far["calibration"]["points"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|point| point["outlier"] == true)
        .collect();
    assert!(flagged.len() == 1 && flagged[0]["run"] == "run 9", "{flagged:?}");
    assert_ne!(far["law"]["a"], law["a"]);
}

#[test]
fn bad_input_is_refused_by_name() {
    let home = Home::new();
    let header = "r_f,error,side,classes\n";
    for (rows, more, code, part) in [
        ("", &[][..], 9, "none"),
        ("0.5,0.1,28,10\n", &[], 9, "--prior"),
        ("0.5,0.1,28,10\n0.6,0.2,28,10\n", &[], 9, "--prior"),
        ("0.5,0.1,28,10\n0.5,0.2,28,10\n0.5,0.3,28,10\n", &[], 9, "different R_f"),
        ("0.5,0.1,28,10\n0.6,0,28,10\n0.7,0.2,28,10\n", &[], 9, "2 of them"),
        ("0.5,0.1,28,10\n0.6,1.5,28,10\n0.7,0.2,28,10\n", &[], 9, "row 2"),
        ("0.5,0.1,28,10\n-0.6,0.2,28,10\n0.7,0.2,28,10\n", &[], 9, "row 2"),
        ("0.5,0.1,28,10\n0.6,0.2\n", &[], 9, "row 2"),
        ("0.5,0.1,28,10\n0.6,0.2,28,100\n", &[], 9, "classes"),
        ("0.5,0.1,28,10\n", &["--prior", "cifar10"], 9, "image side"),
        ("0.5,0.1,28,10\n", &["--prior", "nothing"], 9, "cifar10-c5"),
        ("0.5,0.1,28,10\n", &["--save", "cifar10"], 9, "preset"),
        ("0.5,0.1,28,10\n", &["--save", "../up"], 9, "letters"),
        ("0.5,0.1,28,10\n", &["--save", "run"], 9, "letters"),
        ("0.5,0.1,32,10\n", &["--prior", "cifar10", "--form", "invariance"], 2, "--form"),
        ("0.5,0.1,28,10\n0.6,0.2,28,10\n0.7,0.2,28,10\n", &["--form", "d_f_and_g_f"], 9, "d_f_and_g_f"),
    ] {
        let path = home.table("bad.csv", &format!("{header}{rows}"));
        let (found, told) = home.refused(&[&["calibrate", path.as_str()], more].concat());
        assert!(found == Some(code) && told.contains(part), "{rows} {more:?}: {found:?} {told}");
    }
    let path = home.table("delta.csv", "r_f,error,side,classes,delta\n0.5,0.1,28,10,-1\n");
    let (code, told) = home.refused(&["calibrate", &path]);
    assert!(code == Some(9) && told.contains("a delta above 0"), "{told}");
    let (code, told) = home.refused(&["calibrate", "absent.csv"]);
    assert!(code == Some(10) && told.contains("absent.csv"), "{told}");
    assert!(!Path::new(&home.0.path().join("data")).exists());
}

/// Networks of about `error = 0.2 (1 - EI)`, as CSV.
fn invariances(count: usize, side: u32, classes: u32) -> String {
    let row = |index: usize| {
        let left = 0.15 + 0.1 * index as f64;
        let error = 0.2 * left * if index.is_multiple_of(2) { 1.05 } else { 0.95 };
        format!("{},{error},{side},{classes}\n", 1.0 - left)
    };
    (0..count).map(row).fold("invariance_deformed,error,side,classes\n".to_owned(), |text, row| text + &row)
}

#[test]
fn a_law_starts_from_the_usual_one_where_that_speaks_of_the_networks() {
    let home = Home::new();
    let from = |fitted: &Value| {
        let source = fitted["law"]["source"].as_str().expect("a source").to_owned();
        source.rsplit_once("starting from ").map(|(_, name)| name.to_owned()).expect("a start")
    };
    let path = home.table("own.csv", &invariances(4, 32, 10));
    let usual = home.json(&["calibrate", &path]);
    assert_eq!(from(&usual), "invariance");
    assert_eq!(
        usual["law"]["posterior"],
        home.json(&["calibrate", &path, "--prior", "invariance"])["law"]["posterior"]
    );
    let nothing = home.json(&["calibrate", &path, "--prior", "none"]);
    assert_eq!(from(&nothing), "nothing");
    assert_ne!(nothing["law"]["posterior"], usual["law"]["posterior"]);
    let text = String::from_utf8(home.run(&["calibrate", &path]).stdout).expect("text");
    assert!(text.contains("starting from invariance"), "{text}");
    // One network is enough, and as few as without a law are not.
    let one = home.table("one.csv", &invariances(1, 32, 10));
    assert_eq!(from(&home.json(&["calibrate", &one])), "invariance");
    assert_eq!(home.refused(&["calibrate", &one, "--prior", "none"]).0, Some(9));

    // Of other sides and classes it says nothing, unless it is forced to.
    for (side, classes, part) in [(224, 10, "side 28 to 32"), (32, 1000, "2 to 10 classes")] {
        let far = home.table("far.csv", &invariances(4, side, classes));
        assert_eq!(from(&home.json(&["calibrate", &far])), "nothing");
        let (code, told) = home.refused(&["calibrate", &far, "--prior", "invariance"]);
        assert!(code == Some(9) && told.contains(part), "{told}");
        let forced = home.json(&["calibrate", &far, "--prior", "invariance", "--force-law"]);
        assert!(forced["law"]["forced"].as_str().is_some_and(|text| text.contains(part)), "{forced}");
    }
}

#[test]
fn evidence_leaves_out_errors_of_0_and_keeps_networks_of_other_settings_apart() {
    let home = Home::new();
    let good = invariances(6, 32, 10);
    let told = home.json(&["evidence", &home.table("zero.csv", &(good.clone() + "0.99,0,32,10\n"))]);
    assert_eq!((&told["left_out"], &told["sets"][0]["quantities"][0]["points"]), (&json!(1), &json!(6)), "{told}");
    for (row, part) in [
        ("0.5,1.5,32,10\n", "an error from 0 to 1"),
        ("0.5,-0.1,32,10\n", "an error from 0 to 1"),
        ("0.5,0.1,64,10\n", "image side"),
        ("0.5,0.1,32,100\n", "classes"),
    ] {
        let (code, told) = home.refused(&["evidence", &home.table("bad.csv", &(good.clone() + row))]);
        assert!(code == Some(9) && told.contains("row 7") && told.contains(part), "{row}: {told}");
    }
    let apart = home.table("far.csv", &(good.clone() + "0.5,0.1,64,10\n"));
    assert!(home.run(&["evidence", &apart, "--force-law"]).status.success());
    // Copies of the images are a set of their own, named or not.
    let copies = good.lines().enumerate().fold(String::new(), |text, (index, line)| {
        let pixels = if index == 0 {
            "pixels"
        } else if index % 2 == 0 {
            "jpeg"
        } else {
            "original"
        };
        text + line + "," + pixels + "\n"
    });
    let copies = home.table("copies.csv", &copies);
    let told = home.json(&["evidence", &copies]);
    let names: Vec<_> = told["sets"].as_array().into_iter().flatten().map(|set| set["data_set"].clone()).collect();
    assert_eq!(names, ["jpeg", "original"]);
    let (code, refused) = home.refused(&["calibrate", &copies]);
    assert!(code == Some(9) && refused.contains("data set original"), "{refused}");
    // The first row need not say which.
    let unsaid =
        home.table("unsaid.csv", &fs::read_to_string(&copies).expect("read").replacen(",original\n", ",\n", 1));
    let (code, refused) = home.refused(&["calibrate", &unsaid]);
    assert!(code == Some(9) && refused.contains("data set jpeg"), "{refused}");
}

#[test]
fn a_network_of_one_output_has_a_law_of_two_classes() {
    let home = Home::new();
    let path = home.table("one.csv", &invariances(4, 32, 1));
    let fitted = home.json(&["calibrate", &path, "--prior", "none", "--save", "binary"]);
    assert_eq!(fitted["law"]["classes"], 2);
    assert!(home.run(&["calibrate", "show", "binary"]).status.success());
}

#[test]
fn networks_of_other_settings_are_refused_unless_forced_and_then_marked() {
    let home = Home::new();
    let path = home.table("mixed.csv", &table("run 9,5,0.1,0.09,0.7,28,10,5\n"));
    let (code, told) = home.refused(&["calibrate", &path]);
    assert!(code == Some(9) && told.contains("row 21") && told.contains("cutoff 3"), "{told}");
    let forced = home.json(&["calibrate", &path, "--force-law", "--save", "mixed"]);
    assert!(forced["law"]["forced"].as_str().is_some_and(|text| text.contains("row 21")), "{forced}");
    let last = format!("{}/step=006000.onnx", bundled_run());
    let measured = home.json(&[&["measure", &last, "--law", "mixed"], &FEW[..]].concat());
    let warnings = measured["prediction"]["warnings"].to_string();
    assert!(warnings.contains("forced"), "{warnings}");
    // The law itself is for cutoff 3 alone.
    let (code, told) = home.refused(&[&["measure", &last, "--law", "mixed", "--cutoff", "5"], &FEW[..]].concat());
    assert!(code == Some(9) && told.contains("cutoff 3"), "{told}");
    let measured =
        home.json(&[&["measure", &last, "--law", "mixed", "--cutoff", "5", "--force-law"], &FEW[..]].concat());
    let warnings = measured["prediction"]["warnings"].to_string();
    assert!(warnings.contains("law mixed was forced") && warnings.contains("cutoff 3"), "{warnings}");
}

/// A run whose checkpoints tell no error of their own.
fn nameless_errors(place: &Place, steps: &[&str]) {
    for step in steps {
        let mut bytes = fs::read(bundled(&format!("step={step}.onnx"))).expect("a network");
        // Of a key that is there twice the last one counts; what is no number is left out.
        bytes.extend(crate::common::daemon::property("relstab.val_error", "unknown"));
        place.put(format!("step={step}.onnx"), &bytes);
    }
}

#[test]
fn a_run_takes_its_known_errors_into_its_law() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "monitor=predicted_error,patience=50"]);
    let mut client = Client::subscribed(&daemon, 0);
    nameless_errors(&place, &["000030", "000054", "003330"]);
    for event in client.outcomes(3) {
        let law = &event["measurement"]["prediction"]["law"];
        assert_eq!((&law["name"], &law["version"]), (&json!("fashionmnist-c3-strided"), &json!(1)), "{event}");
    }
    let predictions = || {
        let history = place.history();
        let of = |entry: &Value| entry["measurement"]["prediction"].clone();
        history.as_array().into_iter().flatten().map(of).collect::<Vec<_>>()
    };
    let before = predictions();
    let annotate = |step: u64, val_error: f64| place.annotate(&daemon, step, val_error);
    for (version, (step, error)) in [(30, 0.6), (54, 0.55)].into_iter().enumerate() {
        annotate(step, error);
        let after = predictions();
        for (old, new) in before.iter().zip(&after) {
            let expected = (json!("fashionmnist-c3-strided+run"), json!(version + 1));
            assert_eq!((&new["law"]["name"], &new["law"]["version"]), (&expected.0, &expected.1), "{new}");
            // This run errs more often than the law it was given would have it.
            assert!(new["error"].as_f64() > old["error"].as_f64(), "{old} {new}");
        }
    }
    // The rule sees all of the run by one version.
    let decision = daemon.client().ask(&json!({"type": "decision", "run": place.run_name()}));
    let best = decision["best"]["value"].as_f64().expect("a value");
    let least = predictions().iter().filter_map(|prediction| prediction["error"].as_f64()).fold(1.0, f64::min);
    assert!((best - least).abs() < 1e-12, "{decision}");

    // The next checkpoint is predicted by the present version, and events stay as they were sent.
    nameless_errors(&place, &["006000"]);
    let event = client.next_of("measured");
    assert_eq!(event["measurement"]["prediction"]["law"]["version"], 2, "{event}");
    let versions: Vec<_> = place.events().iter().filter(|event| event["type"] == "measured").cloned().collect();
    assert!(versions.iter().take(3).all(|event| event["measurement"]["prediction"]["law"]["version"] == 1));
    // The same error told again changes nothing; another one does; a restart does not.
    annotate(54, 0.55);
    assert_eq!(predictions()[0]["law"]["version"], 2);
    annotate(54, 0.5);
    let last = predictions();
    assert_eq!(last[0]["law"]["version"], 3);
    daemon.kill();
    let _daemon = Daemon::start(&place, &[]);
    assert_eq!(predictions(), last);
}

#[test]
fn a_run_without_a_law_comes_to_one_and_a_law_may_be_held() {
    let place = Place::new();
    let config = "probe = 'probe.npz'\npreprocess = { mean = [0.2860], std = [0.3530] }\n";
    fs::write(place.run().join("relstab.toml"), format!("law = 'none'\n{config}")).expect("written");
    let daemon = Daemon::start(&place, &["--images", "200", "--draws", "2"]);
    let mut client = Client::subscribed(&daemon, 0);
    let steps = ["000030", "000054", "000097", "001848", "003330", "006000"];
    let add = |step: &str| {
        let name = format!("step={step}.onnx");
        place.put(&name, &fs::read(bundled(&name)).expect("a network"));
    };
    for (count, step) in steps.iter().enumerate() {
        add(step);
        let record = &client.next_of("measured")["measurement"];
        let warned = record["warnings"].to_string().contains("no prediction");
        // Five known errors make a law, which predicts from the sixth checkpoint on.
        assert_eq!(record["prediction"]["law"]["name"] == "run", count >= 5, "{record}");
        assert_eq!(warned, count < 5, "{record}");
    }
    let law = |name: Value| {
        crate::common::daemon::eventually("the history has the law", || {
            place.history()[5]["measurement"]["prediction"]["law"]["name"] == name
        });
    };
    law(json!("run"));
    for (line, expected) in [
        ("law = 'fashionmnist-c3'\nrefit = false\n", "fashionmnist-c3"),
        ("law = 'fashionmnist-c3'\n", "fashionmnist-c3+run"),
        ("", "invariance+run"),
    ] {
        fs::write(place.run().join("relstab.toml"), format!("{line}{config}")).expect("written");
        daemon.signal(rustix::process::Signal::HUP);
        law(json!(expected));
    }
}
