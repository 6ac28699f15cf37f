"""Trackio as a logger, in an environment of its own: it asks for an older Pillow than the other tests."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import relstab
from daemons import DAEMON
from relstab.config import prepare
from serving import BUNDLED, CHECKPOINTS

PYTHON = Path(sys.prefix) / "trackio/bin/python"
#: The arguments: a run, and the networks to hand over.
TRAINING = """
import sys
import relstab
import trackio
run, *networks = sys.argv[1:]
trackio.init(project="digits", embed=False)
with relstab.Monitor(run, logger=trackio) as monitor:
    for step, network in zip((10, 20), networks):
        monitor.checkpoint(network, step=step, val_error=0.5)
        assert monitor.wait(60)
trackio.finish()
"""


@pytest.mark.skipif(not PYTHON.exists(), reason=f"there is no {PYTHON}: ./test.sh --all makes it")
def test_trackio_takes_metrics(tmp_path: Path) -> None:
    run, kept = tmp_path / "run", tmp_path / "trackio"
    prepare(run, probe=BUNDLED / "probe.npz")
    package = Path(relstab.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package), "TRACKIO_DIR": str(kept), "HF_HUB_OFFLINE": "1"}
    command: list[str | Path] = [PYTHON, "-c", TRAINING, run, *CHECKPOINTS[:2]]
    with relstab.start(run, **DAEMON):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "refused" not in done.stderr
    (file,) = kept.glob("digits*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
    logged = {step: json.loads(metrics) for step, metrics in rows}
    assert logged.keys() == {10, 20}
    for name in ("r_f", "d_f", "invariance", "val_error"):
        assert all(f"relstab/{name}" in metrics for metrics in logged.values()), name
    # The first network is untrained; the second is not.
    assert [metrics["relstab/finding/untrained"] for metrics in logged.values()] == [1, 0]
