"""Images: arrays and tensors of any framework, and the probe sets that the command reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import opened_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Not a name that somebody would give to images of their own: what bears it is replaced.
_PROBE = "relstab-probe"


def pair(probe: object) -> tuple[object, object]:
    """Images, arrays or a file, and their labels, None where there are none; raises `ValueError` for what is no probe set."""
    images, *labels = probe if isinstance(probe, tuple) else (probe,)
    if len(labels) > 1:
        raise ValueError(f"probe: expected images, or (images, labels), found a tuple of {1 + len(labels)}")
    if isinstance(images, (str, os.PathLike)) and not os.path.isfile(images):
        found = "a folder, which relstab.start(..., probe=) takes" if os.path.isdir(images) else "nothing"
        raise ValueError(f"probe: expected images or a file of images, found {found}: {os.fspath(images)}")
    return images, labels[0] if labels else None


def images_of(example: object, probe: object) -> object:
    """The images to trace a network with: `example`, else those of `probe`."""
    return example if example is not None else pair(probe)[0]


def as_array(values: object) -> NDArray[Any]:
    """A NumPy array of whatever array or tensor `values` is, wherever it lies."""
    import numpy

    values = values.detach().cpu() if hasattr(values, "detach") else values  # torch
    return numpy.ascontiguousarray(numpy.asarray(values))


def saved(images: object, labels: object, folder: Path) -> Path:
    """The file of some images: what was given, or an `.npz` in `folder` with arrays or tensors, and labels if there are any."""
    if isinstance(images, (str, os.PathLike)):
        return Path(images)
    import numpy

    arrays = {name: as_array(values) for name, values in (("images", images), ("labels", labels)) if values is not None}
    path = folder / f"{_PROBE}.npz"
    # numpy.savez has parameters of its own beside the arrays' names.
    numpy.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def put_probe(run_dir: Path, source: Path) -> str:
    """Copies a probe set, and the labels beside it, into a run's directory, and gives the name that it has there."""
    labels = next((file for file in map(source.with_name, _labels_names(source.name)) if file.is_file()), None)
    if labels is None:
        name = _PROBE + "".join(source.suffixes)
    else:
        # A name that tells that of the labels, too.
        name = source.name if source.name.startswith(_PROBE) else f"{_PROBE}-{source.name}"
        _copy(labels, run_dir / _labels_names(name)[0])
    _copy(source, run_dir / name)
    return name


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
