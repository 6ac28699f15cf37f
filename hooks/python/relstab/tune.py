"""Ray Tune: a stopper that goes by what the daemon says of a trial's run.

stopper = relstab.tune.Stopper(lambda trial_id: f"/shared/runs/{trial_id}")
tune.Tuner(train, run_config=tune.RunConfig(stop=stopper)).fit()
"""

from __future__ import annotations

from typing import Any

from ray import tune

from .trials import Judge


class Stopper(Judge, tune.Stopper):
    """Ends a trial at a report once a stop rule of its run says so, beside whatever scheduler decides. The values that a trial
    reports are not looked at.

    Settings are those of [`relstab.trials.Judge`]; `run_of` is given the trial's id, which is `tune.get_context().get_trial_id()`
    in the training.
    """

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stops(trial_id, trial_id)

    def stop_all(self) -> bool:
        return False
