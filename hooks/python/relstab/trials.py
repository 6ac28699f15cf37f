"""Trials of a search over settings, each with a run of its own, and what the daemon says of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from ._command import RelstabError
from .client import Client

_log = logging.getLogger("relstab")

RunOf = Callable[[Any], "str | os.PathLike[str]"]
ClientOf = Callable[["str | os.PathLike[str]"], Client]


class Judge:
    """Whether a trial should stop; where no daemon answers, none should, and one warning says that.

    `run_of` tells the directory that a trial exports its checkpoints to, `client_of` the client of the daemon that watches it.
    `reasons` has the rules' words for each trial that should stop, by its name or number.
    """

    def __init__(self, run_of: RunOf, client_of: ClientOf = Client.of) -> None:
        self._run_of, self._client_of = run_of, client_of
        self._has_warned = False
        self.reasons: dict[int | str, str] = {}

    def stops(self, trial: object, name: int | str) -> bool:
        run = self._run_of(trial)
        try:
            decision = self._client_of(run).decision(run)
            if decision["stop"]:
                self.reasons[name] = decision["reason"]
                _log.info("trial %s is stopped: %s", name, decision["reason"])
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
