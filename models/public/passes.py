"""What images and draws buy: the variance of log R_f and log (1 - EI), between images and between draws, on a folder of networks.

    python models/public/passes.py FOLDER [NAME ...] [--table models/public/passes.csv]

FOLDER is as `measure.py` says; NAME chooses among its networks, whose outputs must be logits. Needs onnxruntime, not relstab. Each network is run on all images
of its probe with 16 draws. How much one image and one draw move log R_f is told by the influence of each squared change on the
medians: its variance is A between images and B between draws of one image, so that n images with m draws give log R_f a variance
of (A + B / m) / n, for n (1 + 2 m) passes. Simulated measurements check this: images drawn anew from the probe, draws from the 16, each
with its bootstrap interval, which should hold the value of all images and draws.
"""

from __future__ import annotations

import argparse
import csv
import shlex
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from measure import PROBES, read

Floats = npt.NDArray[np.float64]
CUTOFF, DELTA, DRAWS, BATCH = 3, 1.0, 16, 100
SPLITS = ((500, 4), (500, 2), (1000, 1))
RESAMPLES = 200


class Rows:
    """What the passes leave: squared changes `[image, draw, output]`, invariance `[image, draw]`, wrong answers `[image]`."""

    def __init__(self, deformed: Floats, noisy: Floats, invariance: Floats, wrong: Floats) -> None:
        self.deformed, self.noisy, self.invariance, self.wrong = deformed, noisy, invariance, wrong

    def taken(self, images: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]) -> Rows:
        """Those of `images`, which may repeat, with `draws` `[image, draw]` for each."""
        first = images[:, None]
        changes = (self.deformed[first, draws], self.noisy[first, draws])
        return Rows(*changes, self.invariance[first, draws], self.wrong[images])


def deformed(images: Floats, rng: np.random.Generator) -> Floats:
    """Maximum-entropy deformations, bilinear: arXiv:2105.02468, section 2."""
    count, _, side, _ = images.shape
    temperature = 4 * DELTA**2 / (np.pi * side**2 * np.log(CUTOFF))
    waves = np.arange(1, CUTOFF + 1)
    norm = np.hypot(*np.meshgrid(waves, waves))
    sines = np.sin(np.pi * np.outer(waves, np.linspace(0, 1, side)))
    amplitudes = np.where(norm < CUTOFF + 0.5, 1 / norm, 0) * rng.standard_normal((count, 2, CUTOFF, CUTOFF))
    fields = np.sqrt(temperature) * side * np.einsum("nsij,iy,jx->nsyx", amplitudes, sines, sines)
    pixels = np.arange(side)
    y = np.clip(pixels[:, None] - fields[:, 0], 0, side - 1)
    x = np.clip(pixels[None, :] - fields[:, 1], 0, side - 1)
    top, left = (np.minimum(part.astype(int), side - 2) for part in (y, x))
    down, right = (y - top)[:, None], (x - left)[:, None]
    image = np.arange(count)[:, None, None, None]
    channel = np.arange(images.shape[1])[None, :, None, None]
    at = lambda dy, dx: images[image, channel, (top + dy)[:, None], (left + dx)[:, None]]
    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    lower = at(1, 0) * (1 - right) + at(1, 1) * right
    return upper * (1 - down) + lower * down


def noisy(images: Floats, moved: Floats, rng: np.random.Generator) -> Floats:
    """Images with noise as large as the deformation moved them."""
    noise = rng.standard_normal(images.shape)
    axes = (1, 2, 3)
    sizes = [np.sqrt((part**2).sum(axes, keepdims=True)) for part in (moved - images, noise)]
    return images + noise * sizes[0] / sizes[1]


class Network:
    def __init__(self, path: Path, channels: int) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        told = self.session.get_inputs()[0]
        self.name, self.last = told.name, told.shape[-1] == channels and told.shape[1] != channels
        self.batch = told.shape[0] if isinstance(told.shape[0], int) else BATCH
        self.flat = len(told.shape) == 3
        self.output = self.session.get_outputs()[0].name

    def __call__(self, images: Floats) -> Floats:
        images = images.transpose(0, 2, 3, 1) if self.last else images
        parts = [
            self.session.run(
                [self.output], {self.name: np.ascontiguousarray(images[at : at + self.batch], np.float32)}
            )[0]
            for at in range(0, len(images), self.batch)
        ]
        return np.concatenate(parts).reshape(len(images), -1).astype(np.float64)


def confidence(outputs: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    shares = np.exp(outputs - outputs.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True)).max(1), outputs.argmax(1)


def run(network: Network, images: Floats, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> Rows:
    clean = network(images)
    sure, classes = confidence(clean)
    changes: tuple[list[Floats], list[Floats]] = ([], [])
    invariance = []
    for _ in range(DRAWS):
        moved = deformed(images, rng)
        outputs = network(moved)
        also, same = confidence(outputs)
        invariance.append(np.where(same == classes, np.sqrt(sure * also), 0))
        changes[0].append((outputs - clean) ** 2)
        changes[1].append((network(noisy(images, moved, rng)) - clean) ** 2)
    stacked = [np.stack(part, 1) for part in (*changes, invariance)]
    return Rows(stacked[0], stacked[1], stacked[2], (classes != labels).astype(float))


def typical(changes: Floats) -> float:
    """`coordinate_median`."""
    return float(np.median(changes.reshape(-1, changes.shape[-1]), axis=0).sum())


def influence(changes: Floats) -> Floats:
    """How much each image and draw moves the logarithm of `typical`, `[image, draw]`."""
    logs = np.log(np.maximum(changes, 1e-300))
    middle = np.median(logs, axis=(0, 1))
    # Density of the logarithm at its median, over a band that holds a fifth of all values.
    low, high = np.quantile(logs, (0.4, 0.6), axis=(0, 1))
    moves = np.sign(logs - middle) / 2 * ((high - low) / 0.2) * np.exp(middle)
    return moves.sum(2) / np.exp(middle).sum()


def components(values: Floats) -> tuple[float, float]:
    """Variance between images and between draws of one image."""
    within = float(values.var(1, ddof=1).mean())
    return max(float(values.mean(1).var(ddof=1)) - within / values.shape[1], 0.0), within


def within_classes(values: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Variance between images of one class: what is left where every class has its share of the images."""
    means = values.mean(1)
    rest = means - np.array([means[labels == label].mean() for label in labels])
    spread = float((rest**2).sum() / (len(means) - len(np.unique(labels))))
    return max(spread - components(values)[1] / values.shape[1], 0.0)


def log_r_f(rows: Rows) -> float:
    return float(np.log(typical(rows.deformed) / typical(rows.noisy)))


def resampled(changes: Floats, counts: npt.NDArray[np.int32]) -> Floats:
    """`typical` of each bootstrap resample of images, `counts` being `[resample, image]`."""
    images, draws, outputs = changes.shape
    owners = np.repeat(np.arange(images), draws)
    half = (counts.sum(1) * draws + 1) // 2
    total = np.zeros(len(counts))
    for output in range(outputs):
        values = changes[:, :, output].ravel()
        order = np.argsort(values)
        reached = np.cumsum(counts[:, owners[order]], axis=1) >= half[:, None]
        total += values[order][reached.argmax(1)]
    return total


def simulate(rows: Rows, split: tuple[int, int], repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Spread of simulated measurements and how often their 95% intervals hold the value of all rows."""
    images, draws = split
    whole = {"r_f": log_r_f(rows), "ei": float(np.log(1 - rows.invariance.mean()))}
    found: dict[str, list[tuple[float, float, float]]] = {"r_f": [], "ei": []}
    for _ in range(repeats):
        chosen = rng.integers(0, len(rows.wrong), images)
        which = np.argsort(rng.random((images, DRAWS)), axis=1)[:, :draws]
        part = rows.taken(chosen, which)
        counts = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(np.int32)
        r_f = np.log(resampled(part.deformed, counts) / resampled(part.noisy, counts))
        doubt = np.log(np.maximum(1 - counts @ part.invariance.mean(1) / images, 1e-12))
        for key, value, replicates in (
            ("r_f", log_r_f(part), r_f),
            ("ei", float(np.log(max(1 - part.invariance.mean(), 1e-12))), doubt),
        ):
            low, high = np.quantile(replicates, (0.025, 0.975))
            found[key].append((value, low, high))
    result = {}
    for key, told in found.items():
        value, low, high = np.array(told).T
        result[f"{key}_sd"] = float(value.std(ddof=1))
        result[f"{key}_half_width"] = float(np.median((high - low) / 2))
        result[f"{key}_coverage"] = float(((low <= whole[key]) & (whole[key] <= high)).mean())
    return result


def least(between: float, within: float, wanted: float, most_images: int = 10**9) -> tuple[int, int, int]:
    """Images, draws and passes of the cheapest measurement with at most this variance."""
    plans = []
    for draws in range(1, DRAWS + 1):
        images = int(np.ceil((between + within / draws) / wanted))
        if images <= most_images:
            plans.append((images * (1 + 2 * draws), images, draws))
    passes, images, draws = min(plans)
    return images, draws, passes


def study(
    name: str, rows: Rows, labels: npt.NDArray[np.int64], repeats: int, rng: np.random.Generator
) -> dict[str, object]:
    parts = influence(rows.deformed), influence(rows.noisy)
    found: dict[str, object] = {"name": name, "images": len(rows.wrong), "r_f": np.exp(log_r_f(rows))}
    found |= {"ei": rows.invariance.mean(), "error": rows.wrong.mean()}
    values = {
        "r_f": parts[0] - parts[1],
        "d_f": parts[0],
        "g_f": parts[1],
        "ei": rows.invariance / (1 - rows.invariance.mean()),
    }
    for key, each in values.items():
        between, within = components(each)
        found[f"{key}_between"], found[f"{key}_within"] = between, within
        if key in ("r_f", "ei"):
            wanted = (between + within / 4) / 500
            images, draws, passes = least(between, within, wanted)
            found[f"{key}_within_classes"] = within_classes(each, labels)
            found[f"{key}_best"] = f"{images} x {draws}"
            found[f"{key}_share"] = passes / 4500
    for split in SPLITS if repeats else ():
        label = f"{split[0]}x{split[1]}"
        found |= {f"{key}_{label}": value for key, value in simulate(rows, split, repeats, rng).items()}
    return found


def options(text: str) -> dict[str, list[float]]:
    words = shlex.split(text)
    return {
        key[2:]: [float(part) for part in value.split(",")] for key, value in zip(words[::2], words[1::2], strict=True)
    }


def probe(folder: Path, row: dict[str, str]) -> tuple[Floats, npt.NDArray[np.int64]]:
    held = np.load(folder / PROBES[row["data_set"]])
    images = held["images"].astype(np.float64) / 255
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2), held["labels"].astype(int)


def loaded(folder: Path, row: dict[str, str]) -> tuple[Network, Floats]:
    images, _ = probe(folder, row)
    said = options(row["options"])
    mean, std = (np.array(said.get(key, [default])).reshape(1, -1, 1, 1) for key, default in (("mean", 0), ("std", 1)))
    return Network(folder / row["name"] / "model.onnx", images.shape[1]), (images - mean) / std


def cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "passes.csv")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument(
        "--keep", type=Path, help="a folder for the rows of each network, read again where they are there"
    )
    args = parser.parse_args()
    networks = {row["name"]: row for row in read(args.folder / "networks.csv")}
    results = []
    for name in args.names or networks:
        rng = np.random.default_rng(0)
        labels = probe(args.folder, networks[name])[1]
        kept = args.keep / f"{name}.npz" if args.keep else None
        if kept and kept.exists():
            held = np.load(kept)
            rows = Rows(*(held[key].astype(np.float64) for key in ("deformed", "noisy", "invariance", "wrong")))
        else:
            rows = run(*loaded(args.folder, networks[name]), labels, rng)
        if kept and not kept.exists():
            np.savez(kept, **vars(rows))
        results.append(study(name, rows, labels, args.repeats, rng))
        print({key: cell(value) for key, value in results[-1].items()}, flush=True)
    with open(args.table, "w", newline="") as file:
        table = csv.DictWriter(file, list(results[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({key: cell(value) for key, value in row.items()} for row in results)


if __name__ == "__main__":
    main()
