"""A daemon that is killed again and again, and what became of a run's checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import relstab
from commands import output
from test_measure import r_f

SETTINGS: dict[str, Any] = {"images": 60, "draws": 1}
DAEMON: dict[str, Any] = {**SETTINGS, "backend": "tract"}


class Unlucky:
    """A daemon that is killed with the second and the fourth checkpoint, and started again with the next one."""

    def __init__(self, run: Path, **options: Any) -> None:
        self._run, self._options = run, options or DAEMON
        self._daemons = [relstab.start(run, **self._options)]

    def checkpoint(self, number: int) -> None:
        """Counted from one."""
        process = self._daemons[-1].process
        if process is None or process.poll() is not None:
            self._daemons.append(relstab.start(self._run, **self._options))
        elif number in (2, 4):
            process.kill()
            process.wait()

    def stop(self) -> None:
        assert len(self._daemons) == 3
        for daemon in self._daemons:
            daemon.stop()


def history(run: str | Path) -> list[dict[str, Any]]:
    """Of each checkpoint what the journal holds."""
    return list(json.loads(output(sys.executable, "-m", "relstab", "history", run, "--format=json")))


def assert_measured(run: Path, passes: Mapping[int, Any], perturbed: relstab.Perturbed) -> None:
    """Each step was measured, and found to have the R_f of the framework's own passes."""
    entries = history(run)
    assert [entry["state"] for entry in entries] == ["measured"] * len(passes)
    measured = {entry["step"]: entry["measurement"] for entry in entries}
    assert measured.keys() == passes.keys()
    for step, forward in passes.items():
        assert r_f(forward, perturbed) == pytest.approx(measured[step]["r_f"]["value"], rel=1e-3), step
