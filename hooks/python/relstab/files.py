"""Files of a run: how they appear on disk, and where a network's bytes come from and what is written into them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

_log = logging.getLogger("relstab")

#: What a file system says that renames no files, or not these.
_REFUSED = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL}
#: Folders where it said so.
_in_place: set[Path] = set()

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
    """A file to be written that is whole as soon as it is there: temporary name, fsync, rename.

    Where a rename is refused, as mounted object stores do, it is written in place, and that is said once for each folder.
    """
    if path.parent in _in_place:
        with _synced(path, "wb") as file:
            yield file
        return
    # Not a name that a daemon takes for a checkpoint, and not that of another rank.
    # Not a process id: containers that share a folder may share those. Not `mkstemp`: others may read the file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with _synced(temporary, "xb") as file:
        yield file
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _REFUSED:
            _discard(temporary)
            raise
        _in_place.add(path.parent)
        _log.warning(
            "%s: files cannot be renamed there (%s): they are written in place, and a daemon takes them once they have been left "
            "alone for --settle",
            path.parent,
            error.strerror,
        )
        try:
            with temporary.open("rb") as whole, _synced(path, "wb") as file:
                shutil.copyfileobj(whole, file)
        finally:
            _discard(temporary)


@contextlib.contextmanager
def _synced(path: Path, mode: Literal["wb", "xb"]) -> Iterator[BinaryIO]:
    """A file that is on disk when the block ends, and gone where that fails."""
    with path.open(mode) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            _discard(path)
            raise


def _discard(path: Path) -> None:
    """Where renames are refused, so may be this."""
    with contextlib.suppress(OSError):
        path.unlink()


def path_text(path: Path) -> str:
    """A path as the daemon writes it: bytes that are not UTF-8 as `\\xNN`, a backslash twice."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)


def path_of_text(text: str) -> Path:
    """The path that `path_text` has written."""

    def byte(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if match[1] else b"\\"

    return Path(os.fsdecode(re.sub(rb"\\(?:x([0-9a-f]{2})|\\)", byte, text.encode())))
