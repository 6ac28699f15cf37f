"""CIFAR-10 and Fashion-MNIST from files on disk, and the probe sets made from them."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DataSet:
    """Images [n, channels, side, side] and labels [n]; mean and standard deviation for pixels in [0, 1]."""

    name: str
    train: tuple[Bytes, Labels]
    test: tuple[Bytes, Labels]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_idx(path: Path) -> Bytes:
    """An unsigned-byte IDX file, gzipped."""
    data = gzip.decompress(path.read_bytes())
    rank = struct.unpack(">HBB", data[:4])[2]
    sizes = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def fashion_mnist(folder: Path) -> DataSet:
    """The four gzipped IDX files."""

    def part(name: str) -> tuple[Bytes, Labels]:
        images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")[:, np.newaxis]
        return images, read_idx(folder / f"{name}-labels-idx1-ubyte.gz").astype(np.int64)

    return DataSet("fashionmnist", part("train"), part("t10k"), (0.2860,), (0.3530,))


def cifar10(folder: Path) -> DataSet:
    """The Parquet files of the Hugging Face copy, or the original Python or binary batches."""
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    if (folder / "train.parquet").exists():
        return DataSet("cifar10", parquet(folder / "train.parquet"), parquet(folder / "test.parquet"), mean, std)
    names = [f"data_batch_{n}" for n in range(1, 6)]
    if not any(folder.glob("data_batch_1*")):
        raise SystemExit(
            f"{folder}: neither train.parquet nor data_batch_1; name the folder of CIFAR-10 with --cifar10"
        )
    return DataSet("cifar10", batches(folder, names), batches(folder, ["test_batch"]), mean, std)


def parquet(path: Path) -> tuple[Bytes, Labels]:
    """`img` (a struct with encoded bytes) and `label`."""
    import pyarrow.parquet  # type: ignore[import-untyped]
    from PIL import Image

    table = pyarrow.parquet.read_table(path)
    images = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table["img"].to_pylist()]
    return np.stack(images).transpose(0, 3, 1, 2).copy(), np.array(table["label"].to_pylist(), np.int64)


def batches(folder: Path, names: list[str]) -> tuple[Bytes, Labels]:
    """Pickled dictionaries, or records of a label and 3,072 bytes."""
    images, labels = [], []
    for name in names:
        if (folder / f"{name}.bin").exists():
            records = np.fromfile(folder / f"{name}.bin", np.uint8).reshape(-1, 3073)
            labels.append(records[:, 0])
            images.append(records[:, 1:])
        else:
            batch = pickle.loads((folder / name).read_bytes(), encoding="bytes")
            labels.append(np.array(batch[b"labels"]))
            images.append(batch[b"data"])
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels).astype(np.int64)


def probe_indices(labels: Labels) -> npt.NDArray[np.int64]:
    """500 images, 50 of each class, in a seeded order."""
    rng = np.random.default_rng(0)
    return rng.permutation(np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:50] for k in range(10)]))


def write_probe(path: Path, data: DataSet) -> None:
    """A probe set from the test images, as relstab reads it."""
    if path.exists():
        return
    images, labels = data.test
    chosen = probe_indices(labels)
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(temporary, images=images[chosen], labels=labels[chosen].astype(np.uint8))
    temporary.rename(path)
