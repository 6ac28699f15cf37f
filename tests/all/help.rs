//! The help: short with an example first, whole under true headings, and every example runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::command::{Folder, text};
use crate::common::daemon::bundled;
use crate::common::relstab;

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = text(&relstab(&["--help"]));
    let listed = help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next()).expect("commands");
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = listed.lines().filter(is_name).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The lines of a command's help that try it.
fn examples(help: &str) -> Vec<String> {
    assert!(help.starts_with("Example:\n"), "{help}");
    help.lines().skip(1).take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

/// The flags of a help text, each with the heading that it stands under.
fn flags(help: &str) -> Vec<(String, String)> {
    let (mut heading, mut found) = (String::new(), Vec::new());
    for line in help.lines() {
        if !line.starts_with(' ') && line.ends_with(':') {
            line.trim_end_matches(':').clone_into(&mut heading);
        }
        let flag = line.trim_start().split([' ', ',', '=']).find(|word| word.starts_with("--"));
        let is_flag = line.trim_start().starts_with('-');
        found.extend(flag.filter(|_| is_flag).map(|flag| (flag.to_owned(), heading.clone())));
    }
    found
}

#[test]
fn short_help_begins_with_an_example_and_has_at_most_fifteen_flags() {
    let all = commands();
    assert!(all.len() > 20, "{all:?}");
    for name in &all {
        let (short, long) = (text(&relstab(&[name, "-h"])), text(&relstab(&[name, "--help"])));
        let shown: BTreeSet<_> =
            flags(&short).into_iter().map(|(flag, _)| flag).filter(|flag| flag != "--help").collect();
        assert!(shown.len() <= 15, "{name}: {} flags: {shown:?}", shown.len());
        let whole: BTreeSet<_> = flags(&long).into_iter().map(|(flag, _)| flag).collect();
        assert!(shown.is_subset(&whole), "{name}: {shown:?}");
        assert!(examples(&short).iter().all(|line| line.starts_with(&format!("relstab {name}"))), "{short}");
    }
    assert!(flags(&text(&relstab(&["watch", "--help"]))).len() > 40, "--help shows all");
}

#[test]
fn headings_are_true() {
    let under = |command: &str, flag: &str| {
        let help = text(&relstab(&[command, "--help"]));
        let found = flags(&help).into_iter().find(|(name, _)| name == flag);
        found.unwrap_or_else(|| panic!("{command} has no {flag}: {help}")).1
    };
    for command in ["measure", "check", "watch", "compare", "sweep", "layers", "calibrate"] {
        for (flag, heading) in [
            ("--probe", "Probe images"),
            ("--mean", "Preprocessing: use exactly your training's"),
            ("--draws", "Deformations and statistics"),
            ("--law", "Law"),
            ("--backend", "Engine"),
        ] {
            assert_eq!(under(command, flag), heading, "{command} {flag}");
        }
    }
    assert_eq!(under("measure", "--cutoff"), "Deformations and statistics");
    assert_eq!((under("watch", "--workers"), under("watch", "--once")), ("Daemon".into(), "Options".into()));
    assert_eq!((under("check", "--baseline"), under("check", "--strict")), ("Baseline".into(), "Options".into()));
    for command in ["perturb", "logits", "gallery", "doctor", "scaling", "init"] {
        let help = text(&relstab(&[command, "--help"]));
        assert!(flags(&help).iter().all(|(flag, _)| flag != "--law"), "{command} predicts nothing: {help}");
    }
}

/// A folder with the files that examples name.
fn stage() -> Folder {
    let folder = Folder::new();
    let run = folder.0.path().join("runs/today");
    fs::create_dir_all(&run).expect("created");
    for (name, to) in
        [("step=006000.onnx", "model.onnx"), ("step=003330.onnx", "other.onnx"), ("probe.npz", "probe.npz")]
    {
        fs::copy(bundled(name), folder.0.path().join(to)).expect("copied");
    }
    for name in ["probe.npz", "step=000175.onnx", "step=001026.onnx", "step=006000.onnx"] {
        fs::copy(bundled(name), run.join(name)).expect("copied");
    }
    let toml =
        "probe = 'probe.npz'\npreprocess = { preset = 'fashionmnist' }\nperturbation = { images = 100, draws = 1 }\n";
    fs::write(run.join("relstab.toml"), toml).expect("written");
    for number in 1..=3 {
        let line = format!("measure model.onnx --probe probe.npz --images 10 --shard {number}/3 --part part{number}");
        assert!(command(folder.0.path(), &format!("relstab {line}")).status().expect("it runs").success(), "{line}");
    }
    folder.file("sizes.csv", "train_size,r_f\n100,4\n300,2.5\n1000,1.3\n3000,0.8\n10000,0.45\n");
    folder
}

fn command(stage: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.current_dir(stage).env("XDG_STATE_HOME", stage.join("state")).env("XDG_CONFIG_HOME", stage.join("config"));
    command.env_remove("XDG_RUNTIME_DIR").env("VIRTUAL_ENV", stage).args(line.split_whitespace().skip(1));
    command
}

#[test]
fn every_example_of_the_help_runs() {
    let stage = stage();
    let root = stage.0.path();
    let lines: Vec<_> = commands().iter().flat_map(|name| examples(&text(&relstab(&[name, "-h"])))).collect();
    let (daemons, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.contains("--http"));
    let [daemon] = &daemons[..] else { panic!("{daemons:?}") };
    // Any port that is free; the one that is named may not be.
    let mut daemon = command(root, &daemon.replace("127.0.0.1:7878", "127.0.0.1:0"));
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the daemon starts");
    let end = Instant::now() + Duration::from_mins(1);
    while !command(root, "relstab wait runs/today --timeout 100ms").output().expect("it runs").status.success() {
        assert!(Instant::now() < end, "nothing was measured");
    }
    let (last, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|line| line.contains(" forget "));
    for line in others.iter().chain(&last) {
        let output = command(root, line).output().expect("the command runs");
        assert!(output.status.success(), "{line}: {}", text(&output));
    }
    daemon.kill().and_then(|()| daemon.wait()).expect("ended");
}
