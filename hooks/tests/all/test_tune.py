"""Ray Tune's trials, stopped by what the daemon says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import relstab
from daemons import DAEMON, history
from ray import tune
from relstab.tune import Stopper
from serving import BUNDLED, CHECKPOINTS


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One of this machine's own; the folder that trials export to."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.WARNING, object_store_memory=100_000_000)
    yield tmp_path
    ray.shutdown()


def tuned(train: Any, runs: Path, stopper: Stopper) -> dict[float, int]:
    """For each fall of the error, how often its trial reported."""
    config = tune.RunConfig(storage_path=str(runs / "tune"), stop=stopper, verbose=0)
    results = tune.Tuner(train, param_space={"fall": tune.grid_search([0.0, 0.1])}, run_config=config).fit()
    assert not results.errors
    ends = (results[number] for number in range(len(results)))
    return {(end.config or {})["fall"]: (end.metrics or {})["training_iteration"] for end in ends}


def test_trials_are_stopped_by_the_rules_of_their_runs(cluster: Path) -> None:
    def train(config: dict[str, float]) -> None:
        run, error = cluster / "runs" / tune.get_context().get_trial_id(), 0.5
        monitor = relstab.Monitor(run, probe=BUNDLED / "probe.npz", stop={"monitor": "val_error", "patience": 2})
        with relstab.start(run, **DAEMON), monitor:
            # As a training exported them.
            for step, network in enumerate(CHECKPOINTS[1:6], 1):
                monitor.checkpoint(network, step=step, val_error=error)
                assert monitor.wait(60)
                # The best that Tune's own schedulers could see: only the daemon's word counts.
                tune.report({"loss": 1.0 / step})
                error -= config["fall"]

    assert tuned(train, cluster, Stopper(lambda trial: cluster / "runs" / trial)) == {0.0: 3, 0.1: 5}
    assert sorted(len(history(run)) for run in (cluster / "runs").iterdir()) == [3, 5]


def test_without_a_daemon_no_trial_is_stopped(cluster: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")

    def train(config: dict[str, float]) -> None:
        for step in range(3):
            tune.report({"loss": 1.0 / (step + 1)})

    assert tuned(train, cluster, Stopper(lambda trial: cluster / trial)) == {0.0: 3, 0.1: 3}
    assert caplog.text.count("goes on unjudged") == 1
