"""The training zoo: trains 15 architectures on CIFAR-10 and Fashion-MNIST, exports them while they train, measures all.

    pip install -r models/zoo/requirements.txt
    python models/zoo --small --relstab target/release/relstab     # two CPU cores, hours in pieces
    python models/zoo --full --relstab target/release/relstab      # a GPU
    python models/zoo --long --relstab target/release/relstab      # for stop rules: long trainings, many checkpoints

results.csv (long.csv for --long) says what is done: a training whose rows it holds is not done again, one that was interrupted starts over.
Several processes may run side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import itertools
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import data as datasets
import networks
from export import Exporter

HERE = Path(__file__).parent
# Cutoff and typical displacement in pixels; c = 15 folds at delta 1.
SETTINGS = ((3, 1.0), (5, 1.0), (15, 0.5))
ESTIMATORS = ("coordinate_median", "median", "mean")
# Average confidence, and agreement of the predicted class with that of the clean image.
SCORES = (
    *("confidence_clean", "confidence_deformed", "confidence_noisy"),
    *("agreement_deformed", "agreement_noisy"),
)
FIELDS = [
    *("architecture", "data_set", "size", "train_size", "seed", "step", "epoch", "parameters", "error"),
    *("cutoff", "delta", "interpolation", "images", "draws"),
    *("r_f", "low", "high"),
    *(f"{quantity}_{estimator}" for estimator in ESTIMATORS for quantity in ("r_f", "d_f", "g_f")),
    *SCORES,
    *("displacement_rms_px", "folded_share", "near_initial", "backend", "relstab"),
]
Row = dict[str, str]


@dataclass(frozen=True)
class Size:
    """How large networks and trainings are, and what is measured."""

    name: str
    width: float
    train_sizes: tuple[int, ...]
    # Images seen in a training, for each of the sizes.
    seen: tuple[int, ...]
    batch: int
    rate: float
    test_images: int
    checkpoints: int
    seeds: tuple[int, ...]
    draws: int
    settings: tuple[tuple[int, float], ...] = SETTINGS
    architectures: tuple[str, ...] = tuple(networks.ARCHITECTURES)
    # One learning rate throughout and exports evenly spaced, as where a rule is to say when to stop; else one cycle.
    is_constant: bool = False
    results: Path = HERE / "results.csv"


# A training takes one core some 20 to 120 seconds; the networks are an eighth as wide as the originals.
SMALL = Size("small", 1 / 8, (1_000, 4_000, 16_000), (24_000, 48_000, 96_000), 64, 1e-3, 2_000, 5, (0,), 2)
# 50 epochs each.
FULL = Size("full", 1.0, (5_000, 50_000), (250_000, 2_500_000), 128, 1e-3, 10_000, 8, (0, 1), 4)
# 24 epochs, an export after each.
LONG = Size(
    *("long", 1 / 8, (2_000,), (48_000,), 64, 1e-3, 2_000, 25, (0,), 2),
    settings=SETTINGS[:1],
    architectures=("fc4", "lenet", "alexnet", "vgg11", "vgg11_bn"),
    is_constant=True,
    results=HERE / "long.csv",
)


@dataclass(frozen=True)
class Training:
    """One network to train."""

    data_set: str
    architecture: str
    train_size: int
    seen: int
    seed: int
    size: Size

    @property
    def name(self) -> str:
        return f"{self.data_set}-{self.architecture}-{self.train_size}-{self.seed}"

    def owns(self, row: Row) -> bool:
        """Whether a row of the results belongs to this training."""
        mine = (self.data_set, self.architecture, str(self.train_size), str(self.seed), self.size.name)
        return mine == tuple(row[key] for key in ("data_set", "architecture", "train_size", "seed", "size"))


class Tensors:
    """A data set on the device, normalised batch by batch."""

    def __init__(self, data: datasets.DataSet, device: str) -> None:
        self.data, self.device = data, device
        self.mean, self.std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self.train, self.test = (
            (torch.tensor(x).to(device), torch.tensor(y).to(device)) for x, y in (data.train, data.test)
        )

    def normalised(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean) / self.std


@torch.no_grad()
def error(network: nn.Module, tensors: Tensors, count: int) -> float:
    """Share of the first `count` test images that are misclassified."""
    network.eval()
    images, labels = tensors.test[0][:count], tensors.test[1][:count]
    wrong = sum(
        int((network(tensors.normalised(x)).argmax(1) != y).sum().item())
        for x, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
    )
    network.train()
    return wrong / len(labels)


def steps_to_export(total: int, per_epoch: int, size: Size) -> set[int]:
    """Initialisation, then log-spaced from half an epoch on, or evenly spaced, and the last."""
    first = max(1, per_epoch // 2)
    count = size.checkpoints
    spaced = np.linspace(0, total, count) if size.is_constant else np.geomspace(first, total, count - 1)
    return {0, *(int(step) for step in spaced.round())}


def train(job: Training, tensors: Tensors, folder: Path) -> list[Path]:
    """Trains with Adam, one cycle or at a constant rate, without augmentation; gives the exported files."""
    torch.manual_seed(job.seed)
    rng = np.random.default_rng(job.seed)
    size, device = job.size, tensors.device
    channels, side = tensors.train[0].shape[1:3]
    network = networks.make(job.architecture, channels, side, size.width).to(device)
    chosen = torch.from_numpy(rng.permutation(len(tensors.train[1]))[: job.train_size]).to(device)
    images, labels = tensors.train[0][chosen], tensors.train[1][chosen]
    per_epoch = max(1, job.train_size // size.batch)
    total = job.seen // size.batch
    optimiser = torch.optim.AdamW(network.parameters(), size.rate, weight_decay=1e-3)
    schedules = torch.optim.lr_scheduler
    schedule: schedules.LRScheduler = (
        schedules.ConstantLR(optimiser, factor=1.0)
        if size.is_constant
        else schedules.OneCycleLR(optimiser, size.rate, total_steps=total, pct_start=max(0.1, 2 / total))
    )
    exporter = Exporter(network, tensors.normalised(tensors.test[0][:4]), folder)
    exports = steps_to_export(total, per_epoch, size)
    files = []
    order = np.empty(0, np.int64)
    started = time.time()
    for step in range(total + 1):
        if step in exports:
            known = error(network, tensors, size.test_images)
            properties: dict[str, object] = {
                "step": step,
                "epoch": round(step * size.batch / job.train_size, 3),
                "val_error": known,
                "train_size": job.train_size,
                "mean": ",".join(map(str, tensors.data.mean)),
                "std": ",".join(map(str, tensors.data.std)),
                "architecture": job.architecture,
                "seed": job.seed,
                "data_set": job.data_set,
                "parameters": sum(p.numel() for p in network.parameters()),
            }
            files.append(folder / f"step={step:06}.onnx")
            exporter.write(network, files[-1], properties)
            print(f"{job.name} step {step}: error {known:.4f}, {time.time() - started:.0f} s", flush=True)
        if step == total:
            break
        if len(order) < size.batch:
            order = rng.permutation(job.train_size)
        batch, order = torch.from_numpy(order[: size.batch]).to(device), order[size.batch :]
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = nn.functional.cross_entropy(network(tensors.normalised(images[batch])), labels[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    exporter.path.unlink()
    return files


def measure(relstab: list[str], file: Path, probe: Path, size: Size) -> Iterator[Row]:
    """One row for each of the settings."""
    for cutoff, delta in size.settings:
        flags = ["--probe", str(probe), "--images", "500", "--draws", str(size.draws), "--format", "json"]
        flags += ["--cutoff", str(cutoff), "--delta", str(delta), "--law", "cifar10", "--force-law"]
        done = subprocess.run([*relstab, "measure", str(file), *flags], check=False, capture_output=True, text=True)
        if done.returncode not in (0, 8):  # 8: R_f is undefined, which the record says
            raise RuntimeError(f"{file}: {done.stderr}")
        yield row(json.loads(done.stdout), size, relstab_version(relstab))


def row(record: dict[str, Any], size: Size, version: str) -> Row:
    """What is kept of a measurement's record."""
    about, r_f, settings = record["metadata"], record["r_f"] or {}, record["settings"]
    values: dict[str, object] = {
        **{key: about.get(key, "") for key in ("architecture", "data_set", "train_size", "seed", "step", "epoch")},
        "parameters": about["parameters"],
        "size": size.name,
        "error": about["val_error"],
        **{key: settings[key] for key in ("cutoff", "delta", "interpolation")},
        "images": record["probe"]["images"],
        "draws": settings["draws"],
        **{name: r_f.get(key, "") for name, key in (("r_f", "value"), ("low", "low"), ("high", "high"))},
        "displacement_rms_px": record["displacement_rms_px"],
        "folded_share": record["folded_share"],
        "near_initial": int(record["prediction"] is None),
        "backend": record["backend"]["name"],
        "relstab": version,
    }
    for estimator, quantity in itertools.product(ESTIMATORS, ("r_f", "d_f", "g_f")):
        values[f"{quantity}_{estimator}"] = (record["estimators"][estimator][quantity] or {}).get("value", "")
    for name in SCORES:
        group, kind = name.split("_")
        values[name] = record["scores"][group][kind]
    return {key: written(value) for key, value in values.items()}


def measure_all(relstab: list[str], files: list[Path], probe: Path, size: Size) -> list[Row]:
    return [row for file in files for row in measure(relstab, file, probe, size)]


def written(value: object) -> str:
    """Numbers with six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def relstab_version(relstab: list[str]) -> str:
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


def read_results(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add_results(path: Path, job: Training, new: list[Row]) -> None:
    """All rows of a training at once, in a file that is always whole and sorted."""
    with locked(path.with_suffix(".lock"), wait=True):
        rows = [row for row in read_results(path) if not job.owns(row)] + new
        texts = ("size", "data_set", "architecture")
        numbers = ("train_size", "seed", "step", "cutoff")
        rows.sort(key=lambda row: (*(row[key] for key in texts), *(int(row[key]) for key in numbers)))
        temporary = path.with_suffix(".tmp")
        with open(temporary, "w", newline="") as file:
            table = csv.DictWriter(file, FIELDS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)


def jobs(size: Size, only: list[str], seeds: tuple[int, ...]) -> Iterator[Training]:
    """Every training, the cheap ones of all architectures first."""
    plan = zip(size.train_sizes, size.seen, strict=True)
    for (train_size, seen), seed in itertools.product(plan, seeds):
        for architecture, data_set in itertools.product(size.architectures, ("cifar10", "fashionmnist")):
            job = Training(data_set, architecture, train_size, seen, seed, size)
            if not only or any(word in job.name.split("-") for word in only):
                yield job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--small", action="store_true", help="narrow networks and few images, for two CPU cores")
    which.add_argument("--full", action="store_true", help="the architectures as they are, for a GPU")
    which.add_argument("--long", action="store_true", help="as --small, but long trainings with many checkpoints")
    parser.add_argument("--cifar10", type=Path, default=Path("cifar10"), help="folder of its Parquet or batch files")
    parser.add_argument(
        "--fashion-mnist", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of its IDX files"
    )
    parser.add_argument("--relstab", nargs="+", default=["relstab"], help="the command")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "zoo", help="folder for networks")
    parser.add_argument("--results", type=Path, help="the table, instead of the size's own")
    parser.add_argument("--only", nargs="*", default=[], help="architectures, data sets or training-set sizes")
    parser.add_argument("--seeds", type=int, nargs="*", help="seeds instead of the size's own")
    parser.add_argument("--seen", type=int, help="images seen in each training, to try the script")
    parser.add_argument("--remeasure", action="store_true", help="measure the networks of earlier trainings again")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if arguments.full and torch.cuda.is_available() else "cpu"
    size = SMALL if arguments.small else FULL if arguments.full else LONG
    results = arguments.results or size.results
    seeds = tuple(arguments.seeds) if arguments.seeds is not None else size.seeds
    loaders = {
        "cifar10": lambda: datasets.cifar10(arguments.cifar10),
        "fashionmnist": lambda: datasets.fashion_mnist(arguments.fashion_mnist),
    }
    loaded: dict[str, Tensors] = {}
    for job in jobs(size, arguments.only, seeds):
        folder = arguments.out / size.name / job.name
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", wait=False) as is_mine:
            is_done = any(job.owns(row) for row in read_results(results))
            if not is_mine or is_done != arguments.remeasure:
                continue
            probe = arguments.out / f"{job.data_set}.npz"
            if arguments.remeasure:
                files = sorted(folder.glob("*.onnx"))
                add_results(results, job, measure_all(arguments.relstab, files, probe, size))
                print(f"{job.name}: {len(files)} networks measured again", flush=True)
                continue
            if job.data_set not in loaded:
                loaded[job.data_set] = Tensors(loaders[job.data_set](), device)
                datasets.write_probe(arguments.out / f"{job.data_set}.npz", loaded[job.data_set].data)
            if arguments.seen:
                job = Training(job.data_set, job.architecture, job.train_size, arguments.seen, job.seed, size)
            for old in folder.glob("*.onnx"):
                old.unlink()
            files = train(job, loaded[job.data_set], folder)
            add_results(results, job, measure_all(arguments.relstab, files, probe, size))
            print(f"{job.name}: {len(files)} networks measured", flush=True)


if __name__ == "__main__":
    main()
