"""Measures a folder of networks with known errors; what is measured goes into a table that laws are fitted to.

    python models/public/measure.py FOLDER --relstab target/release/relstab

FOLDER holds `networks.csv`, `NAME/model.onnx` for each of its rows, and a probe set for each data set (`--probe cifar10=FILE`,
relative to FOLDER). Columns that are read: name, data_set, architecture, training, kind (standard, adversarial, ...), error (a
fraction), error_source, repository, options (flags of `relstab measure`: the network's own normalisation). Rows that are in
the table already are kept, so that a run that was cut off goes on; `--again` measures all. Networks that cannot be measured keep
their row, with the reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = ("name", "data_set", "pixels", "architecture", "training", "kind", "error", "error_source", "repository")
MEASURED = (
    *("classes", "side", "cutoff", "delta", "interpolation", "images", "draws"),
    *("r_f", "r_f_low", "r_f_high", "d_f", "g_f"),
    *("confidence_clean", "confidence_deformed", "confidence_noisy", "agreement_deformed", "agreement_noisy"),
    *("invariance_deformed", "invariance_deformed_low", "invariance_deformed_high", "invariance_noisy"),
    *("classes_answered", "probe_error", "refused"),
)
PROBES = {"cifar10": "cifar10_orig_probe.npz", "mnist": "mnist_probe.npz", "fashionmnist": "fashion_probe.npz"}
UNDEFINED = 8  # the exit code: R_f is undefined, the record is there


def row(record: dict[str, Any]) -> dict[str, object]:
    """What a record holds for the table."""
    scores, settings = record.get("scores") or {}, record["settings"]
    confidence, agreement = scores.get("confidence") or {}, scores.get("agreement") or {}
    invariance = scores.get("invariance") or {}
    deformed, noisy = invariance.get("deformed") or {}, invariance.get("noisy") or {}
    r_f = record["r_f"] or {}
    _, height, width = record["probe"]["shape"]
    return {
        "classes": record["model"]["outputs"],
        "side": ((height**2 + width**2) / 2) ** 0.5,
        **{key: settings[key] for key in ("cutoff", "delta", "interpolation", "draws")},
        "images": record["probe"]["images"],
        **{"r_f" + suffix: r_f.get(key) for suffix, key in (("", "value"), ("_low", "low"), ("_high", "high"))},
        **{key: (record[key] or {}).get("value") for key in ("d_f", "g_f")},
        **{f"confidence_{key}": confidence.get(key) for key in ("clean", "deformed", "noisy")},
        **{f"agreement_{key}": agreement.get(key) for key in ("deformed", "noisy")},
        "invariance_deformed": deformed.get("value"),
        "invariance_deformed_low": deformed.get("low"),
        "invariance_deformed_high": deformed.get("high"),
        "invariance_noisy": noisy.get("value"),
        "classes_answered": scores.get("classes"),
        "probe_error": record["probe_error"],
    }


def measured(
    relstab: str, model: Path, probe: Path, flags: list[str], images: str = "500", draws: str = "4"
) -> dict[str, object]:
    """The measured columns of one network."""
    common = ["--images", images, "--draws", draws, "--format", "json", "--law", "none"]
    command = [relstab, "measure", str(model), "--probe", str(probe), *common, *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, UNDEFINED):
        return {"refused": done.stderr.strip().removeprefix("error: ").replace(str(model.parent.parent) + "/", "")}
    return row(json.loads(done.stdout))


def cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def write(path: Path, rows: list[dict[str, object]]) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", newline="") as file:
        table = csv.DictWriter(file, [*KEPT, *MEASURED], lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    temporary.rename(path)


def read(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--relstab", default="relstab", help="the command")
    parser.add_argument("--out", type=Path, default=HERE / "networks.csv", help="the table")
    parser.add_argument(
        "--probe", action="append", metavar="DATA_SET=FILE", help=f"default: {' '.join(map('='.join, PROBES.items()))}"
    )
    parser.add_argument(
        "--pixels", default="original", help="of the probe images: original, or jpeg where they are copies"
    )
    parser.add_argument("--again", action="store_true", help="measure what the table holds already, too")
    parser.add_argument("flags", nargs="*", help="flags of relstab measure, after --")
    arguments = parser.parse_args()
    probes = dict(probe.split("=", 1) for probe in arguments.probe) if arguments.probe else PROBES
    known = {} if arguments.again or not arguments.out.exists() else {row["name"]: row for row in read(arguments.out)}
    rows: list[dict[str, object]] = []
    for about in read(arguments.folder / "networks.csv"):
        name, data_set = about["name"], about["data_set"]
        if name in known and not known[name]["refused"]:
            rows.append(known[name])
            continue
        flags = [*shlex.split(about["options"]), *arguments.flags]
        model, probe = arguments.folder / name / "model.onnx", arguments.folder / probes[data_set]
        found = measured(arguments.relstab, model, probe, flags)
        print(name, found.get("refused") or found["invariance_deformed"], flush=True)
        rows.append({**{key: about.get(key) for key in KEPT}, "pixels": arguments.pixels, **found})
        write(arguments.out, [*rows, *(row for key, row in known.items() if key not in {row["name"] for row in rows})])
    write(arguments.out, rows)


if __name__ == "__main__":
    main()
