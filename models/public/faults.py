"""Measures networks of other people with images and labels as they belong, then made wrong, and says whether findings name the fault.

python models/public/faults.py FOLDER --relstab target/release/relstab [--images 500] [NETWORK...]

FOLDER holds `networks.csv` (columns name, data_set, error, options), for each row `NAME/model.onnx`, and a probe set for each data
set. Findings must name every fault that doubles the error and raises it by ten points, and nothing is wrong where labels agree.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import PROBES
from numpy.typing import NDArray

# Bytes, channels last.
UNITS = ["--mean", "0", "--std", "1"]
IMAGENET = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
GREY = ["--mean", "0.1307", "--std", "0.3081"]

Record = dict[str, Any]


@dataclass
class Fault:
    """What was made wrong, with which flags and images, and which codes and words name it."""

    name: str
    flags: list[str]
    probe: Path
    codes: tuple[str, ...]
    words: str


@dataclass
class Probe:
    """A probe set, channels first, and what becomes of it."""

    path: Path
    images: NDArray[Any]
    labels: NDArray[np.int64]

    def altered(self, folder: Path, name: str, images: NDArray[Any], labels: NDArray[np.int64]) -> Path:
        path = folder / f"{name}.npz"
        np.savez(path, images=images, labels=labels)
        return path


def flag(options: list[str], name: str) -> NDArray[np.float64]:
    return np.array([float(value) for value in options[options.index(name) + 1].split(",")])


def faults(options: list[str], probe: Probe, folder: Path) -> Iterator[Fault]:
    """Preprocessing as it should not be, and classes in other orders."""
    preprocessing = ("preprocessing", "impossible_normalisation", "no_normalisation")
    mean, std = flag(options, "--mean"), flag(options, "--std")
    color = probe.images.shape[1] == 3
    identity = bool(np.all(mean == 0) and np.all(std == 1))
    if not identity:
        yield Fault("none", UNITS, probe.path, preprocessing, "normalisation|as 0 to 255")
        once = ((probe.images / 255.0 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)).astype(np.float32)
        path = probe.altered(folder, "twice", once, probe.labels)
        yield Fault("twice", options, path, preprocessing, "twice|beyond|subtracted|divided")
    yield Fault("other", IMAGENET if color else GREY, probe.path, preprocessing, "normalisation|as 0 to 255")
    if color:
        reversed_channels = np.ascontiguousarray(probe.images[:, ::-1])
        path = probe.altered(folder, "bgr", reversed_channels, probe.labels)
        yield Fault("bgr", options, path, ("preprocessing",), "reverse order")
    order = np.random.default_rng(0).permutation(10)
    for name, labels in [
        ("shifted", (probe.labels + 1) % 10),
        ("from 1", probe.labels + 1),
        ("permuted", order[probe.labels]),
    ]:
        path = probe.altered(folder, name.replace(" ", "_"), probe.images, labels)
        yield Fault(name, options, path, ("class_order",), "output")


def measured(relstab: Path, model: Path, probe: Path, more: list[str]) -> Record | str:
    """A record, or what was said instead."""
    command = [str(relstab), "measure", str(model), "--probe", str(probe), "--format", "json", "--draws", "1", *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    # 8: R_f is undefined, the findings are there.
    return json.loads(done.stdout) if done.returncode in (0, 8) else done.stderr.strip().splitlines()[-1]


def named(record: Record, fault: Fault) -> bool:
    return any(f["code"] in fault.codes and re.search(fault.words, f["text"]) for f in record["findings"])


def said(record: Record) -> str:
    texts = [
        f"{f['code']}: {f['text']}" for f in record["findings"] if f["severity"] != "note" or f["code"] == "untrained"
    ]
    return "; ".join(texts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--relstab", type=Path, required=True)
    parser.add_argument("--images", default="500")
    arguments = parser.parse_intermixed_args()
    with (arguments.data / "networks.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not arguments.networks or row["name"] in arguments.networks]
    tried, missed = 0, 0
    for row in rows:
        path = arguments.data / PROBES[row["data_set"]]
        content = np.load(path)
        images = np.ascontiguousarray(content["images"].transpose(0, 3, 1, 2))
        probe = Probe(path, images, content["labels"].astype(np.int64))
        model, few = arguments.data / row["name"] / "model.onnx", ["--images", arguments.images]
        options = shlex.split(row["options"])
        true = measured(arguments.relstab, model, path, [*options, *few])
        if isinstance(true, str):
            print(f"{row['name']}: {true}", flush=True)
            continue
        error = true["probe_error"]
        wrong = [f["code"] for f in true["findings"] if f["severity"] == "wrong"]
        missed += bool(wrong)
        print(f"{row['name']}: {error:.1%} ({row['error']} known) {'WRONG ' if wrong else ''}{said(true)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for fault in faults(options, probe, Path(folder)):
                record = measured(arguments.relstab, model, fault.probe, [*fault.flags, *few])
                if isinstance(record, str):
                    print(f"  {fault.name}: {record}", flush=True)
                    continue
                rise = record["probe_error"] - error if record["probe_error"] is not None else 1.0
                counts = rise >= max(error, 0.1)
                found = named(record, fault)
                tried, missed = tried + counts, missed + (counts and not found)
                mark = "ok" if found else "MISSED" if counts else "-"
                print(f"  {fault.name:8} {rise:+.1%} {mark} {said(record)}", flush=True)
    print(f"{tried} faults that double the error and raise it by ten points; {missed} missed, or wrong without one")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
