//! What `-h` shows of each command: an example first, and the flags that most need; `--help` shows all.

use clap::Command;

/// A command, lines to try it by, and the flags that `-h` shows; all of them where none are named.
pub type Short = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What most need of the flags that measuring commands share.
const MEASURING: [&str; 10] =
    ["probe", "images", "draws", "cutoff", "delta", "preprocess", "mean", "std", "law", "backend"];

/// Every command that is listed.
pub const SHORT: [Short; 26] = [
    ("init", &["relstab init runs/new --probe probe.npz --model model.onnx"], &[]),
    (
        "measure",
        &["relstab measure model.onnx --probe probe.npz --preprocess fashionmnist"],
        &["budget", "dry_run", "precision", "shard", "format"],
    ),
    ("merge", &["relstab merge part1 part2 part3"], &[]),
    (
        "check",
        &[
            "relstab check model.onnx --probe probe.npz --preprocess fashionmnist --max-probe-error 20%",
            "relstab check model.onnx --probe probe.npz --preprocess fashionmnist --baseline other.onnx",
        ],
        &["probe_error", "predicted_error", "baseline", "agreement", "junit"],
    ),
    ("compare", &["relstab compare model.onnx other.onnx --probe probe.npz --preprocess fashionmnist"], &["format"]),
    (
        "sweep",
        &["relstab sweep model.onnx --probe probe.npz --images 100 --figure sweep.svg"],
        &["cutoffs", "deltas", "figure", "format"],
    ),
    (
        "layers",
        &["relstab layers model.onnx --probe probe.npz --figure layers.svg"],
        &["tensors", "op", "figure", "format"],
    ),
    ("calibrate", &["relstab calibrate runs/today --save mine"], &["save", "prior", "form", "format"]),
    ("evidence", &["relstab evidence runs/today"], &["error", "side", "classes", "format"]),
    ("scaling", &["relstab scaling sizes.csv --figure scaling.svg"], &["group", "figure", "format"]),
    (
        "watch",
        &["relstab watch runs/today --once", "relstab watch runs/today --http 127.0.0.1:7878"],
        &["once", "http", "stop", "policy", "workers"],
    ),
    ("status", &["relstab status", "relstab status runs/today"], &[]),
    ("history", &["relstab history runs/today"], &[]),
    ("report", &["relstab report runs/today --html report.html"], &[]),
    ("gallery", &["relstab gallery --probe probe.npz --html gallery.html"], &["html", "png", "show"]),
    ("best", &["relstab best runs/today --link best.onnx"], &[]),
    ("wait", &["relstab wait runs/today --timeout 10m"], &[]),
    ("resume", &["relstab resume runs/today"], &[]),
    ("retry", &["relstab retry runs/today"], &[]),
    ("forget", &["relstab forget runs/today"], &[]),
    ("perturb", &["relstab perturb --probe probe.npz --to perturbed"], &["to", "format"]),
    ("logits", &["relstab logits model.onnx --probe probe.npz --to logits.npy"], &["to", "format"]),
    ("socket", &["relstab socket runs/today"], &[]),
    ("doctor", &["relstab doctor model.onnx --probe probe.npz"], &["provider", "format"]),
    ("schema", &["relstab schema config"], &[]),
    ("completions", &["relstab completions bash"], &[]),
];

/// The command line with examples, and with its rarer flags left out of `-h`.
pub fn abridged(command: Command) -> Command {
    let command = command.before_help(example(&["relstab watch runs/today --once --probe probe.npz"]));
    SHORT.into_iter().fold(command, |command, (name, examples, flags)| {
        command.mut_subcommand(name, |one| {
            let is_shown = |id: &str| flags.is_empty() || flags.contains(&id) || MEASURING.contains(&id);
            let one = one.before_help(example(examples));
            one.mut_args(|arg| {
                let is_rare = !arg.is_positional() && !is_shown(arg.get_id().as_str());
                if is_rare { arg.hide_short_help(true) } else { arg }
            })
        })
    })
}

fn example(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| format!("  {line}")).collect();
    format!("Example:\n{}", lines.join("\n"))
}
