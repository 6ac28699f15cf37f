"""Real digits, a small network, and a state folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from training import Digits


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits()


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
