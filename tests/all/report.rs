//! What `relstab report` tells of a run and of saved results.

use std::path::Path;

use crate::common::daemon::{Daemon, Place, bundled};
use crate::common::in_bundled;
use relstab::report::document::{self, Block, Document, Shown, Text, showing};
use relstab::report::script::UPLOT;
use relstab::report::{markdown, terminal};
use serde_json::Value;

/// A name that is markup in HTML, in Markdown and in its tables.
const HOSTILE: &str = "<img src=x onerror=alert(1)> a|b `c` &amp; *d* [e](f) step_54.onnx";
/// One that hides its end and breaks its line.
const REVERSED: &str = "line\nbreak \u{202e}gnp.x step_97.onnx";

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("a file")
}

fn put(place: &Place, name: &str, checkpoint: &str) {
    place.put(name, &std::fs::read(bundled(checkpoint)).expect("a network"));
}

/// Has a daemon measure what is in the run.
fn measure(place: &Place, more: &[&str]) {
    measure_until(place, more, &[]);
}

/// What is `awaited` is all that the journal knows, or one step.
fn measure_until(place: &Place, more: &[&str], awaited: &[&str]) {
    let daemon = Daemon::start(place, &[&["--give-up", "1s"], more].concat());
    let waited = place.ask("wait", &[&["--timeout", "50s"], awaited].concat());
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    daemon.end();
}

/// The report of a run in both formats.
fn report(place: &Place) -> (String, String) {
    let [html, markdown] = ["report.html", "report.md"].map(|name| place.path().join(name));
    let files = ["--html", html.to_str().expect("UTF-8"), "--markdown", markdown.to_str().expect("UTF-8")];
    let output = place.ask("report", &files);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (read(html), read(markdown))
}

/// The cells of the rows of a Markdown table under `heading`; a backslash escapes no bar here.
fn table(markdown: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = markdown.split_once(&format!("## {heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The numbers in a cell.
fn numbers(cell: &str) -> Vec<f64> {
    let words = cell.split(|c: char| c.is_whitespace() || "[],%".contains(c));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Whether `cell` shows these values, times `unit`, as far as they are printed.
fn shows(cell: &str, values: &[&Value], unit: f64) -> bool {
    let shown = numbers(cell);
    let near = |(shown, value): (&f64, &&Value)| {
        let value = unit * value.as_f64().expect("a number");
        (shown - value).abs() <= 0.0051 * value.abs() + if unit > 1.0 { 0.0501 } else { 0.0 }
    };
    shown.len() == values.len() && shown.iter().zip(values).all(near)
}

#[test]
fn a_run_is_told_as_its_history_has_it() {
    let place = Place::new();
    for step in [0, 30, 6000] {
        let name = format!("step={step:06}.onnx");
        put(&place, &name, &name);
    }
    place.put("step=000009.onnx", b"no network");
    measure(&place, &["--stop", "monitor=r_f,patience=1"]);
    let history = place.history();
    let history = history.as_array().expect("a list");
    let (html, markdown) = report(&place);

    let rows = table(&markdown, "Checkpoints");
    let measured: Vec<_> = history.iter().filter(|entry| entry["state"] == "measured").collect();
    assert_eq!((rows.len(), measured.len()), (3, 3));
    for (row, entry) in rows.iter().zip(measured) {
        let record = &entry["measurement"];
        let ends = |estimate: &'static str| ["value", "low", "high"].map(|end| &record[estimate][end]);
        let prediction = &record["prediction"];
        assert!(shows(&row[0], &[&entry["step"]], 1.0) && shows(&row[1], &[&entry["epoch"]], 1.0), "{row:?}");
        assert!(shows(&row[2], &ends("r_f"), 1.0), "{row:?} {}", record["r_f"]);
        let predicted = ["error", "low", "high"].map(|end| &prediction[end]);
        let is_shown = if prediction.is_null() { row[3] == "–" } else { shows(&row[3], &predicted, 100.0) };
        assert!(is_shown, "{row:?} {prediction}");
        assert!(shows(&row[4], &[&entry["val_error"]], 100.0), "{row:?}");
        assert!(shows(&row[5], &[&record["probe_error"]], 100.0), "{row:?}");
        assert!(shows(&row[6], &[&record["d_f"]["value"]], 1.0), "{row:?}");
        assert!(shows(&row[7], &[&record["g_f"]["value"]], 1.0), "{row:?}");
        for cell in &row[..8] {
            assert!(html.contains(&format!(">{cell}</t")), "{cell} is not in the page");
        }
    }
    let failed = table(&markdown, "Not measured");
    let reason = history.iter().find_map(|entry| entry["reason"].as_str()).expect("a failure");
    assert_eq!((failed.len(), failed[0][2].as_str()), (1, "**failed**"));
    assert!(failed[0][3].starts_with(&reason[..40]), "{failed:?} {reason}");

    let rules = table(&markdown, "Stop rules");
    assert_eq!((rules.len(), &rules[0][..2]), (1, &["r_f".to_owned(), "step 6000".to_owned()][..]), "{rules:?}");
    assert_eq!(rules[0][3..], ["1", "go on", "–", "–"], "{rules:?}");
    for text in [&html, &markdown] {
        for part in ["fashionmnist-c3-strided", "patience left", "before any training", "cutoff", "probe.npz", "tract"]
        {
            assert!(text.contains(part), "{part}");
        }
    }
    let best = String::from_utf8_lossy(&place.ask("best", &[]).stdout).into_owned();
    let best = best.trim().rsplit('/').next().expect("a name");
    assert!(markdown.contains(&format!("Best checkpoint: step 6000, `{best}`: R_f {}", rows[2][2])), "{markdown}");
    assert_eq!(markdown.to_lowercase().matches("best checkpoint").count(), 1, "{markdown}");
}

#[test]
fn names_are_text_and_a_page_stands_alone() {
    let place = Place::new();
    put(&place, HOSTILE, "step=000054.onnx");
    place.put(REVERSED, b"no network");
    measure(&place, &[]);
    let (html, markdown) = report(&place);

    assert!(!html.contains("<img") && !html.contains('\u{202e}') && !html.contains("line\nbreak"));
    assert!(html.contains("<bdi>&lt;img src=x onerror=alert(1)&gt; a|b `c` &amp;amp; *d* [e](f) step_54.onnx</bdi>"));
    assert!(html.contains(r"<bdi>line\nbreak \u{202e}gnp.x step_97.onnx</bdi>"));
    assert!(!markdown.contains("<img") && !markdown.contains('\u{202e}') && !markdown.contains("line\nbreak"));
    let name = table(&markdown, "Checkpoints")[0].last().cloned().expect("cells");
    assert!(name.starts_with("<code>&#60;img src=x onerror=alert(1)&#62; a&#124;b &#96;c&#96; &#38;amp;"), "{name}");
    let failed = table(&markdown, "Not measured");
    assert_eq!(failed[0][0], r"`line\nbreak \u{202e}gnp.x step_97.onnx`");
    assert_eq!(failed[0].len(), 4, "{failed:?}");

    let own = html.replace(UPLOT, "");
    assert!(html.len() < 300_000 && !own.contains("://") && !own.contains("@import"), "{own}");
    assert!(own.contains("default-src 'none'; script-src 'unsafe-inline'"));
    assert_eq!((own.matches("<script").count(), own.matches("</script>").count()), (7, 7));
    let (_, data) = own.split_once(r#"id="series">"#).expect("data");
    let data = data.split("</script>").next().expect("data");
    let series: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(series[0]["run"], place.run_name().as_str());
    assert!(series[0]["r_f"][0].is_number(), "{data}");
}

#[test]
fn checkpoints_that_were_measured_in_different_ways_are_told_apart() {
    let place = Place::new();
    put(&place, "step=000054.onnx", "step=000054.onnx");
    measure(&place, &[]);
    std::fs::remove_file(place.run().join("step=000054.onnx")).expect("removed");
    put(&place, "step=006000.onnx", "step=006000.onnx");
    measure_until(&place, &["--draws", "2"], &["--step", "6000"]);
    let (_, markdown) = report(&place);
    let ways: Vec<_> = table(&markdown, "Checkpoints").into_iter().map(|row| row[8].clone()).collect();
    assert_eq!(ways, ["1", "2"]);
    assert!(markdown.contains("in 2 different ways") && markdown.contains("What differs: draws."), "{markdown}");
    assert!(markdown.contains("- draws: (1) 1; (2) 2\n"), "{markdown}");
}

#[test]
fn figures_are_of_runs() {
    let place = Place::new();
    put(&place, "step=006000.onnx", "step=006000.onnx");
    measure(&place, &[]);
    let [svg, png, markdown] = ["a b.svg", "a.png", "report.md"].map(|name| place.path().join(name));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let output = place.ask("report", &["--figure", &text(&svg), "--markdown", &text(&markdown)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn = read(&svg);
    for label in ["R_f", "predicted error", "known", "D_f", "G_f", "step"] {
        assert!(drawn.contains(label), "{label}");
    }
    assert!(read(&markdown).contains("](a%20b.svg)"));
    assert!(place.ask("report", &["--figure", &text(&png)]).status.success());
    assert!(image::open(&png).is_ok_and(|image| image.width() == 1000));
    let other = place.ask("report", &["--figure", "figure.pdf"]);
    assert_eq!(other.status.code(), Some(2));
}

#[test]
fn saved_results_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let fixed = ["--backend", "tract", "--images", "50", "--draws", "1", "--format", "json"];
    let saved = |name: &str, arguments: &[&str]| {
        std::fs::write(path(name), in_bundled(&[arguments, &fixed].concat()).stdout).expect("written");
        let page = path("page.html");
        assert!(in_bundled(&["report", &path(name), "--html", &page]).status.success(), "{name}");
        let printed = in_bundled(&["report", &path(name)]);
        (String::from_utf8(printed.stdout).expect("UTF-8"), read(page))
    };
    let [last, early] = ["step=006000.onnx", "step=000030.onnx"];
    let (text, page) = saved("measured.json", &["measure", last]);
    assert!(text.starts_with("# Network `step=006000.onnx`\n") && text.contains("- draws: 1\n"), "{text}");
    assert!(page.contains("predicted error") && !page.contains("id=\"series\""));

    let table = path("table.md");
    let (text, page) =
        saved("checked.json", &["check", last, early, "relstab.toml", "--max-rf", "0.9", "--markdown", &table]);
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((rows(&text).len(), rows(&text)), (3, rows(&read(&table))));
    assert!(
        page.contains("<strong class=\"bad\">falls short</strong>")
            && page.contains("<span class=\"good\">holds</span>")
    );

    let (text, page) = saved("compared.json", &["compare", early, last]);
    assert!(text.contains("| `step=006000.onnx` | 1 |") && text.contains("| `step=000030.onnx` | 2 |"), "{text}");
    assert!(text.contains("the first has the lower R_f") && page.contains("the first has the lower R_f"));
}

#[test]
fn what_cannot_be_told_says_so_and_what_was_there_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = in_bundled(&[&["report"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let there = path("there.html");
    std::fs::write(&there, "before").expect("written");
    let none = path("none.sqlite");
    let journal = path("journal.sqlite");
    drop(relstab::journal::Journal::open(journal.as_ref()).expect("made"));
    fails(&[".", "--journal", &none, "--html", &there], 12, &["none.sqlite"]);
    fails(&[".", "--journal", &journal, "--html", &there], 12, &["run ", "watch it first"]);

    let [other, truncated, whole] = ["other.json", "truncated.json", "whole.json"].map(path);
    std::fs::write(&other, r#"{"schema": "relstab.measurement/9"}"#).expect("written");
    fails(&[&other, "--html", &there], 2, &["SOURCE", "relstab.measurement/9", "other.json"]);
    let measured =
        ["measure", "step=006000.onnx", "--backend", "tract", "--images", "20", "--draws", "1", "--format", "json"];
    let text = in_bundled(&measured).stdout;
    std::fs::write(&whole, &text).expect("written");
    std::fs::write(&truncated, &text[..text.len() / 2]).expect("written");
    fails(&[&truncated, "--html", &there], 2, &["EOF", "truncated.json"]);
    fails(&[&whole, "--figure", "figure.svg"], 2, &["--figure", "a run's directory"]);
    fails(&[&whole, "--html", &path("missing/page.html")], 10, &["missing/page.html", "write"]);
    fails(&[&whole, "--markdown", &path("")], 10, &["write"]);
    fails(&[&whole, "--html", "/dev/full"], 10, &["/dev/full"]);
    assert_eq!(read(&there), "before");
    let names = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(names, 5, "something was left behind");
}

#[test]
fn a_terminal_gets_what_is_short_in_columns_with_long_names_last() {
    let columns = document::columns(&["network", "rank", "R_f", "EI"], &["rank", "R_f", "EI"]);
    let columns = showing(showing(columns, Shown::Nothing, &["EI"]), Shown::Values, &["R_f"]);
    let columns = showing(columns, Shown::Last, &["network"]);
    let row = |name: &str, rank: &str, r_f: &str| vec![Text::name(name), rank.into(), r_f.into(), "1".into()];
    let rows = [row("a.onnx", "1", "0.5 [0.4, 0.6]"), row("b\u{202e}.onnx", "10", "0.25 [0.2, 0.3]")];
    let told = Document {
        title: vec!["Title".into()],
        heading: vec![vec!["Two networks".into()]],
        blocks: vec![
            document::table("Caption", columns, rows),
            Block::Details(vec![Block::Heading("Measured with")]),
            Block::Facts(vec![("R_f", vec!["0.5".into(), Text::remark("95% interval")])]),
            Block::List(vec![vec!["one left out".into()]]),
        ],
    };
    let table = "Two networks\nrank   R_f  network\n   1   0.5  a.onnx\n  10  0.25  b\\u{202e}.onnx\n";
    let fact = format!("  {:<16} {:<26} 95% interval\n", "R_f", "0.5");
    assert_eq!(terminal::text(&told), format!("{table}{fact}  note: one left out\n"));
    let long = markdown::text(&told, 1, None);
    assert!(long.contains("## Measured with") && long.contains("- R_f: 0.5 (95% interval)\n"), "{long}");
    assert!(!markdown::text(&told.short(), 1, None).contains("Measured with"));
}
