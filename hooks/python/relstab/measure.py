"""Measuring without a daemon: arrays or tensors in, typed results out, the command underneath.

Options are the flags of `relstab measure --help`: `measure(model, images, law="cifar10", draws=8, mean=[0.5])`.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._command import Option, flags, run
from .export import onnx_bytes
from .records import CheckReport, Measurement, Perturbed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def measure(model: object, images: object = None, labels: object = None, /, **options: Option) -> Measurement:
    """Relative stability of `model`, and its predicted test error if a `law` is named.

    `model`: an ONNX file or its bytes, an `onnx.ModelProto`, or a `torch.nn.Module`. `images`: [image, channel, y, x] or
    channels last, bytes or floats, an array, a tensor or a file. Raises `RelstabError` where it cannot be measured.
    """
    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        arguments = [_model(model, images, Path(folder)), *_probe(images, labels, Path(folder))]
        # 8: undefined, which the record tells.
        text = run(["measure", *arguments, "--format=json", *flags(options)], accept=(0, 8))
    return Measurement.of(json.loads(text))


def check(model: object, images: object = None, labels: object = None, /, **options: Option) -> CheckReport:
    """Holds `model` to limits: `check(model, images, max_rf=0.5)`; also `max_predicted_error`, `max_probe_error`,
    `max_df`, `max_gf` and whatever `measure` takes."""
    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        arguments = [_model(model, images, Path(folder)), *_probe(images, labels, Path(folder))]
        text = run(["check", *arguments, "--format=json", *flags(options)], accept=(0, 1, 4, 5, 7, 8))
    return CheckReport.of(json.loads(text)["models"][0])


def perturb(images: object, labels: object = None, /, **options: Option) -> Perturbed:
    """The deformed and the noisy images themselves: those that `measure` shows a network with the same options."""
    import numpy

    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        to = Path(folder) / "perturbed"
        run(["perturb", *_probe(images, labels, Path(folder)), f"--to={to}", *flags(options)])
        return Perturbed(**{name: numpy.load(to / f"{name}.npy") for name in Perturbed.__dataclass_fields__})


def save_probe(file: BinaryIO, images: object, labels: object = None) -> None:
    """Writes images, and labels if there are any, as the `.npz` that the command reads."""
    import numpy

    arrays = {"images": as_array(images)}
    if labels is not None:
        arrays["labels"] = as_array(labels)
    # numpy.savez has parameters of its own beside the arrays' names.
    numpy.savez(file, **arrays)  # type: ignore[arg-type]


def as_array(values: object) -> NDArray[Any]:
    """A NumPy array of whatever array or tensor `values` is, wherever it lies."""
    import numpy

    values = values.detach().cpu() if hasattr(values, "detach") else values  # torch
    return numpy.ascontiguousarray(numpy.asarray(values))


def examples(images: object, count: int) -> NDArray[Any]:
    """The first `count` of some images, an array, a tensor or a file, as a network takes them: 32-bit floats, bytes as [0, 1]."""
    import numpy

    if images is None:
        raise ValueError("expected example images for the export, found none: give example= or probe=")
    if isinstance(images, (str, os.PathLike)):
        return perturb(images, images=count, draws=1).images
    first = as_array(images[:count])  # type: ignore[index]
    return (first if first.dtype.kind == "f" else first / 255).astype(numpy.float32)


def _probe(images: object, labels: object, folder: Path) -> list[str]:
    if images is None:
        return []
    if isinstance(images, (str, os.PathLike)):
        return [f"--probe={os.fspath(images)}"]
    path = folder / "probe.npz"
    with path.open("wb") as file:
        save_probe(file, images, labels)
    return [f"--probe={path}"]


def _model(model: object, images: object, folder: Path) -> str:
    if isinstance(model, (str, os.PathLike)):
        return str(os.fspath(model))
    path = folder / "model.onnx"
    path.write_bytes(onnx_bytes(model, images))
    return str(path)
