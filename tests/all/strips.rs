//! The probe images whose answers move most: chosen by a measurement's passes, kept in the journal, shown over HTTP.

use std::path::PathBuf;

use crate::common::FixedBackend;
use crate::common::daemon::{Client, Place};
use crate::common::http::{get, start};
use relstab::event::{Format, Row, STRIP_BYTES, STRIP_IMAGES, Shown, Strip, Told};
use relstab::journal::{Journal, Outcome, Policy, Sighting};
use relstab::measure::{Kept, Settings, logits, measure_more, strip};
use relstab::perturb::Perturber;
use relstab::probe::{ProbeSet, Shape};
use relstab::stop::{Monitor, Rule};
use serde_json::{Value, json};

const SHAPE: Shape = Shape { channels: 1, height: 28, width: 28 };
const IMAGES: usize = 40;

fn number(at: usize) -> f32 {
    ((at as f32 * 0.618).fract() - 0.5) * 0.4
}

fn probe() -> ProbeSet {
    let values = (0..IMAGES * SHAPE.len()).map(|at| 0.5 + number(at * at % 7919)).collect();
    let labels = (0..IMAGES as u32).map(|image| image % 5).collect();
    ProbeSet::from_nchw(values, [IMAGES, 1, 28, 28], Some(labels)).expect("a probe set")
}

fn network(outputs: usize) -> FixedBackend {
    FixedBackend::linear(SHAPE, (7..7 + outputs * SHAPE.len()).map(|at| 4.0 * number(at * 31 % 6007)).collect())
}

fn settings() -> Settings {
    Settings { images: IMAGES, draws: 2, ..Settings::default() }
}

fn strip_of(network: &FixedBackend, probe: &ProbeSet) -> Strip {
    let mut kept = Kept::default();
    measure_more(network, probe, &settings(), &mut kept, &|_, _| ()).expect("measured");
    strip(network, probe, &settings(), &kept, &|_, _| ()).expect("drawn").expect("a strip")
}

/// An image as it is, and each draw of it deformed and with noise.
fn perturbed(probe: &ProbeSet, index: usize) -> Vec<[Vec<f32>; 3]> {
    let perturber = Perturber::new(SHAPE, &settings().deformation, settings().seed).expect("valid settings");
    let mut scratch = perturber.scratch();
    let draw = |draw| {
        let [mut image, mut deformed, mut noisy] = [(); 3].map(|()| vec![0.0; SHAPE.len()]);
        probe.image(index, &mut image);
        perturber.deform(index as u64, draw, &image, &mut deformed, &mut scratch);
        perturber.noise(index as u64, draw, &image, &deformed, &mut noisy);
        [image, deformed, noisy]
    };
    (0..2).map(draw).collect()
}

/// What a network says to one image: its class and how sure it is, by the definition.
fn told(network: &FixedBackend, image: &[f32]) -> (usize, f64) {
    let set = ProbeSet::from_nchw([image, image].concat(), [2, 1, 28, 28], None).expect("a probe set");
    let outputs = logits(network, &set, &|_, _| ()).expect("computed");
    let outputs = &outputs[..outputs.len() / 2];
    let class = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).expect("a class");
    let sum: f64 = outputs.iter().map(|value| f64::from(value - outputs[class]).exp()).sum();
    (class, 1.0 / sum)
}

#[test]
fn a_strip_shows_the_images_of_the_least_invariance_and_what_the_network_says() {
    let (probe, network) = (probe(), network(10));
    let Strip { shown: Shown { width, height, rows }, format, picture } = strip_of(&network, &probe);
    assert_eq!((width, height, rows.len(), format), (28, 28, STRIP_IMAGES, Format::Png));
    assert!(picture.len() <= STRIP_BYTES);
    let invariance = |index: usize| {
        let of_draw = |[image, deformed, _]: &[Vec<f32>; 3]| {
            let (before, after) = (told(&network, image), told(&network, deformed));
            if before.0 == after.0 { (before.1 * after.1).sqrt() } else { 0.0 }
        };
        perturbed(&probe, index).iter().map(of_draw).sum::<f64>() / 2.0
    };
    let shown: Vec<usize> = rows.iter().map(|row| row.image["image ".len()..].parse().expect("a number")).collect();
    let of_shown: Vec<_> = shown.iter().map(|index| invariance(*index)).collect();
    assert!(of_shown.is_sorted_by(|a, b| *a <= *b + 1e-5), "{of_shown:?}");
    let most = of_shown[STRIP_IMAGES - 1];
    let others = (0..IMAGES).filter(|index| !shown.contains(index));
    assert!(others.clone().all(|index| invariance(index) >= most - 1e-5), "{of_shown:?}");
    for (Row { label, draw, answers, .. }, index) in rows.iter().zip(shown) {
        assert_eq!(*label, Some(index as u32 % 5));
        let triples = perturbed(&probe, index);
        for (image, Told { class, confidence }) in triples[*draw as usize].iter().zip(answers.expect("classes")) {
            let (its_class, sure) = told(&network, image);
            assert_eq!((class as usize, (f64::from(confidence) - sure).abs() < 1e-5), (its_class, true));
        }
    }
}

#[test]
fn a_network_without_classes_shows_what_moves_its_output_most() {
    let (probe, network) = (probe(), network(1));
    let rows = strip_of(&network, &probe).shown.rows;
    assert!(rows.len() == STRIP_IMAGES && rows.iter().all(|row| row.answers.is_none()));
    let none = strip(&network, &probe, &settings(), &Kept::default(), &|_, _| ()).expect("nothing to draw");
    assert_eq!(none, None);
}

#[test]
fn the_best_and_the_latest_twenty_of_a_run_keep_their_strip() {
    let (probe, network) = (probe(), network(10));
    let mut kept = Kept::default();
    let (record, _) = measure_more(&network, &probe, &settings(), &mut kept, &|_, _| ()).expect("measured");
    let strip = strip(&network, &probe, &settings(), &kept, &|_, _| ()).expect("drawn").expect("a strip");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("made");
    let run = journal.run_id("/run").expect("a run");
    let rules = [Rule { monitor: Monitor::ValError, patience: 100, ..Rule::default() }];
    let mut ids = Vec::new();
    for step in 1..=30 {
        let path = PathBuf::from(format!("/run/step_{step}.onnx"));
        let sighting = Sighting {
            run,
            path: &path,
            fingerprint: "x",
            plan: "x",
            step: Some(step),
            epoch: None,
            written: step as i64,
            due: Some(0),
        };
        journal.see(&[sighting]).expect("seen");
        let job = journal.next(0, 0, &[], Policy::All).expect("read").0.expect("due");
        ids.push(job.id);
        let mut record = record.clone();
        record.model.sha256 = step.to_string();
        record.metadata.step = Some(step);
        // The third is the best by its error, the fifth by R_f.
        record.metadata.val_error = Some(if step == 3 { 0.1 } else { 0.2 });
        record.r_f.as_mut().expect("defined").value = if step == 5 { 0.01 } else { 1.0 };
        let strip = Some(Box::new(strip.clone()));
        let outcome = Outcome::Measured { settings: "x".to_owned(), measurement: Box::new(record), strip };
        journal.finish(&job, &outcome, Some(&rules)).expect("written");
    }
    let is_kept = |id: &&i64| journal.strip(run, **id).expect("read").is_some();
    let steps: Vec<_> = (1..).zip(&ids).filter(|(_, id)| is_kept(id)).map(|(step, _)| step).collect();
    assert_eq!(steps, [3, 5].into_iter().chain(11..=30).collect::<Vec<_>>());
    assert_eq!(journal.strip(run, ids[29]).expect("read"), Some(strip.shown));
    assert_eq!(journal.strip_picture(run, ids[29]).expect("read"), Some((strip.format, strip.picture)));
    assert_eq!(journal.strip_picture(run + 1, ids[29]).expect("read"), None);
    journal.forget("/run").expect("forgotten");
    assert_eq!(journal.strip_picture(run, ids[29]).expect("read"), None);
}

#[test]
fn images_are_shown_only_to_who_has_a_token() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let token = place.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("written");
    let address_of = |checkpoint: &str| format!("/api/runs/1/checkpoints/{checkpoint}/strip");
    {
        let (daemon, address) = start(&place, &[]);
        let event = Client::subscribed(&daemon, 0).next_of("measured");
        assert!(event.get("strip").is_none() && event["measurement"].get("strip").is_none(), "{event}");
        for path in [address_of("1"), address_of("1") + "/picture"] {
            let (status, body) = get(&address, &path, "");
            assert_eq!((status, String::from_utf8_lossy(&body).contains("--http-token")), (403, true), "{path}");
        }
    }
    let (_daemon, address) = start(&place, &["--http-token", token.to_str().expect("UTF-8")]);
    let shown = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";
    assert_eq!(get(&address, &address_of("1"), "").0, 401);
    let (status, body) = get(&address, &address_of("1"), shown);
    let strip: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (status, &strip["width"], strip["rows"].as_array().map(Vec::len)),
        (200, &json!(28), Some(12)),
        "{strip}"
    );
    let (status, picture) = get(&address, &(address_of("1") + "/picture"), shown);
    assert!(status == 200 && picture.starts_with(b"\x89PNG") && picture.len() <= STRIP_BYTES, "{status}");
    assert_eq!(get(&address, &address_of("2"), shown), (200, b"null".to_vec()));
    assert_eq!(get(&address, &(address_of("2") + "/picture"), shown).0, 404);
    assert_eq!(get(&address, "/api/runs/9/checkpoints/1/strip", shown).0, 404);
}
