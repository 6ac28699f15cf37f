"""Optuna: a pruner that goes by what the daemon says of a trial's run.

pruner = relstab.optuna.Pruner(lambda trial: f"runs/trial{trial.number}")
study = optuna.create_study(pruner=pruner)
"""

from __future__ import annotations

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from .trials import Judge


class Pruner(Judge, BasePruner):
    """Prunes a trial once a stop rule of its run says so. The values that a trial reports are not looked at.

    Settings are those of [`relstab.trials.Judge`].
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self.stops(trial, trial.number)
