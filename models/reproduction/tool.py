"""What is made with relstab itself, on networks of the zoo that were trained again."""

from __future__ import annotations

import csv
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import data as datasets
import labelled
import table

Values = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """The command, the data, and the folder of trained networks as `models/zoo --out` leaves it."""

    relstab: str
    networks: Path
    cifar10: Path
    fashion_mnist: Path

    @cached_property
    def data(self) -> dict[str, datasets.DataSet]:
        return {
            "cifar10": datasets.cifar10(self.cifar10),
            "fashionmnist": datasets.fashion_mnist(self.fashion_mnist),
        }

    def probe(self, data_set: str) -> Path:
        return self.networks / f"{data_set}.npz"

    def final(self) -> Iterator[tuple[str, str, Path]]:
        """Data set, architecture and last file of each training of 16,000 images."""
        for folder in sorted((self.networks / "small").glob("*-16000-0")):
            data_set, architecture, *_ = folder.name.split("-")
            yield data_set, architecture, max(folder.glob("*.onnx"))

    def measure(self, file: Path, data_set: str, *flags: str) -> tuple[Values, float]:
        """The record of one network on the zoo's probe images, and the CPU seconds of the command."""
        started = children()
        record = self.ask("measure", file, data_set, *flags)
        return record, children() - started

    def ask(self, command: str, file: Path, data_set: str, *flags: str) -> Values:
        """What a command tells of one network on the zoo's probe images."""
        shared = ("--probe", str(self.probe(data_set)), "--images", "500")
        return table.ask([self.relstab], command, str(file), *shared, *flags)


def children() -> float:
    """CPU seconds of ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def networks(setup: Setup) -> Iterator[Values]:
    """Each final network under relstab and its peers, with CPU seconds; the probe images are the same for all."""
    import weights

    for data_set, architecture, file in setup.final():
        record, measure_s = setup.measure(file, data_set, "--draws", "2")
        gaussian, _ = setup.measure(file, data_set, "--draws", "2", "--interpolation", "gaussian")
        about, scores = record["metadata"], record["scores"]
        data = setup.data[data_set]
        yield {
            "data_set": data_set,
            "architecture": architecture,
            **{key: about[key] for key in ("train_size", "val_error")},
            **{name: record[name]["value"] for name in ("r_f", "d_f", "g_f")},
            **{f"{name}_gaussian": gaussian[name]["value"] for name in ("r_f", "d_f", "g_f")},
            **{f"confidence_{kind}": value for kind, value in scores["confidence"].items()},
            **{f"agreement_{kind}": value for kind, value in scores["agreement"].items()},
            "measure_s": measure_s,
            **labelled.judge(file, data, int(about["train_size"]), int(about["seed"])),
            **weights.judge(file, data),
        }
        print(f"{data_set} {architecture}", flush=True)


def unseen(setup: Setup) -> Iterator[Values]:
    """The error of each checkpoint of the long trainings on images that no monitor saw."""
    for folder in sorted((setup.networks / "long").glob("*-0")):
        data_set, architecture, *_ = folder.name.split("-")
        for file in sorted(folder.glob("*.onnx")):
            error = labelled.unseen_error(file, setup.data[data_set])
            yield {
                "data_set": data_set,
                "architecture": architecture,
                "step": int(file.stem.partition("=")[2]),
                "error": error,
            }


def write(path: Path, rows: Iterable[Values]) -> None:
    """A table with six significant digits, all of it or nothing."""
    written = [
        {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
    ]
    if not written:
        raise SystemExit(f"{path.name}: no networks to measure; without --trained they are trained first")
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, written[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(written)
    temporary.rename(path)
