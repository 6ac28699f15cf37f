"""What the callbacks of all frameworks share: the settings of a run, and the error that a training knows."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from ._command import is_first_rank
from .config import prepare
from .images import images_of
from .monitor import Monitor

_log = logging.getLogger("relstab")


class Settings:
    """Settings of a callback, written into the run's directory at once, so that `relstab.start` may follow; of
    several ranks the first does it.

    `val_error`: the name of a logged metric that is an error (a fraction), or a function of all of them, such as
    `lambda metrics: 1 - metrics["val_accuracy"]`; a stop rule that names no monitor goes by it. The others are those of [`Monitor`]; `example`: a few input images to
    trace the network with, by default the first of `probe`.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        val_error: str | Callable[[Mapping[str, Any]], Any] | None = None,
        every: int = 1,
        probe: object = None,
        example: object = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if is_first_rank():
            prepare(run_dir, probe=probe, tells_error=val_error is not None, **settings)
        self._run_dir, self._every, self._val_error = run_dir, every, val_error
        self._example = images_of(example, probe)
        #: That of the present training, or of the last one.
        self.monitor: Monitor | None = None

    def known_error(self, metrics: Mapping[str, Any]) -> float | None:
        """The error that these metrics tell, if they do."""
        try:
            if callable(self._val_error):
                return float(self._val_error(metrics))
            return None if self._val_error is None else float(metrics[self._val_error])
        except KeyError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a function of the user's throws
            _log.warning("no error is known: val_error raised %r; it is not asked again", error)
            self._val_error = None
            return None
