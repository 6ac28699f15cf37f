"""Networks as ONNX files: where their bytes come from, what is written into them, and how they appear on disk."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from ._command import flags, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Outputs of an exported network may differ from the framework's by this share of the largest output: TF32 does.
TOLERANCE = 1e-2
#: Networks known not to export; a program has few, unless each step makes another.
_REMEMBERED = 8


class Exporter(Protocol):
    """How a framework's networks become ONNX."""

    def snapshot(self, model: Any) -> Callable[[], bytes]:
        """Takes what the network is now, quickly and on the training's thread; the result makes the ONNX file's bytes, on
        another thread."""


def onnx_bytes(model: object, images: object = None) -> bytes:
    """The ONNX file of a network: of its bytes, its file, an `onnx.ModelProto`, or a `torch.nn.Module` that takes `images`."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    if isinstance(model, (str, os.PathLike)):
        return Path(model).read_bytes()
    if hasattr(model, "SerializeToString"):
        return bytes(model.SerializeToString())
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from .torch import Exporter as TorchExporter

        return TorchExporter(images).snapshot(model)()
    raise TypeError(f"expected an ONNX file, its bytes, an onnx.ModelProto or a torch.nn.Module, found {type(model)}")


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

    def recall(self, network: object) -> None:
        """Raises what was noted of a network; `network`: whatever tells it from others."""
        for known, reason in self._reasons:
            if known == network:
                raise RuntimeError(reason)

    def note(self, network: object, error: BaseException) -> None:
        """Unless memory or disk was short, which may pass."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (MemoryError, OSError)) or "out of memory" in str(cause).lower():
                return
            cause = cause.__cause__ or cause.__context__
        self._reasons = [*self._reasons[1 - _REMEMBERED :], (network, f"{type(error).__name__}: {error}")]


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


def metadata_props(metadata: Mapping[str, object]) -> bytes:
    """`relstab.NAME` entries to append to a serialised ONNX network: `metadata_props` is its repeated field 14."""

    def text(value: object) -> str:
        values = value if isinstance(value, (list, tuple)) else [value]
        return ",".join(str(item) for item in values)

    def field(number: int, content: bytes) -> bytes:
        length, size = b"", len(content)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    entries = (
        field(1, f"relstab.{name}".encode()) + field(2, text(value).encode()) for name, value in metadata.items()
    )
    return b"".join(field(14, entry) for entry in entries)


def write_atomically(path: Path, *parts: bytes) -> None:
    """Writes a file so that it is whole as soon as it is there."""
    with opened_atomically(path) as file:
        for part in parts:
            file.write(part)


@contextlib.contextmanager
def opened_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to be written that is whole as soon as it is there: temporary name, fsync, rename."""
    # Not a name that a daemon takes for a checkpoint, and not that of another rank.
    # Not a process id: containers that share a folder may share those. Not `mkstemp`: others may read the file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with temporary.open("xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
