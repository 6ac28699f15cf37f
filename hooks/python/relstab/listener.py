"""What a daemon says of a run, heard on a thread of its own and kept for the training to ask."""

from __future__ import annotations

import logging
import queue
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .client import Client, socket_of
from .files import path_text
from .records import Measurement

_log = logging.getLogger("relstab")

#: A daemon is missed after this long.
PATIENCE_S = 5.0
RETRY_S = 0.5
_FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 3.0


class Heard:
    """What the training, the writer and the listener share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        #: What was said before this training began may be of another attempt.
        self.began = time.time()
        self._began = datetime.fromtimestamp(self.began, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.latest: Measurement | None = None
        self.stop: dict[str, Any] | None = None
        #: Files written by this program that have no outcome yet.
        self.unmeasured: set[str] = set()
        self._written: set[str] = set()
        self._unlogged: list[Measurement] = []
        #: Times of what was logged: events come again where a journal went back.
        self._logged: set[str] = set()
        self._warned: set[str] = set()

    def warn(self, message: str) -> None:
        """One warning of each kind, so that a lasting fault does not flood the log."""
        kind = message.split(":")[0].rstrip("0123456789")
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("%s (said once; the training goes on)", message)

    def writes(self, path: Path) -> None:
        """Before the file is there: its outcome may be heard at once."""
        with self.changed:
            self._written.add(path_text(path.resolve()))
            self.unmeasured.add(path_text(path.resolve()))

    def gives_up(self, path: Path) -> None:
        with self.changed:
            self.unmeasured.discard(path_text(path.resolve()))

    def hear(self, event: dict[str, Any]) -> None:
        with self.changed:
            kind = event["type"]
            if kind == "stop":
                if event.get("time", self._began) >= self._began:
                    self.stop = event
            elif kind in ("attempt", "resumed"):
                self.stop = None
            elif kind == "measured":
                measurement = Measurement.of(event["measurement"])
                self.latest = measurement
                if measurement.path in self._written and event.get("time", "") not in self._logged:
                    self._logged.add(event.get("time", ""))
                    self._unlogged.append(measurement)
                    for finding in measurement.findings:
                        if finding.severity != "note":
                            self.warn(f"{finding.severity}, {finding.code}: {finding.text}; {finding.help}")
                self.unmeasured.discard(measurement.path)
            elif kind in ("failed", "skipped"):
                self.unmeasured.discard(event["path"])
                if kind == "failed" and event["path"] in self._written:
                    self.warn(f"a checkpoint could not be measured: {event['reason']}")
            self.changed.notify_all()

    def take_unlogged(self) -> list[Measurement]:
        with self.changed:
            taken, self._unlogged = self._unlogged, []
        return taken


class Listener:
    """Hears the daemon on a thread of its own, and tells it of errors; the daemon may come, go and come again."""

    def __init__(self, run_dir: Path, address: str | None, state: Heard) -> None:
        self._run_dir, self._address, self._state = run_dir, address, state
        self._closed = threading.Event()
        #: When closing began, and since when no daemon is there.
        self._closing: float | None = None
        self._missed: float | None = time.monotonic()
        self._has_warned = False
        #: The last event that was heard.
        self._since = 0
        self._annotations: queue.Queue[tuple[int, float] | None] = queue.Queue()
        self._teller: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="relstab-listener", daemon=True)
        self._thread.start()

    @property
    def missed_s(self) -> float:
        """For how long no daemon has been there."""
        missed = self._missed
        return 0.0 if missed is None else time.monotonic() - missed

    def finds_daemon(self) -> bool:
        """Whether one answers; where none does, and its measurements are missed, that is said."""
        try:
            self._client().hello()
        except (OSError, ValueError, RuntimeError) as error:
            self._warn(error)
            return False
        return True

    def hear_decision(self) -> None:
        """What the rules make of what is measured, at once: `stop` comes a moment after the measurement that it follows from."""
        try:
            decision = self._client().decision(self._run_dir)
            if decision["stop"]:
                self._state.hear({**decision, "type": "stop"})
        except (OSError, ValueError, KeyError, RuntimeError):
            # Heard of as an event, where a daemon comes back.
            return

    def declare(self, step: int) -> None:
        """Before the first checkpoint is written: a training that begins at an earlier step than others did is another attempt."""
        try:
            self._client().declare(self._run_dir, step=int(step), began=self._state.began)
        except (OSError, ValueError, RuntimeError):
            # Where no daemon is there, or it knows no checkpoint yet; files that are written again tell it too.
            return
        self.hear_decision()

    def annotate(self, step: int, val_error: float) -> None:
        if self._closing is not None:
            self._state.warn("an error that is told after the monitor was closed is lost")
            return
        self._annotations.put((step, val_error))
        if self._teller is None:
            self._teller = threading.Thread(target=self._tell, name="relstab-annotations", daemon=True)
            self._teller.start()

    def close(self, timeout: float) -> None:
        if self._closing is None:
            self._closing = time.monotonic()
            self._annotations.put(None)
        # The last error is often told just before: it goes out first.
        if self._teller is not None:
            self._teller.join(timeout)
        self._closed.set()
        self._thread.join(5.0)

    def _client(self) -> Client:
        return Client(self._address or socket_of(self._run_dir))

    def _tell(self) -> None:
        while (annotation := self._annotations.get()) is not None:
            step, val_error = annotation
            while True:
                try:
                    self._client().annotate(self._run_dir, step=int(step), val_error=float(val_error))
                    break
                except (OSError, RuntimeError) as error:
                    # Closing waits for a daemon that is slow, not for long for one that is not there.
                    begun = self._closing
                    gives_up = begun is not None and time.monotonic() > begun + PATIENCE_S
                    if gives_up or self._closed.wait(RETRY_S):
                        self._state.warn(f"errors that no daemon could be told are lost: {error}")
                        return
                except ValueError as error:
                    self._state.warn(f"the daemon refused an error: {error}")
                    break
                except Exception as error:  # noqa: BLE001 - whatever a training takes for a number
                    self._state.warn(f"an error could not be told: {short(error)}")
                    break

    def _run(self) -> None:
        wait = _FIRST_WAIT_S
        while not self._closed.is_set():
            try:
                client = self._client()
                watch = client.events(
                    [self._run_dir], since=self._since, reconnect=False, closed=self._closed, greeted=self._greet
                )
                for event in watch:
                    self._since, wait = event["seq"], _FIRST_WAIT_S
                    self._state.hear(event)
                return
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                if self._missed is None:
                    # It was there until now, and may come back soon.
                    self._missed, wait = time.monotonic(), _FIRST_WAIT_S
                elif self.missed_s > PATIENCE_S:
                    self._warn(error)
            self._closed.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _greet(self, said: dict[str, Any]) -> None:
        self._missed, self._has_warned = None, False
        self._since = said.get("since", self._since)

    def _warn(self, error: Exception) -> None:
        """Once each time that the daemon is lost."""
        if not self._has_warned:
            self._has_warned = True
            _log.warning("no daemon listens for %s: %s (the training goes on, unmeasured)", self._run_dir, error)


def short(error: Exception) -> str:
    """An error on one line: some frameworks write a page."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
