"""How much JPEG shifts R_f, D_f and G_f: Fashion-MNIST networks on raw probe images, and on the same images as JPEG.

    python models/zoo/jpeg_shift.py --cifar10 FOLDER --relstab target/release/relstab

Quantisation tables and subsampling are read from the CIFAR-10 Parquet files in FOLDER. Grey images see the first table only;
there is no colour to subsample. Every network gets the same images, deformations and noise directions twice. The interval is
Student's over ten disjoint tenths of the images, each with a seed of its own and measured both ways.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet  # type: ignore[import-untyped]
from PIL import Image, JpegImagePlugin

import data as datasets

HERE = Path(__file__).parent
SETTINGS = ((3, 1.0), (5, 1.0), (15, 0.5))
QUANTITIES = ("r_f", "d_f", "g_f")
PARTS = 10
STUDENT = 2.262  # 97.5% quantile, 9 degrees of freedom
SUBSAMPLINGS = {-1: "none", 0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}

Shift = dict[str, float]


@dataclass(frozen=True)
class Jpeg:
    """The settings that a set of files shares."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: int

    def applied(self, image: datasets.Bytes) -> datasets.Bytes:
        """A grey image [side, side] there and back."""
        file = io.BytesIO()
        tables = {0: list(self.tables[0])}
        Image.fromarray(image).save(file, "JPEG", qtables=tables)
        decoded = Image.open(file)
        assert isinstance(decoded, JpegImagePlugin.JpegImageFile) and read_tables(decoded) == self.tables[:1]
        return np.asarray(decoded)

    @property
    def quality(self) -> int | None:
        """The quality at which an encoder writes these tables; None if it never does."""
        for quality in range(1, 101):
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
            written = Image.open(file)
            assert isinstance(written, JpegImagePlugin.JpegImageFile)
            if read_tables(written) == self.tables:
                return quality
        return None


def read_tables(image: JpegImagePlugin.JpegImageFile) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(table) for _, table in sorted(image.quantization.items()))


def settings_of(folder: Path) -> Jpeg:
    """The one setting of all files in the Parquet tables; an error if there are several."""
    found = set()
    for part in ("train", "test"):
        for row in pyarrow.parquet.read_table(folder / f"{part}.parquet", columns=["img"])["img"].to_pylist():
            image = Image.open(io.BytesIO(row["bytes"]))
            if not isinstance(image, JpegImagePlugin.JpegImageFile):
                raise SystemExit(f"{folder}: {image.format} images, not JPEG")
            found.add(Jpeg(read_tables(image), JpegImagePlugin.get_sampling(image)))
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} different settings")
    return found.pop()


def measured(relstab: list[str], network: Path, probe: Path, cutoff: int, delta: float, seed: int) -> dict[str, Any]:
    flags = ["--probe", str(probe), "--cutoff", str(cutoff), "--delta", str(delta), "--seed", str(seed)]
    command = [*relstab, "measure", str(network), *flags, "--threads", "1", "--format", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def shifts(raw: dict[str, Any], compressed: dict[str, Any]) -> Shift:
    """log(JPEG / raw) of each quantity."""
    return {name: float(np.log(compressed[name]["value"] / raw[name]["value"])) for name in QUANTITIES}


def percent(log_ratio: float, half_width: float | None = None) -> str:
    """A factor as a change, with its interval."""
    if half_width is None:
        return f"{np.expm1(log_ratio):+.1%}"
    low, high = np.expm1(log_ratio - half_width), np.expm1(log_ratio + half_width)
    return f"{np.expm1(log_ratio):+.1%} [{low:+.1%}, {high:+.1%}]"


def finished(results: Path, folder: Path, train_size: int) -> list[Path]:
    """The last checkpoints of the Fashion-MNIST trainings of this size that the results hold."""
    last: dict[str, int] = {}
    with open(results, newline="") as file:
        for row in csv.DictReader(file):
            if (row["data_set"], row["size"], row["train_size"]) == ("fashionmnist", folder.name, str(train_size)):
                name = f"fashionmnist-{row['architecture']}-{train_size}-{row['seed']}"
                last[name] = max(last.get(name, 0), int(row["step"]))
    return [folder / name / f"step={step:06}.onnx" for name, step in sorted(last.items())]


def row(
    relstab: list[str], network: Path, probes: list[tuple[Path, Path]], cutoff: int, delta: float
) -> tuple[list[str], Shift]:
    """One line of the table: the whole probe set, and intervals from its tenths."""
    (raw, compressed), *parts = (
        tuple(measured(relstab, network, probe, cutoff, delta, seed) for probe in pair)
        for seed, pair in enumerate(probes)
    )
    shift = shifts(raw, compressed)
    spread = [shifts(*part) for part in parts]
    half = {name: STUDENT * float(np.std([s[name] for s in spread], ddof=1)) / PARTS**0.5 for name in QUANTITIES}
    about = raw["metadata"]
    names = [about["architecture"], str(about["train_size"]), str(cutoff), f"{delta:g}"]
    errors = [f"{record['probe_error']:.3f}" for record in (raw, compressed)]
    values = [f"{record['r_f']['value']:.3f}" for record in (raw, compressed)]
    return [*names, *errors, *values, *(percent(shift[name], half[name]) for name in QUANTITIES)], shift


def table(header: str, lines: Iterable[list[str]]) -> None:
    """Prints a Markdown table."""
    names = header.split(" | ")
    for line in (names, ["---"] * len(names), *lines):
        print("|", " | ".join(line), "|", flush=True)
    print()


def save(path: Path, images: datasets.Bytes, labels: npt.NDArray[Any]) -> Path:
    np.savez_compressed(path, images=images, labels=labels)
    return path


def write_probes(folder: Path, probe: Path, jpeg: Jpeg) -> list[tuple[Path, Path]]:
    """Raw and compressed: the whole set, then its tenths, each with all classes alike."""
    with np.load(probe) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    compressed = np.stack([jpeg.applied(image.squeeze()) for image in images]).reshape(images.shape)
    change = compressed.astype(float) - images
    rms, contrast = np.sqrt(np.mean(change**2)), images.std()
    print(f"JPEG moves a pixel by {rms:.2f} of 255 (rms); the images' own standard deviation is {contrast:.2f}.\n")
    by_class = np.argsort(labels, kind="stable")
    chosen = [np.arange(len(labels)), *(np.sort(by_class[part::PARTS]) for part in range(PARTS))]
    return [
        (
            save(folder / f"raw-{n}.npz", images[part], labels[part]),
            save(folder / f"jpeg-{n}.npz", compressed[part], labels[part]),
        )
        for n, part in enumerate(chosen)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = HERE.parent / "build" / "zoo"
    parser.add_argument("--cifar10", type=Path, required=True, help="folder of its Parquet files")
    parser.add_argument("--relstab", nargs="+", default=["relstab"], help="the command")
    parser.add_argument("--networks", type=Path, default=build / "small", help="folder of trainings, named by size")
    parser.add_argument("--results", type=Path, default=HERE / "results.csv", help="which of them are done")
    parser.add_argument("--probe", type=Path, default=build / "fashionmnist.npz", help="raw probe images")
    parser.add_argument("--train-size", type=int, default=4_000, help="networks trained on this many images")
    arguments = parser.parse_args()
    jpeg = settings_of(arguments.cifar10)
    print(f"Settings: quality {jpeg.quality}, subsampling {SUBSAMPLINGS[jpeg.subsampling]}.\n")
    networks = finished(arguments.results, arguments.networks, arguments.train_size)
    if not networks:
        parser.error(f"no networks of {arguments.train_size:,} images in {arguments.results}")
    with tempfile.TemporaryDirectory() as folder:
        probes = write_probes(Path(folder), arguments.probe, jpeg)
        found = [
            (setting, *row(arguments.relstab, network, probes, *setting))
            for setting in SETTINGS
            for network in networks
        ]
    sides = "error, raw | JPEG | R_f, raw | JPEG"
    table(f"architecture | images | c | delta | {sides} | R_f | D_f | G_f", (line for _, line, _ in found))
    summary = []
    for setting in SETTINGS:
        mine = [shift for which, _, shift in found if which == setting]
        cells = []
        for name in QUANTITIES:
            values = np.array([shift[name] for shift in mine])
            cells += [
                percent(values.mean()),
                f"{values.std(ddof=1):.3f}",
                f"{percent(values.min())} to {percent(values.max())}",
            ]
        summary.append([str(setting[0]), f"{setting[1]:g}", str(len(mine)), *cells])
    spread = " | ".join(f"{name} | sd(log) | range" for name in ("R_f", "D_f", "G_f"))
    table(f"c | delta | networks | {spread}", summary)


if __name__ == "__main__":
    main()
