"""Optuna's studies, pruned by what the daemon says."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest
import relstab
import relstab.torch
from daemons import DAEMON, history
from optuna.trial import FrozenTrial, TrialState
from relstab.optuna import Pruner
from serving import BUNDLED, CHECKPOINTS
from training import Digits, network

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_trials_are_pruned_by_the_rules_of_their_runs(
    digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run_of(trial: optuna.Trial | FrozenTrial) -> Path:
        return tmp_path / f"trial{trial.number}"

    def objective(trial: optuna.Trial) -> float:
        fall = trial.suggest_categorical("fall", [0.0, 0.1])
        run, error = run_of(trial), 0.5
        monitor = relstab.torch.Monitor(run, probe=digits.probe, stop={"monitor": "val_error", "patience": 2})
        with relstab.start(run, **DAEMON), monitor:
            # Nothing is known yet, and nothing is wrong.
            trial.report(1.0, 0)
            assert not trial.should_prune()
            for step in range(1, 6):
                monitor.checkpoint(network(), step=step, val_error=error)
                assert monitor.wait(60)
                # The best that Optuna's own pruners could see: only the daemon's word counts.
                trial.report(1.0 / step, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
                error -= fall
        return error

    sampler = optuna.samplers.GridSampler({"fall": [0.0, 0.1]}, seed=0)
    pruner = Pruner(run_of)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=2)
    ends = {trial.params["fall"]: (trial.state, len(history(run_of(trial)))) for trial in study.trials}
    assert ends == {0.0: (TrialState.PRUNED, 3), 0.1: (TrialState.COMPLETE, 5)}
    assert "unjudged" not in caplog.text
    (reason,) = pruner.reasons.values()
    assert reason == "val_error did not improve on 0.5000 (step 1) in 2 checkpoints"


def test_a_trial_that_lags_behind_the_others_is_pruned(tmp_path: Path) -> None:
    def run_of(trial: optuna.Trial | FrozenTrial) -> Path:
        return tmp_path / "trials" / f"trial{trial.number}"

    (tmp_path / "trials").mkdir()
    with relstab.start(tmp_path / "trials", recursive=True, **DAEMON) as daemon:
        client = daemon.client
        assert client is not None
        rule = {"kind": "median", "monitor": "val_error"}

        def objective(trial: optuna.Trial) -> float:
            error = trial.suggest_float("error", 0, 1)
            run, probe = run_of(trial), BUNDLED / "probe.npz"
            with relstab.Monitor(run, probe=probe, stop=rule, address=client.address) as monitor:
                monitor.checkpoint(CHECKPOINTS[1 + trial.number], step=1, val_error=error)
                assert monitor.wait(60)
                trial.report(0.0, 1)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return error

        pruner = Pruner(run_of, lambda _: client)
        study = optuna.create_study(pruner=pruner)
        for error in (0.1, 0.2, 0.3, 0.9, 0.15):
            study.enqueue_trial({"error": error})
        study.optimize(objective, n_trials=5)
    # Of the fourth, three others came as far; the fifth is better than their median.
    assert [trial.state == TrialState.PRUNED for trial in study.trials] == [False, False, False, True, False]
    assert "worse than the median 0.2000 of the averages of 3 other runs" in pruner.reasons[3]


def test_without_a_daemon_no_trial_is_pruned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")

    def objective(trial: optuna.Trial) -> float:
        for step in range(3):
            trial.report(0.5, step)
            assert not trial.should_prune()
        return 0.5

    study = optuna.create_study(pruner=Pruner(lambda trial: tmp_path / f"trial{trial.number}"))
    study.optimize(objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert caplog.text.count("goes on unjudged") == 1
