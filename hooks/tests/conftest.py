"""Real digits, a small network, a browser, and folders for state and sockets for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from serving import PICTURES, browser
from training import Arrays, Digits


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def data(digits: Digits) -> Arrays:
    return Arrays(digits)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # Not below tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="relstab-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield
