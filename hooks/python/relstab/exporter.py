"""How a framework's networks become ONNX: the protocol, the trial of a file, and what is known to fail."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ._command import flags, run
from .images import as_array
from .measure import perturb

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Outputs of an exported network may differ from the framework's by this share of the largest output: TF32 does.
_TOLERANCE = 1e-2
#: Images that a file is tried on.
TRIED = 4
#: Networks known not to export; a program has few, unless each step makes another.
_REMEMBERED = 8


class Exporter(Protocol):
    """How a framework's networks become ONNX."""

    def snapshot(self, model: Any) -> Callable[[], bytes]:
        """Takes what the network is now, quickly and on the training's thread; the result makes the ONNX file's bytes, on
        another thread."""


def examples(images: object) -> NDArray[Any]:
    """The first of some images, an array, a tensor or a file, as a network takes them: 32-bit floats, bytes as [0, 1]."""
    import numpy

    if images is None:
        raise ValueError("expected example images for the export, found none: give example= or probe=")
    if isinstance(images, (str, os.PathLike)):
        return perturb(images, images=TRIED, draws=1).images
    first = as_array(images[:TRIED])  # type: ignore[index]
    return (first if first.dtype.kind == "f" else first / 255).astype(numpy.float32)


@contextlib.contextmanager
def forward_of(images: Any) -> Iterator[None]:
    """While a framework's own network is given images: says their shape where it does not take them."""
    try:
        yield
    except Exception as error:
        found = f"{list(images.shape[1:])} each: {type(error).__name__}: {error}"
        raise ValueError(f"expected images as the network takes them in probe= or example=, found {found}") from error


def hold_to(
    network: bytes, images: NDArray[Any], expected: NDArray[Any], framework: str, *, layout: str | None = None
) -> None:
    """Raises `ValueError` where a network's outputs are not those that its framework has; arguments as of `difference`."""
    found = difference(network, images, expected, layout=layout)
    if found > _TOLERANCE:
        raise ValueError(f"the exported network's outputs differ from {framework}'s by {found:.1%}")


def difference(network: bytes, images: NDArray[Any], expected: NDArray[Any], *, layout: str | None = None) -> float:
    """The largest difference between what the command makes of a network and what is expected, over the largest output.

    `images`: as the network takes them; `expected`: the framework's own logits of them. Raises `RelstabError` where the
    command does not take it.
    """
    import numpy

    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        path = Path(folder)
        (path / "network.onnx").write_bytes(network)
        numpy.save(path / "images.npy", images)
        arguments = [f"--probe={path / 'images.npy'}", f"--to={path / 'logits.npy'}"]
        run(["logits", str(path / "network.onnx"), *arguments, *flags({"layout": layout})])
        logits = numpy.load(path / "logits.npy")
    scale = max(float(abs(expected).max()), 1e-12)
    return float(abs(logits - expected.reshape(logits.shape)).max()) / scale


class Failures:
    """Networks whose export failed: another try would hold up the training as long, and end alike."""

    def __init__(self) -> None:
        self._reasons: list[tuple[object, str]] = []

    @contextlib.contextmanager
    def trying(self, network: object) -> Iterator[None]:
        """Raises what was noted of a network, and notes what it raises now; `network`: whatever tells it from others."""
        for known, reason in self._reasons:
            if known == network:
                raise RuntimeError(reason)
        try:
            yield
        except Exception as error:
            if not _may_pass(error):
                self._reasons = [*self._reasons[1 - _REMEMBERED :], (network, f"{type(error).__name__}: {error}")]
            raise


def _may_pass(error: BaseException | None) -> bool:
    """Whether memory or disk was short."""
    while error is not None:
        if isinstance(error, (MemoryError, OSError)) or "out of memory" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Python's and NumPy's random numbers are afterwards as they were."""
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    numbers = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(numbers)
