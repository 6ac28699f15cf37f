"""Images: arrays and tensors of any framework, and the probe sets that the command reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .files import opened_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Not a name that somebody would give to images of their own: what bears it is replaced.
_PROBE = "relstab-probe"


def images_of(example: object, probe: object) -> object:
    """The images to trace a network with: `example`, else those of `probe`."""
    return example if example is not None else (probe[0] if isinstance(probe, tuple) else probe)


def as_array(values: object) -> NDArray[Any]:
    """A NumPy array of whatever array or tensor `values` is, wherever it lies."""
    import numpy

    values = values.detach().cpu() if hasattr(values, "detach") else values  # torch
    return numpy.ascontiguousarray(numpy.asarray(values))


def save_probe(file: BinaryIO, images: object, labels: object = None) -> None:
    """Writes images, and labels if there are any, as the `.npz` that the command reads."""
    import numpy

    arrays = {"images": as_array(images)}
    if labels is not None:
        arrays["labels"] = as_array(labels)
    # numpy.savez has parameters of its own beside the arrays' names.
    numpy.savez(file, **arrays)  # type: ignore[arg-type]


def put_probe(run_dir: Path, probe: object) -> str:
    """Puts a probe set, a file or arrays, into a run's directory, and gives the name that it has there."""
    if isinstance(probe, (str, os.PathLike)):
        source = Path(probe)
        labels = next((file for file in map(source.with_name, _labels_names(source.name)) if file.is_file()), None)
        if labels is None:
            name = _PROBE + "".join(source.suffixes)
        else:
            # A name that tells that of the labels, too.
            name = source.name if source.name.startswith(_PROBE) else f"{_PROBE}-{source.name}"
            _copy(labels, run_dir / _labels_names(name)[0])
        _copy(source, run_dir / name)
        return name
    images, labels = probe if isinstance(probe, tuple) else (probe, None)
    path = run_dir / f"{_PROBE}.npz"
    with opened_atomically(path) as file:
        save_probe(file, images, labels)
    return path.name


def _labels_names(name: str) -> list[str]:
    """Where the command looks for the labels of an IDX file, in its order: `t10k-labels-idx1-ubyte` for
    `t10k-images-idx3-ubyte`, zipped or not."""
    labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    plain = labels.removesuffix(".gz")
    return [] if labels == name else [labels, f"{plain}.gz", plain]


def _copy(source: Path, path: Path) -> None:
    if not path.exists() or not path.samefile(source):
        with source.open("rb") as given, opened_atomically(path) as file:
            shutil.copyfileobj(given, file)
