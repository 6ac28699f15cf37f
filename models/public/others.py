"""What others predict errors from, on a folder of networks as measure.py has it: each with a line of its own, repositories left out.

    pip install weightwatcher==0.7.7
    python models/public/others.py FOLDER --relstab target/release/relstab

- Nuclear norm (arXiv:2302.01094): of the matrix of probabilities, images by classes, over the largest that it can have; 1 - it is taken.
- ATC (arXiv:2201.04234): the share of images whose confidence lies below a threshold. The threshold is set on labelled images, so
  that their share below is their error. Here half of the probe images are labelled and the other half is predicted, both ways.
- WeightWatcher (doi:10.1038/s41467-021-24025-8): the mean exponent alpha of the spectra of the weights. It needs no images.

A table in Markdown, as `relstab evidence` judges the quantities, and with `--out` the quantities of each network as CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import weightwatcher
from measure import PROBES, read

sys.path.append(str(Path(__file__).parents[1] / "reproduction"))
from atc import Floats, Labels, atc

LEAST = 1e-4  # of a quantity whose logarithm is taken: less than one image in 500 changes
QUANTITIES = {"nuclear_norm": "1 - nuclear norm", "atc": "ATC, with labels", "alpha": "WeightWatcher's alpha"}


def probabilities(outputs: Floats) -> Floats:
    if outputs.min() >= 0 and np.allclose(outputs.sum(1), 1, atol=1e-3):
        return outputs
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def nuclear_norm(found: Floats) -> float:
    images, classes = found.shape
    largest = np.sqrt(min(images, classes) * images)
    return float(1 - np.linalg.norm(found, "nuc") / largest)


def halved_atc(outputs: Floats, labels: Labels) -> float:
    """Of either half of the images by the labels of the other."""
    halves = np.arange(len(labels)) % 2 == 0
    both = [atc(outputs[own], labels[own], outputs[~own]) for own in (halves, ~halves)]
    return float(np.mean(both))


def alpha(model: Path) -> float | None:
    try:
        details = weightwatcher.WeightWatcher(model=onnx.load(model)).analyze()
        return float(details["alpha"].mean())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        print(f"WeightWatcher cannot read {model.parent.name}: {error}", flush=True)
        return None


def quantities(relstab: str, folder: Path, about: dict[str, Any], probe: Path) -> dict[str, float | None]:
    model = folder / about["name"] / "model.onnx"
    with tempfile.TemporaryDirectory() as place:
        to = Path(place) / "logits.npy"
        command = [
            relstab,
            "logits",
            str(model),
            "--probe",
            str(probe),
            "--to",
            str(to),
            *shlex.split(about["options"]),
        ]
        subprocess.run(command, check=True, capture_output=True)
        found = probabilities(np.load(to).astype(np.float64))
    with np.load(probe) as arrays:
        labels = arrays["labels"].astype(np.int64)
    return {
        "nuclear_norm": nuclear_norm(found),
        "atc": halved_atc(np.log(np.maximum(found, np.finfo(float).tiny)), labels),
        "alpha": alpha(model),
    }


def judged(relstab: str, rows: list[dict[str, Any]], quantity: str) -> list[dict[str, Any]]:
    """What `relstab evidence` says of a quantity of ours, which stands where R_f would."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", "repository", "data_set", "error", "r_f"])
        for row in rows:
            if row[quantity] is not None:
                value = max(row[quantity], LEAST)
                table.writerow([row["name"], row["repository"], row["data_set"], row["error"], value])
        file.flush()
        command = [relstab, "evidence", file.name, "--classes", "10", "--side", "32", "--format", "json"]
        done = subprocess.run(command, check=True, capture_output=True)
    sets = json.loads(done.stdout)["sets"]
    return [{"data_set": each["data_set"], **each["quantities"][0]} for each in sets if each["quantities"]]


def told(interval: dict[str, float]) -> str:
    return f"{interval['value']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--relstab", default="relstab", help="the command")
    parser.add_argument("--out", type=Path, help="a table of the quantities")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for about in read(arguments.folder / "networks.csv"):
        try:
            found = quantities(arguments.relstab, arguments.folder, about, arguments.folder / PROBES[about["data_set"]])
        except subprocess.CalledProcessError as error:
            print(f"{about['name']} is left out: {error.stderr.decode().splitlines()[0]}", flush=True)
            continue
        rows.append({**about, **found})
    if arguments.out:
        with open(arguments.out, "w", newline="") as file:
            table = csv.DictWriter(file, ["name", *QUANTITIES], lineterminator="\n", extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)
    print("| data set | quantity | networks | mean absolute log error | rank correlation | in 90% intervals |")
    print("|---|---|---|---|---|---|")
    for quantity, name in QUANTITIES.items():
        for each in judged(arguments.relstab, rows, quantity):
            figures = " | ".join(told(each[key]) for key in ("error", "rank_correlation", "coverage"))
            print(f"| {each['data_set']} | {name} | {each['points']} | {figures} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
