"""Networks as ONNX files: where their bytes come from, what is written into them, and how they appear on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


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
    """Writes a file so that it is whole as soon as it is there: temporary name, fsync, rename."""
    # Not a name that a daemon takes for a checkpoint.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
