//! `relstab best` hands out what was measured, and its link leads there and nowhere else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::command::{assert_refused, gzipped, text};
use crate::common::daemon::{Client, Daemon, Place, fixture, network};

/// `relstab best`, run in the run's own directory.
fn best_here(place: &Place, link: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.args(["best", ".", "--link", link, "--journal"]).arg(place.journal()).current_dir(place.run());
    command.env("XDG_STATE_HOME", place.home()).output().expect("the command runs")
}

/// Prints the path, and says on standard error that `found` is there, or that all is well.
fn assert_told(place: &Place, found: Option<&str>) {
    let told = place.ask("best", &[]);
    let (printed, said) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && printed.starts_with(&place.run_name()), "{}", text(&told));
    assert_eq!(said.contains("warning: "), found.is_some(), "{said}");
    assert!(found.is_none_or(|found| said.contains(found)), "{said}");
}

#[test]
fn a_link_that_would_be_measured_as_a_checkpoint_is_refused() {
    let (place, daemon, _) = Place::measured();
    let words = ["--link", "a path outside", "ends in .onnx", "a name with another ending"];
    assert_refused(&best_here(&place, "best.onnx"), 2, &words);
    assert_refused(&best_here(&place, "best.pt"), 2, &["ends in .pt"]);
    for name in ["best.onnx", "best.pt"] {
        assert!(fs::symlink_metadata(place.run().join(name)).is_err(), "{name} is there");
    }
    for link in ["best", "../best.onnx"] {
        let linked = best_here(&place, link);
        assert!(linked.status.success(), "{}", text(&linked));
        let target = place.run().join(link).canonicalize().expect("a link that leads somewhere");
        assert!(target.ends_with("step_1.onnx"), "{}", target.display());
    }
    assert_eq!(daemon.end(), Some(0));

    // A daemon may watch the folder above the run.
    let above = place.path().to_owned();
    fs::remove_file(above.join("best.onnx")).expect("removed");
    let _daemon = Daemon::start_at(&place, &[above], &["--recursive"]);
    assert_refused(&best_here(&place, "../best.onnx"), 2, &words);
}

#[test]
fn a_link_that_the_best_checkpoint_leads_through_is_refused() {
    let place = Place::new();
    fs::write(place.path().join("real.onnx"), network("real")).expect("written");
    symlink("real.onnx", place.path().join("current.onnx")).expect("linked");
    symlink("../current.onnx", place.run().join("step_1.onnx")).expect("linked");
    let daemon = Daemon::start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    assert_refused(&best_here(&place, "../current.onnx"), 2, &["step_1.onnx does not lie at or lead through"]);
    let target = fs::read_link(place.path().join("current.onnx")).expect("a link");
    assert_eq!(target, Path::new("real.onnx"));
}

#[test]
fn what_was_overwritten_or_removed_since_is_not_linked_to() {
    let (place, daemon, _) = Place::measured();
    assert_eq!(daemon.end(), Some(0));
    let link = |name: &str| {
        let path = place.path().join(name);
        (place.ask("best", &["--link", path.to_str().expect("UTF-8")]), fs::read_link(path).ok())
    };
    assert_told(&place, None);
    let (linked, first) = link("best.onnx");
    assert!(linked.status.success() && first.is_some(), "{}", text(&linked));

    let refused = |what: &str| {
        let (refused, target) = link("best.onnx");
        assert_eq!((refused.status.code(), &target), (Some(4), &first), "{}", text(&refused));
        let told = text(&refused);
        for words in [what, "the network that was measured at step 1", "best.onnx is left as it is"] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
        assert_eq!(link("new.onnx").1, None, "no link is made either");
        assert_told(&place, Some(what));
    };
    place.rename_in("step_1.onnx", "another");
    refused("another one, written since");
    fs::remove_file(place.run().join("step_1.onnx")).expect("removed");
    refused("nothing there any more");
    // The content that was measured is as good as ever.
    place.rename_in("step_1.onnx", "one");
    assert_told(&place, None);
    assert!(link("new.onnx").1.is_some());
}

#[test]
fn weights_beside_a_network_and_checkpoints_that_were_exported_are_compared_too() {
    let place = Place::of_fixtures();
    let weights = fs::read(fixture("resnet_external.onnx.data")).expect("weights");
    place.put("checkpoint-7/resnet_external.onnx.data", &weights);
    place.bring("resnet_external.onnx", "checkpoint-7/resnet_external.onnx");
    let daemon = Daemon::start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    assert_eq!(daemon.end(), Some(0));
    assert_told(&place, None);
    let other: Vec<u8> = weights.iter().rev().copied().collect();
    place.put("checkpoint-7/resnet_external.onnx.data", &other);
    assert_told(&place, Some("written since"));

    let place = Place::of_fixtures();
    place.put("step=1.pt", &gzipped(&fs::read(fixture("plain.onnx")).expect("a network")));
    let script = place.path().join("export.sh");
    fs::write(&script, "exec gunzip < \"$1\" > \"$2\"").expect("written");
    let export = format!("sh '{}' {{checkpoint}} {{onnx}}", script.display());
    let daemon = Daemon::start(&place, &["--export", &export]);
    Client::subscribed(&daemon, 0).next_of("measured");
    assert_eq!(daemon.end(), Some(0));
    assert_told(&place, None);
    place.put("step=1.pt", &gzipped(b"another"));
    assert_told(&place, Some("written since"));
}

#[test]
fn a_link_is_moved_without_touching_any_other_file() {
    let (place, _daemon, _) = Place::measured();
    let (link, other) = (place.path().join("best.onnx"), place.path().join("best.onnx.new"));
    fs::write(&other, "mine").expect("written");
    for _ in 0..2 {
        let linked = place.ask("best", &["--link", link.to_str().expect("UTF-8")]);
        assert!(linked.status.success() && link.is_symlink(), "{}", text(&linked));
    }
    let refused = place.ask("best", &["--link", other.to_str().expect("UTF-8")]);
    assert!(
        !refused.status.success() && text(&refused).contains("a path that is free or a link"),
        "{}",
        text(&refused)
    );
    assert_eq!(fs::read_to_string(&other).expect("there"), "mine");
    let names = fs::read_dir(place.path()).expect("there").flatten().map(|entry| entry.file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".relstab-link")).collect();
    assert!(left.is_empty(), "{left:?}");
}
