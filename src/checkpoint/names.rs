//! Step and epoch as the names of files and folders tell them: read right, or not at all.

use std::path::Path;

/// Step and epoch, as far as a name tells.
pub type Place = (Option<u64>, Option<f64>);

/// What a folder is by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Folder {
    /// A step or an epoch of the run above it: the whole name says so.
    Step(Place),
    /// A bare number: a step, or the number of a run.
    Number(u64),
    /// A step that is still being written, and will then get its name.
    Unfinished,
    /// Anything else.
    Other,
}

/// Words for a step in the order in which they count, with whether a second number makes them unclear:
/// `checkpoint_3_1200` may be epoch and step, a date, a step and a rank.
const STEPS: [(&str, bool); 8] = [
    ("step", false),
    ("globalstep", false),
    ("iter", false),
    ("iteration", false),
    ("update", false),
    ("checkpoint", true),
    ("ckpt", true),
    ("chkpt", true),
];
const EPOCHS: [&str; 2] = ["epoch", "ep"];
/// Before one of these words, they make it a setting: `max_step_5000`.
const SETTINGS: [&str; 9] = ["max", "min", "num", "n", "total", "warmup", "every", "per", "of"];
const SEPARATORS: [char; 5] = ['=', '_', '-', ' ', ':'];
/// Endings of a folder's name that say nothing.
const ENDINGS: [&str; 5] = [".ckpt", ".onnx", ".pth", ".pt", ".keras"];
/// What trainers put before or behind the name of a folder that they are writing.
const UNFINISHED: ([&str; 5], [&str; 7]) =
    (["tmp-", "tmp_", "tmp.", "temp-", "temp_"], [".tmp", "-tmp", "_tmp", ".temp", ".part", ".partial", ".incomplete"]);
/// What Orbax puts between the name and a number.
const ORBAX: &str = ".orbax-checkpoint-tmp";
/// The folder within a step's in which Optimum puts its network.
const INNER: &str = "onnx";

/// Step and epoch of the checkpoint at `path` in the directory `run`: from its own name, such as `epoch=3-step=1200.onnx` or, of a
/// folder that is a checkpoint, `1200`; what that does not tell, from the folders above, such as `epoch_3/step_1200/model.onnx`.
pub fn step_and_epoch(path: &Path, run: &Path) -> Place {
    let own = whole_place(path).or_else(|| path.file_stem().map(|name| file(&name.to_string_lossy())));
    let (mut step, mut epoch) = own.unwrap_or_default();
    let above = path.parent().map(|folder| step_of_inner(folder, run).unwrap_or(folder));
    for folder in above.into_iter().flat_map(Path::ancestors).take_while(|folder| *folder != run) {
        match self::folder(folder) {
            Folder::Step(place) => (step, epoch) = (step.or(place.0), epoch.or(place.1)),
            Folder::Number(number) if (step, epoch) == (None, None) => step = Some(number),
            _ => break,
        }
    }
    (step, epoch)
}

/// The step's folder that `folder` holds the network of, as in `checkpoint-1200/onnx/model.onnx`.
pub fn step_of_inner<'a>(folder: &'a Path, run: &Path) -> Option<&'a Path> {
    let above = folder.parent().filter(|above| folder != run && is_inner(folder) && *above != run)?;
    matches!(self::folder(above), Folder::Step(_) | Folder::Number(_)).then_some(above)
}

/// Whether a folder has the name of one that holds a step's network.
pub fn is_inner(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == INNER)
}

/// Step and epoch of a name that says nothing else.
fn whole_place(path: &Path) -> Option<Place> {
    match folder(path) {
        Folder::Step(place) => Some(place),
        Folder::Number(number) => Some((Some(number), None)),
        Folder::Unfinished | Folder::Other => None,
    }
}

/// Step and epoch in the name of a file: a number behind a word for them, with `=`, `_`, `-` or nothing between.
pub fn file(name: &str) -> Place {
    let name = name.to_ascii_lowercase();
    let step = STEPS.iter().find_map(|(word, is_unclear)| behind(&name, word, *is_unclear).map(Number::step));
    let epoch = EPOCHS.iter().find_map(|word| behind(&name, word, false).map(Number::epoch));
    (step.flatten(), epoch.flatten())
}

/// The number behind `word` in `name`, if it is one and the same wherever the word stands.
fn behind<'a>(name: &'a str, word: &str, is_unclear: bool) -> Option<Number<'a>> {
    let numbers = name.match_indices(word).filter_map(|(at, _)| {
        let (before, behind) = (&name[..at], &name[at + word.len()..]);
        let rest = behind.trim_start_matches(SEPARATORS);
        if is_minus(behind, rest) || before.ends_with(|c: char| c.is_alphabetic()) {
            return None;
        }
        let qualifier = before.trim_end_matches(SEPARATORS).rsplit(|c: char| !c.is_alphabetic()).next();
        if !before.is_empty() && qualifier.is_some_and(|word| SETTINGS.contains(&word)) {
            return None;
        }
        let (number, rest) = Number::at(rest)?;
        let second = rest.strip_prefix(SEPARATORS).and_then(Number::at);
        (!is_unclear || second.is_none_or(|(second, _)| !second.fraction.is_empty())).then_some(number)
    });
    let mut numbers = numbers.peekable();
    let first = *numbers.peek()?;
    numbers.all(|number| number == first).then_some(first)
}

/// Whether the separators between `behind` and its `rest` end in a sign: `step_-5`.
fn is_minus(behind: &str, rest: &str) -> bool {
    behind[..behind.len() - rest.len()].strip_suffix('-').is_some_and(|before| !before.is_empty())
}

/// Whether `new` names a later version of the file that `old` names: they differ by a mark such as `-v1` alone, which trainers put
/// into a name that is taken.
pub fn is_later_version(new: &str, old: &str) -> bool {
    let ((new, version), (old, earlier)) = (unversioned(new), unversioned(old));
    new == old && version > earlier
}

/// The parts of a name but for marks of a version, and their numbers.
fn unversioned(name: &str) -> (Vec<&str>, Vec<u64>) {
    let version = |part: &str| part.strip_prefix('v')?.parse().ok();
    let (marks, parts): (Vec<_>, Vec<_>) = name.split(['-', '_', '.']).partition(|part| version(part).is_some());
    (parts, marks.into_iter().filter_map(version).collect())
}

/// What the folder at `path` is.
pub fn folder(path: &Path) -> Folder {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Folder::Other };
    let name = name.to_ascii_lowercase();
    let named = finished(&name);
    if named != Folder::Other {
        return named;
    }
    let (before, behind) = UNFINISHED;
    let inner = before.iter().find_map(|mark| name.strip_prefix(mark));
    let inner = inner.or_else(|| behind.iter().find_map(|mark| name.strip_suffix(mark)));
    let inner = inner.or_else(|| name.find(ORBAX).map(|at| &name[..at]));
    if inner.is_some_and(|inner| finished(inner) != Folder::Other) { Folder::Unfinished } else { Folder::Other }
}

fn finished(name: &str) -> Folder {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().map_or(Folder::Other, Folder::Number);
    }
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    match whole(name) {
        None | Some((None, None)) => Folder::Other,
        Some(place) => Folder::Step(place),
    }
}

/// Step and epoch, if `name` says nothing else: words with their numbers, and `checkpoint` or `model` without one.
fn whole(name: &str) -> Option<Place> {
    let (mut step, mut epoch) = (None, None);
    let mut rest = name;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let next = behind.trim_start_matches(SEPARATORS);
        if is_minus(behind, next) {
            return None;
        }
        if let Some((number, behind)) = Number::at(next) {
            match word {
                "checkpoint" | "ckpt" | "chkpt" if step.is_some() => return None,
                // Lightning's, of a file that was written twice.
                "v" if behind.is_empty() && (step, epoch) != (None, None) => {}
                word if STEPS.iter().any(|(known, _)| *known == word) => {
                    step.replace(number.step()?).is_none().then_some(())?;
                }
                word if EPOCHS.contains(&word) => epoch.replace(number.epoch()?).is_none().then_some(())?,
                _ => return None,
            }
            rest = behind.trim_start_matches(SEPARATORS);
        } else {
            matches!(word, "checkpoint" | "ckpt" | "chkpt" | "model" | "global").then_some(())?;
            rest = next;
        }
    }
    Some((step, epoch))
}

/// A number as names have it: `001200`, `1.5`, `1e4`, `10k`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Number<'a> {
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
}

impl<'a> Number<'a> {
    /// The number that `text` begins with, and what follows it, which is no part of a number or word.
    fn at(text: &'a str) -> Option<(Self, &'a str)> {
        let (whole, mut rest) = digits(text)?;
        let mut fraction = "";
        if let Some((found, behind)) = rest.strip_prefix('.').and_then(digits) {
            (fraction, rest) = (found, behind);
        }
        let mut exponent = 0;
        if let Some(behind) = rest.strip_prefix('k') {
            (exponent, rest) = (3, behind);
        } else if let Some(behind) = rest.strip_prefix('m') {
            (exponent, rest) = (6, behind);
        } else if let Some(behind) = rest.strip_prefix('e') {
            let (power, behind) = digits(behind.strip_prefix('+').unwrap_or(behind))?;
            (exponent, rest) = (power.parse().ok()?, behind);
        }
        // 1,000 and 1_000 are no 1.
        let is_grouped = whole.len() <= 3
            && rest.strip_prefix([',', '_']).and_then(digits).is_some_and(|(group, _)| group.len() == 3);
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric())
            || is_grouped
            || rest.strip_prefix('.').is_some_and(|rest| digits(rest).is_some());
        (!goes_on).then_some((Self { whole, fraction, exponent }, rest))
    }

    fn step(self) -> Option<u64> {
        if self.exponent == 0 && !self.fraction.is_empty() {
            // 1.000 may be a thousand.
            return None;
        }
        let fraction = self.fraction.trim_end_matches('0');
        let zeros = u32::try_from(self.exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?).ok()?;
        let digits: u64 = format!("{}{fraction}", self.whole).parse().ok()?;
        digits.checked_mul(10u64.checked_pow(zeros)?)
    }

    fn epoch(self) -> Option<f64> {
        let Self { whole, fraction, exponent } = self;
        format!("{whole}.{fraction}e{exponent}").parse().ok().filter(|epoch: &f64| epoch.is_finite())
    }
}

/// The digits that `text` begins with, if any, and the rest.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_read_right_or_not_at_all() {
        for (name, expected) in [
            ("epoch=3-step=1200", (Some(1200), Some(3.0))),
            ("epoch=3-step=1200-v1", (Some(1200), Some(3.0))),
            ("step_001200", (Some(1200), None)),
            ("Epoch7", (None, Some(7.0))),
            ("epoch=1.5", (None, Some(1.5))),
            ("epoch=02-val_loss=0.32", (None, Some(2.0))),
            ("ep3-ba1200-rank0", (None, Some(3.0))),
            ("ckpt-1e4", (Some(10_000), None)),
            ("step_10k", (Some(10_000), None)),
            ("step_1.5K", (Some(1500), None)),
            ("step_2M.ckpt", (Some(2_000_000), None)),
            ("model.ckpt-1000", (Some(1000), None)),
            ("global_step42", (Some(42), None)),
            ("globalstep42", (Some(42), None)),
            ("iteration_7", (Some(7), None)),
            ("checkpoint-1200-0.93", (Some(1200), None)),
            ("step_100_lr0.1", (Some(100), None)),
            ("max_step_5000_step_100", (Some(100), None)),
            ("step_18446744073709551615", (Some(u64::MAX), None)),
        ] {
            assert_eq!(file(name), expected, "{name}");
        }
        for name in [
            "resnet18",
            "ckpt-1e4f",
            "ckpt-1e99",
            "step_1.5",
            "step_1.2.3",
            "step_1.000",
            "step-1,000",
            "iter_1_000",
            "step_-5",
            "epoch=-1",
            "step_10x",
            "checkpoint_3_1200",
            "checkpoint-2024-01-15",
            "step_18446744073709551616",
            "max_step_5000",
            "warmup_step_500",
            "footstep3",
            "deep3",
            "step",
            "step_3_step_4",
        ] {
            assert_eq!(file(name), (None, None), "{name}");
        }
    }

    #[test]
    fn a_folder_belongs_to_a_step_only_if_its_whole_name_says_so() {
        for (name, expected) in [
            ("checkpoint-1200", (Some(1200), None)),
            ("step_5000", (Some(5000), None)),
            ("epoch=3-step=1200", (Some(1200), Some(3.0))),
            ("epoch=3-step=1200-v1.ckpt", (Some(1200), Some(3.0))),
            ("iter_0001000", (Some(1000), None)),
            ("global_step42", (Some(42), None)),
            ("step=1200.ckpt", (Some(1200), None)),
            ("ckpt-1e4", (Some(10_000), None)),
            ("step_10k", (Some(10_000), None)),
            ("checkpoint_epoch_3", (None, Some(3.0))),
            ("Epoch_7", (None, Some(7.0))),
        ] {
            assert_eq!(folder(name.as_ref()), Folder::Step(expected), "{name}");
        }
        for name in [
            "epoch50_lr0.1",
            "epoch50_lr0.01",
            "max_step_5000_seed0",
            "checkpoint_3_1200",
            "checkpoint-best",
            "checkpoints",
            "step",
            "model",
            "model_3",
            "resnet50",
            "step_5000_final",
            "step_1_step_2",
            "step_-5",
            "v3",
            "tmp",
            "tmp-data",
            "run.tmp",
            "99999999999999999999",
        ] {
            assert_eq!(folder(name.as_ref()), Folder::Other, "{name}");
        }
        for name in ["tmp-checkpoint-10", "step_10.tmp", "100.orbax-checkpoint-tmp-1700000000", "checkpoint-7.partial"]
        {
            assert_eq!(folder(name.as_ref()), Folder::Unfinished, "{name}");
        }
        assert_eq!(folder("runs/001000".as_ref()), Folder::Number(1000));
    }

    #[test]
    fn a_later_version_differs_by_its_mark_alone() {
        for (new, old) in [
            ("/run/step=100-v1.onnx", "/run/step=100.onnx"),
            ("/run/step=100-v10.onnx", "/run/step=100-v9.onnx"),
            ("/run/model-v2-step=100.onnx", "/run/model-step=100.onnx"),
        ] {
            assert!(is_later_version(new, old) && !is_later_version(old, new), "{new}");
        }
        for (new, old) in [
            ("/run/step=100.onnx", "/run/step=100.onnx"),
            ("/run/ema-step=100.onnx", "/run/step=100.onnx"),
            ("/run/best.onnx", "/run/step=100.onnx"),
            ("/run/step=100-v1.onnx", "/run/step=200.onnx"),
            ("/run/step=100-value.onnx", "/run/step=100.onnx"),
        ] {
            assert!(!is_later_version(new, old) && !is_later_version(old, new), "{new}");
        }
    }

    #[test]
    fn the_file_counts_before_its_folder_and_a_run_is_no_step() {
        let place = |path: &str, run: &str| step_and_epoch(path.as_ref(), run.as_ref());
        assert_eq!(place("run/checkpoint-1200/model.onnx", "run"), (Some(1200), None));
        assert_eq!(place("run/checkpoint-1200/step_3.onnx", "run"), (Some(3), None));
        assert_eq!(place("run/1200/model.onnx", "run"), (Some(1200), None));
        assert_eq!(place("run/1200/epoch_1200.onnx", "run"), (None, Some(1200.0)));
        assert_eq!(place("run/1200/model.onnx", "run/1200"), (None, None));
        assert_eq!(place("run/epoch_3/step_1200/model.onnx", "run"), (Some(1200), Some(3.0)));
        assert_eq!(place("run/epoch_3/step_1200.onnx", "run"), (Some(1200), Some(3.0)));
        assert_eq!(place("run/checkpoint-1200/onnx/model.onnx", "run"), (Some(1200), None));
        assert_eq!(place("run/1200/onnx/model.onnx", "run"), (Some(1200), None));
        assert_eq!(place("step_5/onnx/model.onnx", "step_5"), (None, None));
        assert_eq!(place("step_5/onnx/model.onnx", "step_5/onnx"), (None, None));
        assert_eq!(place("run/step_7.onnx.gz", "run"), (Some(7), None));
        assert_eq!(place("run/step_-5.onnx", "run"), (None, None));
        // Folders that are checkpoints.
        assert_eq!(place("run/1200", "run"), (Some(1200), None));
        assert_eq!(place("run/epoch=1.5", "run"), (None, Some(1.5)));
        assert_eq!(place("1200/best.ckpt", "1200"), (None, None));
    }
}
