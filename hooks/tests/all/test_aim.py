"""Aim's runs as loggers."""

from __future__ import annotations

from pathlib import Path

import aim
from aim.storage.context import Context
from test_loggers import LOGGED, Measure, measure

__all__ = ["measure"]


def test_aim_tracks_by_name(measure: Measure, tmp_path: Path) -> None:
    run = aim.Run(repo=str(tmp_path), system_tracking_interval=None, capture_terminal_logs=False)
    measure(run)
    tracked = {}
    for name in LOGGED:
        steps, _ = run.get_metric(name, Context({})).data.items_list()
        tracked[name] = sorted(int(step) for step in steps)
    run.close()
    assert tracked == LOGGED
