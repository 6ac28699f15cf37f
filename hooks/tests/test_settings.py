"""Which process of a training acts, and which quantity a rule goes by that names none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
from daemons import DAEMON
from relstab.callback import Settings

IMAGES = numpy.random.default_rng(0).random((4, 1, 8, 8), numpy.float32)
LABELLED = (IMAGES, numpy.arange(4))


def acts(run: Path) -> bool:
    """Whether this process prepares a run; it starts a daemon for it where it does, and only there."""
    Settings(run, mean=[0.5])
    with relstab.start(run, **DAEMON) as daemon:
        assert (daemon.client is not None) == run.exists()
    return run.exists()


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK"])
def test_only_the_first_rank_prepares_a_run(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv(variable, rank)
        assert acts(tmp_path / rank) == (rank == "0")


@pytest.mark.parametrize(
    ("environment", "has_lightning", "all_act"),
    [
        pytest.param({}, False, True, id="trainings of their own"),
        pytest.param({"MASTER_ADDR": "node1"}, False, False, id="a place to meet"),
        pytest.param({"MASTER_ADDR": "node1", "SLURM_NTASKS": "1"}, False, True, id="one task"),
        pytest.param({"MASTER_ADDR": "node1", "RANK": "0"}, False, True, id="the launcher knows better"),
        pytest.param({}, True, False, id="Lightning"),
        pytest.param({"SLURM_JOB_NAME": "bash"}, True, True, id="Lightning in a shell"),
    ],
)
def test_tasks_of_slurm_are_ranks_where_they_train_one_network(
    environment: dict[str, str], has_lightning: bool, all_act: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_lightning:
        monkeypatch.setitem(sys.modules, "lightning", sys)
    else:
        monkeypatch.delitem(sys.modules, "lightning", raising=False)
    for task in ("0", "3"):
        for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": task, **environment}.items():
            monkeypatch.setenv(name, value)
        assert acts(tmp_path / task) == (all_act or task == "0")


@pytest.mark.parametrize(
    ("settings", "monitor"),
    [
        ({"val_error": "val_error", "probe": LABELLED}, "val_error"),
        ({"probe": LABELLED}, "probe_error"),
        ({"probe": IMAGES}, "predicted_error"),
        ({}, "predicted_error"),
        ({"val_error": "val_error", "stop": {"monitor": "g_f"}}, "g_f"),
    ],
)
def test_a_rule_goes_by_a_known_error_where_there_is_one(
    settings: dict[str, Any], monitor: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "relstab")
    Settings(tmp_path, **{"stop": {"patience": 1}, **settings})
    assert f'[[stop]]\nmonitor = "{monitor}"\n' in (tmp_path / "relstab.toml").read_text()
    assert (f"goes by {monitor}" in caplog.text) == (monitor != "g_f")


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        ({"patience": 1}, "[[stop]]\npatience = 1\n"),
        ({"patience": 1, "baseline": 0.3}, '[[stop]]\nmonitor = "predicted_error"\npatience = 1\nbaseline = 0.3\n'),
        ({"monitor": "g_f"}, '[[stop]]\nmonitor = "g_f"\n'),
    ],
)
def test_a_rule_of_a_loop_goes_by_what_the_loop_will_tell(rule: dict[str, Any], written: str, tmp_path: Path) -> None:
    relstab.Monitor(tmp_path, stop=rule).close()
    assert (tmp_path / "relstab.toml").read_text().endswith(written)
