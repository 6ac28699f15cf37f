"""Files of a run: how they appear on disk, and where a network's bytes come from and what is written into them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

#: By the name of a framework's class of networks: what makes the ONNX file of one that takes some images.
exports: dict[str, Callable[[object, object], bytes]] = {}


def onnx_bytes(model: object, images: object = None) -> bytes:
    """The ONNX file of a network: of its bytes, its file, an `onnx.ModelProto`, or a `torch.nn.Module` that takes `images`."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    if isinstance(model, (str, os.PathLike)):
        return Path(model).read_bytes()
    if hasattr(model, "SerializeToString"):
        return bytes(model.SerializeToString())
    for kind in type(model).__mro__:
        if export := exports.get(f"{kind.__module__}.{kind.__qualname__}"):
            return export(model, images)
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
