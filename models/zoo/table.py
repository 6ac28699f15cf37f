"""Measurements by the command, and the tables of their rows: always whole and sorted, whoever else writes."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import itertools
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ESTIMATORS = ("coordinate_median", "median", "mean")
QUANTITIES = ("r_f", "d_f", "g_f")
SETTINGS = ("cutoff", "delta", "interpolation", "images", "draws")
READINGS = ("r_f", "low", "high", *(f"{q}_{e}" for e in ESTIMATORS for q in QUANTITIES))
WORKINGS = ("displacement_rms_px", "folded_share", "near_initial", "backend", "relstab")
Row = dict[str, str]


def ask(relstab: list[str], *arguments: str) -> dict[str, Any]:
    """What the command tells."""
    done = subprocess.run([*relstab, *arguments, "--format", "json"], check=False, capture_output=True, text=True)
    if done.returncode not in (0, 8):  # 8: R_f is undefined, which the record says
        raise RuntimeError(f"relstab {' '.join(arguments)}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(relstab: list[str], file: Path, *flags: str) -> dict[str, Any]:
    """The record of one measurement of 500 images."""
    return ask(relstab, "measure", str(file), "--images", "500", "--law", "cifar10", "--force-law", *flags)


def layers(relstab: list[str], file: Path, *flags: str) -> Iterator[dict[str, object]]:
    """Depth, kind and readings of each layer of a network."""
    found = ask(relstab, "layers", str(file), "--images", "500", *flags)["layers"]
    for depth, layer in enumerate(found, 1):
        yield {
            "depth": depth,
            "layers": len(found),
            "op": layer["op"],
            "coordinates": layer["coordinates"],
            **readings(layer),
        }


def readings(found: dict[str, Any]) -> dict[str, object]:
    """R_f, D_f and G_f of a network or a layer by each estimator."""
    return {
        f"{quantity}_{estimator}": (found["estimators"][estimator][quantity] or {}).get("value", "")
        for estimator, quantity in itertools.product(ESTIMATORS, QUANTITIES)
    }


def measured(record: dict[str, Any], version: str) -> dict[str, object]:
    """What is kept of a record: settings, readings, scores and workings."""
    r_f, settings = record["r_f"] or {}, record["settings"]
    values: dict[str, object] = {
        **{key: settings[key] for key in ("cutoff", "delta", "interpolation", "draws")},
        "images": record["probe"]["images"],
        **{name: r_f.get(key, "") for name, key in (("r_f", "value"), ("low", "low"), ("high", "high"))},
        "displacement_rms_px": record["displacement_rms_px"],
        "folded_share": record["folded_share"],
        "near_initial": int(record["prediction"] is None),
        "backend": record["backend"]["name"],
        "relstab": version,
        **readings(record),
    }
    for group, kinds in record["scores"].items():
        if isinstance(kinds, dict):
            for kind, value in kinds.items():
                # Some have an interval.
                interval = value if isinstance(value, dict) else {}
                values[f"{group}_{kind}"] = interval.get("value", value)
                values.update({f"{group}_{kind}_{end}": interval[end] for end in ("low", "high") if end in interval})
        else:
            values[group] = kinds
    return values


def written(value: object) -> str:
    """Numbers with six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def version_of(relstab: list[str]) -> str:
    return subprocess.run([*relstab, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]


@contextlib.contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Whether the lock was had; it ends with the process at the latest."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def replace(
    path: Path,
    owns: Callable[[Row], bool],
    new: list[Row],
    by: tuple[str, ...],
    fields: list[str],
    last: tuple[str, ...] = (),
) -> None:
    """Puts the new rows in the place of those that are owned, all at once, ordered by columns; columns that rows have beside those
    named stand before the `last`."""
    with locked(path.with_suffix(".lock"), wait=True):
        rows = [row for row in read(path) if not owns(row)] + new
        rows.sort(key=lambda row: [int(row[key]) if row[key].isdigit() else row[key] for key in by])
        others = dict.fromkeys(key for row in rows for key in row if key not in (*fields, *last))
        temporary = path.with_suffix(".tmp")
        with open(temporary, "w", newline="") as file:
            table = csv.DictWriter(file, [*fields, *others, *last], restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
