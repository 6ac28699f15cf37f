"""Measuring without a daemon: arrays or tensors in, typed results out, the command underneath.

Options are the flags of `relstab measure --help`: `measure(model, images, law="cifar10", draws=8, mean=[0.5])`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ._command import Option, flags, run
from .files import onnx_bytes
from .images import saved
from .records import CheckReport, Json, Measurement, Perturbed


def measure(model: object, images: object = None, labels: object = None, /, **options: Option) -> Measurement:
    """Relative stability of `model`, and its predicted test error if a `law` is named.

    `model`: an ONNX file or its bytes, an `onnx.ModelProto`, or a `torch.nn.Module`. `images`: [image, channel, y, x] or
    channels last, bytes or floats, an array, a tensor or a file. Raises `RelstabError` where it cannot be measured.
    """
    # 8: undefined, which the record tells.
    return Measurement.of(_told("measure", (model, images, labels), options, accept=(0, 8)))


def check(model: object, images: object = None, labels: object = None, /, **options: Option) -> CheckReport:
    """Holds `model` to limits: `check(model, images, max_rf=0.5)`; also `max_predicted_error`, `max_probe_error`,
    `max_df`, `max_gf` and whatever `measure` takes."""
    told = _told("check", (model, images, labels), options, accept=(0, 1, 4, 5, 7, 8))
    return CheckReport.of(told["models"][0])


def perturb(images: object, labels: object = None, /, **options: Option) -> Perturbed:
    """The deformed and the noisy images themselves: those that `measure` shows a network with the same options."""
    import numpy

    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        to = Path(folder) / "perturbed"
        run(["perturb", *_probe(images, labels, Path(folder)), f"--to={to}", *flags(options)])
        return Perturbed(**{name: numpy.load(to / f"{name}.npy") for name in Perturbed.__dataclass_fields__})


def _told(command: str, given: tuple[object, ...], options: Mapping[str, Option], accept: Sequence[int]) -> Json:
    """The record that a command prints of a network, on images with labels."""
    model, images, labels = given
    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        if not isinstance(model, (str, os.PathLike)):
            network, model = onnx_bytes(model, images), Path(folder) / "model.onnx"
            model.write_bytes(network)
        arguments = [os.fspath(model), *_probe(images, labels, Path(folder)), "--format=json", *flags(options)]
        record: Json = json.loads(run([command, *arguments], accept=accept))
    return record


def _probe(images: object, labels: object, folder: Path) -> list[str]:
    return [] if images is None else [f"--probe={saved(images, labels, folder)}"]
