"""Aim's runs as loggers."""

from __future__ import annotations

from pathlib import Path

import relstab
from aim.sdk.run import Run
from aim.storage.context import Context
from daemons import DAEMON
from serving import BUNDLED, CHECKPOINTS


def test_aim_tracks_by_name(tmp_path: Path) -> None:
    run = Run(repo=str(tmp_path), system_tracking_interval=None, capture_terminal_logs=False)
    monitor = relstab.Monitor(tmp_path / "run", probe=BUNDLED / "probe.npz", logger=run)
    with relstab.start(tmp_path / "run", **DAEMON), monitor:
        for step, network in zip((10, 20), CHECKPOINTS[1:], strict=False):
            monitor.checkpoint(network, step=step, val_error=0.5)
            assert monitor.wait(60)
    for name in ("relstab/r_f", "relstab/d_f", "relstab/val_error"):
        steps, values = run.get_metric(name, Context({})).data.items_list()
        assert sorted(int(step) for step in steps) == [10, 20]
        assert all(value > 0 for value in values[0])
    run.close()
