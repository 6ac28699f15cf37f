"""Optuna: a pruner that goes by what the daemon says of a trial's run.

pruner = relstab.optuna.Pruner(lambda trial: f"runs/trial{trial.number}")
study = optuna.create_study(pruner=pruner)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from ._command import RelstabError
from .client import Client

_log = logging.getLogger("relstab")


class Pruner(BasePruner):
    """Prunes a trial once a stop rule of its run says so; where no daemon answers, none is pruned, and one warning says that.

    `run_of` tells the directory that a trial exports its checkpoints to. The values that a trial reports are not looked at.
    `reasons` has the rules' words for each trial that was pruned, by its number.
    """

    def __init__(self, run_of: Callable[[FrozenTrial], str | os.PathLike[str]]) -> None:
        self._run_of = run_of
        self._has_warned = False
        self.reasons: dict[int, str] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        run = self._run_of(trial)
        try:
            decision = Client.of(run).decision(run)
            if decision["stop"]:
                self.reasons[trial.number] = decision["reason"]
                _log.info("trial %d is pruned: %s", trial.number, decision["reason"])
            return bool(decision["stop"])
        except ValueError as refusal:
            # Until its first checkpoint is there the daemon does not know the run.
            _log.info("a trial is not judged yet: %s", refusal)
            return False
        except (OSError, RelstabError) as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("a trial goes on unjudged: no decision on %s: %s (said once)", run, error)
            return False
