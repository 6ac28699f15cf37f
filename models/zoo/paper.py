"""The paper's regime: CIFAR-10, all images, crop and flip, SGD with a cosine, trained to the end.

Trainings are resumed where they stopped; `paper.csv` and `paper-layers.csv` get the rows of those that are done.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import data as datasets
import networks
import table
from resumable import Plan, Run
from table import Row
from tensors import Tensors

RESULTS, SIZES_RESULTS = (Path(__file__).parent / name for name in ("paper.csv", "paper-sizes.csv"))
STATE = Path.home() / ".cache" / "relstab-zoo"
SHARE = 0.5  # of the planned epochs
STD = (0.2023, 0.1994, 0.2010)  # what the authors divide by
SETTINGS = (("3", "1"), ("5", "1"))  # cutoff, typical displacement in pixels
DRAWS = "4"
FIELDS = [
    *("architecture", "width", "parameters", "data_set", "train_size", "augmentation", "seed"),
    *("optimiser", "rate", "rates_left_at_chance", "epochs", "epochs_planned"),
    *("step", "epoch", "is_best", "is_last", "error", "probe", "probe_error"),
    *table.SETTINGS,
    *table.READINGS,
]
TRAINING = ("architecture", "augmentation", "epochs", "seed")
LAYER_FIELDS = [
    *(*TRAINING, "step", "depth", "layers", "op", "coordinates"),
    *(f"{quantity}_{estimator}" for estimator in table.ESTIMATORS for quantity in table.QUANTITIES),
]


@dataclass(frozen=True)
class Recipe:
    """An architecture and how it is trained."""

    architecture: str
    width: float
    # Of a training that has the machine to itself.
    epochs: int
    has_norm: bool = False
    # Layers of weights of a fully connected network of 64 units.
    layers: int = 0

    def make(self) -> nn.Module:
        if self.layers:
            return networks.initialised(networks.fully_connected(self.layers - 1, 3, 32, self.width))
        return networks.make(self.architecture, 3, 32, self.width)

    @property
    def rates(self) -> tuple[float, ...]:
        return (1e-3,) if self.layers else (0.1,) if self.has_norm else (0.1, 0.03, 0.01)


# The cheapest first.
RECIPES = (
    *(Recipe(f"fc{n}", 1 / 8, 100, layers=n) for n in (2, 4, 6)),
    Recipe("lenet", 1, 100),
    Recipe("alexnet", 1 / 2, 60),
    Recipe("vgg11", 1 / 4, 60),
    Recipe("vgg11_bn", 1 / 4, 60, has_norm=True),
    Recipe("vgg16", 1 / 4, 50),
    Recipe("vgg16_bn", 1 / 4, 50, has_norm=True),
    Recipe("vgg19", 1 / 4, 45),
    Recipe("vgg19_bn", 1 / 4, 45, has_norm=True),
    Recipe("resnet18", 1 / 4, 35, has_norm=True),
    Recipe("efficientnet_b0", 1 / 4, 35, has_norm=True),
    Recipe("resnet34", 1 / 4, 20, has_norm=True),
    Recipe("resnet50", 1 / 4, 13, has_norm=True),
)
WITHOUT_AUGMENTATION = ("lenet", "vgg11_bn", "resnet18")
# Trained on few images too, with as many steps.
SIZED, SIZES = ("fc4", "lenet", "vgg11_bn"), (400, 2_000, 10_000)
EPOCH = 50_000  # images


@dataclass(frozen=True)
class Training:
    """One network to train."""

    recipe: Recipe
    is_augmented: bool
    epochs: int
    seed: int = 0
    # How many of the training images, or all.
    images: int | None = None

    @property
    def augmentation(self) -> str:
        return "crop-flip" if self.is_augmented else "none"

    @property
    def name(self) -> str:
        kind = "" if self.is_augmented else "-plain"
        kind += f"-{self.images}-images" if self.images else ""
        return f"{self.recipe.architecture}{kind}-{self.epochs}-epochs-seed-{self.seed}"

    @property
    def plan(self) -> Plan:
        recipe = self.recipe
        is_sgd = not recipe.layers
        properties = {
            "architecture": recipe.architecture,
            "width": recipe.width,
            "data_set": "cifar10",
            "augmentation": self.augmentation,
            "seed": self.seed,
            "optimiser": "sgd" if is_sgd else "adam",
            "epochs": self.epochs,
            "epochs_planned": recipe.epochs,
        }
        passes = EPOCH // self.images if self.images else 1
        return Plan(recipe.make, self.epochs, self.is_augmented, self.seed, recipe.rates, is_sgd, properties, passes)

    def owns(self, row: Row) -> bool:
        """Whether a row of the results belongs to this training."""
        mine = (self.recipe.architecture, self.augmentation, str(self.epochs), str(self.seed))
        is_mine = mine == tuple(row[key] for key in TRAINING)
        return is_mine and (self.images is None or row["train_size"] == str(self.images))


def trainings(share: float, only: list[str], is_sized: bool = False) -> Iterator[Training]:
    """Every training, those without augmentation last; or those on few images."""
    chosen: list[tuple[Recipe, bool, int | None]] = [(recipe, True, None) for recipe in RECIPES]
    chosen += [(recipe, False, None) for recipe in RECIPES if recipe.architecture in WITHOUT_AUGMENTATION]
    if is_sized:
        chosen = [(recipe, True, size) for recipe in RECIPES if recipe.architecture in SIZED for size in SIZES]
    for recipe, is_augmented, images in chosen:
        job = Training(recipe, is_augmented, max(1, int(recipe.epochs * share)), images=images)
        if not only or recipe.architecture in only or job.name in only:
            yield job


def measure(relstab: list[str], job: Training, folder: Path, probes: dict[str, Path]) -> list[Row]:
    """A row for each export, probe set and setting."""
    done = json.loads((folder / "done.json").read_text())
    version = table.version_of(relstab)
    rows = []
    for file in sorted(folder.glob("step=*.onnx")):
        for probe, source in probes.items():
            for cutoff, delta in SETTINGS:
                flags = ("--probe", str(source), "--draws", DRAWS, "--cutoff", cutoff, "--delta", delta)
                record = table.measure(relstab, file, *flags)
                rows.append(row(record, done, probe, version))
    print(f"{job.name}: {len(rows)} measurements", flush=True)
    return rows


def row(record: dict[str, Any], done: dict[str, Any], probe: str, version: str) -> Row:
    """What is kept of a measurement's record."""
    about = record["metadata"]
    values = {
        **{key: about[key] for key in FIELDS if key in about},
        "rate": done["rate"],
        "rates_left_at_chance": " ".join(map(str, done["rates_left_at_chance"])),
        "is_best": int(about["step"] == done["best_step"]),
        "is_last": int(about["step"] == done["last_step"]),
        "error": about["val_error"],
        "probe": probe,
        "probe_error": record.get("probe_error", ""),
        **table.measured(record, version),
    }
    return {key: table.written(value) for key, value in values.items()}


def add(results: Path, job: Training, new: list[Row]) -> None:
    """Puts a training's rows into the table, in the place of those on the same probes; the scores are those that records hold."""
    probes = {row["probe"] for row in new}
    owns = lambda row: job.owns(row) and row["probe"] in probes
    by = (*TRAINING, "train_size", "step", "probe", "cutoff")
    table.replace(results, owns, new, by, FIELDS, table.WORKINGS)


def layers(relstab: list[str], job: Training, folder: Path, probe: Path) -> list[Row]:
    """A row for each layer of the untrained network and of the best."""
    best = json.loads((folder / "done.json").read_text())["best_step"]
    about = dict(zip(TRAINING, (job.recipe.architecture, job.augmentation, job.epochs, job.seed), strict=True))
    return [
        {key: table.written(value) for key, value in {**about, "step": step, **layer}.items()}
        for step in (0, best)
        for layer in table.layers(relstab, folder / f"step={step:06}.onnx", "--probe", str(probe), "--draws", "2")
    ]


def run(arguments: argparse.Namespace) -> None:
    """Trains what is not trained and measures what is not measured."""
    results, state = arguments.results or (SIZES_RESULTS if arguments.sizes else RESULTS), arguments.out or STATE
    chosen = list(trainings(arguments.epoch_share, arguments.only, arguments.sizes))
    if not chosen:
        raise SystemExit(
            f"--only {' '.join(arguments.only)}: no such training; it takes an architecture, such as vgg11_bn"
        )
    if arguments.originals and not arguments.originals.exists():
        # It is measured on after the training, hours later.
        raise SystemExit(f"{arguments.originals}: no such file; --originals takes a probe set")
    state.mkdir(parents=True, exist_ok=True)

    @functools.cache
    def tensors() -> Tensors:
        return Tensors(dataclasses.replace(datasets.cifar10(arguments.cifar10), std=STD), "cpu")

    probe = state / "cifar10.npz"
    if not probe.exists():
        datasets.write_probe(probe, tensors().data)
    probes = {"jpeg": probe}
    if arguments.originals:
        probes["original"] = arguments.originals
    for job in chosen:
        folder = state / job.name
        folder.mkdir(exist_ok=True)
        with table.locked(folder / "lock", wait=False) as is_mine:
            if not is_mine:
                continue
            is_measured = any(job.owns(row) for row in table.read(results)) and not arguments.remeasure
            if not (is_measured or arguments.measure_only or (folder / "done.json").exists()):
                Run(job.plan, tensors().first(job.images), folder).finish()
            if not (is_measured or arguments.train_only) and (folder / "done.json").exists():
                if not arguments.sizes:
                    inside = layers(arguments.relstab, job, folder, probe)
                    of_layers = results.with_stem(f"{results.stem}-layers")
                    table.replace(of_layers, job.owns, inside, (*TRAINING, "step", "depth"), LAYER_FIELDS)
                add(results, job, measure(arguments.relstab, job, folder, probes))
