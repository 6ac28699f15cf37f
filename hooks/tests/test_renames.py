"""Files that are whole as soon as they are there, and what happens where a rename is refused."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from pathlib import Path

import pytest
from relstab.files import opened_atomically, path_of_text, path_text, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "step=1.onnx"
    write_atomically(path, b"one, ", b"whole")
    assert path.read_bytes() == b"one, whole"
    with pytest.raises(RuntimeError, match="half"), opened_atomically(path) as file:
        file.write(b"another")
        assert path.read_bytes() == b"one, whole"
        raise RuntimeError("half of it")
    assert names(tmp_path) == ["step=1.onnx"]
    assert path.read_bytes() == b"one, whole"


def test_where_renames_are_refused_files_are_written_in_place_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with caplog.at_level(logging.WARNING, "relstab"):
        for content in (b"first", b"second, longer", b"third"):
            write_atomically(tmp_path / "step=1.onnx", content)
            assert (tmp_path / "step=1.onnx").read_bytes() == content
        write_atomically(tmp_path / "step=2.onnx", b"another")
    assert names(tmp_path) == ["step=1.onnx", "step=2.onnx"]
    assert [
        str(tmp_path) in record.getMessage() and "in place" in record.getMessage() for record in caplog.records
    ] == [True]


def test_a_folder_to_which_one_can_only_add(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a mounted object store: neither renames nor deletions."""
    folder = tmp_path / "run"
    folder.mkdir()
    if subprocess.run(["chattr", "+a", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("chattr +a is refused here")
    try:
        with caplog.at_level(logging.WARNING, "relstab"):
            for step in (1, 2):
                write_atomically(folder / f"step={step}.onnx", b"whole")
    finally:
        subprocess.run(["chattr", "-a", str(folder)], check=True)
    assert [name for name in names(folder) if not name.startswith(".")] == ["step=1.onnx", "step=2.onnx"]
    assert len(caplog.records) == 1


def test_other_errors_are_raised(tmp_path: Path) -> None:
    (tmp_path / "taken" / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"content")
    assert names(tmp_path) == ["taken"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/runs/a\xff.onnx", r"/runs/a\xff.onnx"),
        (rb"/runs/a\xff.onnx", r"/runs/a\\xff.onnx"),
        ("/runs/\u00e9\\".encode(), "/runs/\u00e9\\\\"),
    ],
)
def test_no_two_paths_are_written_alike(path: bytes, text: str) -> None:
    assert path_text(Path(os.fsdecode(path))) == text
    assert os.fsencode(path_of_text(text)) == path
