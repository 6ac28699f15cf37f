"""The training zoo: trains 15 architectures on CIFAR-10 and Fashion-MNIST, exports them while they train, measures all.

    pip install -r models/zoo/requirements.txt
    python models/zoo --small --relstab target/release/relstab     # two CPU cores, hours in pieces
    python models/zoo --full --relstab target/release/relstab      # a GPU
    python models/zoo --long --relstab target/release/relstab      # for stop rules: long trainings, many checkpoints
    python models/zoo --fashion --relstab target/release/relstab   # Fashion-MNIST alone, for its law in 1 - EI
    python models/zoo --paper --relstab target/release/relstab     # the paper's regime: trained to the end (paper.py)

results.csv (long.csv for --long, fashionmnist.csv for --fashion, paper.csv for --paper) says what is done: a training whose rows it holds is not done again. One that
was interrupted starts over, with --paper from its last epoch. Several processes may run side by side.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import data as datasets
import networks
import paper
import table
from export import Exporter
from table import Row
from tensors import Tensors, error

HERE = Path(__file__).parent
# Cutoff and typical displacement in pixels; c = 15 folds at delta 1.
SETTINGS = ((3, 1.0), (5, 1.0), (15, 0.5))
# Average confidence, and agreement of the predicted class with that of the clean image.
SCORES = (
    *("confidence_clean", "confidence_deformed", "confidence_noisy"),
    *("agreement_deformed", "agreement_noisy"),
)
INVARIANCE = ("invariance_deformed", "invariance_deformed_low", "invariance_deformed_high")
FIELDS = [
    *("architecture", "data_set", "size", "train_size", "seed", "step", "epoch", "parameters", "error"),
    *table.SETTINGS,
    *table.READINGS,
    *SCORES,
    *INVARIANCE,
    *table.WORKINGS,
]
ORDER = ("size", "data_set", "architecture", "train_size", "seed", "step", "cutoff")


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
    data_sets: tuple[str, ...] = ("cifar10", "fashionmnist")
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
# Half an epoch, and the last of six.
FASHION = Size(
    *("fashion", 1 / 8, (16_000,), (96_000,), 64, 1e-3, 10_000, 3, (0,), 4),
    settings=SETTINGS[:1],
    data_sets=("fashionmnist",),
    results=HERE / "fashionmnist.csv",
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


def measure(relstab: list[str], files: list[Path], probe: Path, size: Size) -> Iterator[Row]:
    """A row for each file and setting."""
    version = table.version_of(relstab)
    for file, (cutoff, delta) in itertools.product(files, size.settings):
        flags = ("--probe", str(probe), "--draws", str(size.draws), "--cutoff", str(cutoff), "--delta", str(delta))
        record = table.measure(relstab, file, *flags)
        about = record["metadata"]
        values = {
            **{key: about.get(key, "") for key in ("architecture", "data_set", "train_size", "seed", "step", "epoch")},
            "parameters": about["parameters"],
            "size": size.name,
            "error": about["val_error"],
            # Records of outputs that are no classes' have none.
            **dict.fromkeys(INVARIANCE, ""),
            **table.measured(record, version),
        }
        yield {key: table.written(values[key]) for key in FIELDS}


def jobs(size: Size, only: list[str], seeds: tuple[int, ...]) -> Iterator[Training]:
    """Every training, the cheap ones of all architectures first."""
    plan = zip(size.train_sizes, size.seen, strict=True)
    for (train_size, seen), seed in itertools.product(plan, seeds):
        for architecture, data_set in itertools.product(size.architectures, size.data_sets):
            job = Training(data_set, architecture, train_size, seen, seed, size)
            if not only or any(word in job.name.split("-") for word in only):
                yield job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--small", action="store_true", help="narrow networks and few images, for two CPU cores")
    which.add_argument("--full", action="store_true", help="the architectures as they are, for a GPU")
    which.add_argument("--long", action="store_true", help="as --small, but long trainings with many checkpoints")
    which.add_argument("--fashion", action="store_true", help="Fashion-MNIST alone, for its law in 1 - EI")
    which.add_argument("--paper", action="store_true", help="the paper's regime: all images, trained to the end")
    parser.add_argument("--cifar10", type=Path, default=Path("cifar10"), help="folder of its Parquet or batch files")
    parser.add_argument(
        "--fashion-mnist", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of its IDX files"
    )
    parser.add_argument("--relstab", nargs="+", default=["relstab"], help="the command")
    parser.add_argument(
        "--out", type=Path, help=f"folder for networks: {HERE.parent / 'build' / 'zoo'}, with --paper {paper.STATE}"
    )
    parser.add_argument("--results", type=Path, help="the table, instead of the size's own")
    parser.add_argument("--only", nargs="*", default=[], help="architectures, data sets or training-set sizes")
    parser.add_argument("--seeds", type=int, nargs="*", help="seeds instead of the size's own")
    parser.add_argument("--seen", type=int, help="images seen in each training, to try the script")
    parser.add_argument("--remeasure", action="store_true", help="measure the networks of earlier trainings again")
    own = parser.add_argument_group("with --paper")
    own.add_argument("--originals", type=Path, help="a second probe set, of images that were not JPEG")
    own.add_argument(
        "--epoch-share", type=float, default=paper.SHARE, help=f"share of the planned epochs ({paper.SHARE})"
    )
    own.add_argument(
        "--sizes", action="store_true", help="train on few images, with as many steps, in place of all images"
    )
    part = own.add_mutually_exclusive_group()
    part.add_argument("--train-only", action="store_true", help="measure nothing")
    part.add_argument("--measure-only", action="store_true", help="train nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    for name in ("seeds", "seen") if arguments.paper else ("originals", "sizes", "train_only", "measure_only"):
        if getattr(arguments, name):
            how = "does not go with" if arguments.paper else "goes only with"
            parser.error(f"--{name.replace('_', '-')} {how} --paper")
    if arguments.epoch_share <= 0:
        parser.error(f"--epoch-share {arguments.epoch_share:g}: expected more than 0")
    if not (arguments.train_only or shutil.which(arguments.relstab[0])):
        parser.error(
            f"--relstab {arguments.relstab[0]}: no such command; cargo build --release makes target/release/relstab"
        )
    torch.set_num_threads(arguments.threads)
    if arguments.paper:
        paper.run(arguments)
        return
    device = "cuda" if arguments.full and torch.cuda.is_available() else "cpu"
    chosen = (arguments.small, SMALL), (arguments.full, FULL), (arguments.long, LONG), (arguments.fashion, FASHION)
    size = next(size for is_chosen, size in chosen if is_chosen)
    results, out = arguments.results or size.results, arguments.out or HERE.parent / "build" / "zoo"
    seeds = tuple(arguments.seeds) if arguments.seeds is not None else size.seeds
    loaders = {
        "cifar10": lambda: datasets.cifar10(arguments.cifar10),
        "fashionmnist": lambda: datasets.fashion_mnist(arguments.fashion_mnist),
    }
    loaded: dict[str, Tensors] = {}
    trainings = list(jobs(size, arguments.only, seeds))
    if not trainings:
        parser.error(f"--only {' '.join(arguments.only)}: no such training")
    for job in trainings:
        folder = out / size.name / job.name
        folder.mkdir(parents=True, exist_ok=True)
        with table.locked(folder / "lock", wait=False) as is_mine:
            is_done = any(job.owns(row) for row in table.read(results))
            if not is_mine or is_done != arguments.remeasure:
                continue
            probe = out / f"{job.data_set}.npz"
            if arguments.remeasure:
                files = sorted(folder.glob("*.onnx"))
                if not files:
                    raise SystemExit(f"{folder}: no networks to measure again; without --remeasure their rows stay")
                table.replace(results, job.owns, list(measure(arguments.relstab, files, probe, size)), ORDER, FIELDS)
                print(f"{job.name}: {len(files)} networks measured again", flush=True)
                continue
            if job.data_set not in loaded:
                loaded[job.data_set] = Tensors(loaders[job.data_set](), device)
                datasets.write_probe(out / f"{job.data_set}.npz", loaded[job.data_set].data)
            if arguments.seen:
                job = Training(job.data_set, job.architecture, job.train_size, arguments.seen, job.seed, size)
            for old in folder.glob("*.onnx"):
                old.unlink()
            files = train(job, loaded[job.data_set], folder)
            table.replace(results, job.owns, list(measure(arguments.relstab, files, probe, size)), ORDER, FIELDS)
            print(f"{job.name}: {len(files)} networks measured", flush=True)


if __name__ == "__main__":
    main()
