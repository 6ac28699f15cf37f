"""Talking to a daemon: protocol 1, one JSON object a line, over a Unix socket or TCP."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._command import run
from .files import path_text

if TYPE_CHECKING:
    from typing_extensions import Self

Event = dict[str, Any]
_log = logging.getLogger("relstab")

#: Subscribers hear a heartbeat every 15 s; a daemon that is silent for longer is gone.
_SILENCE_S = 45.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 15.0
_SEPARATE_LINES = ("heartbeat", "goodbye")


def socket_of(run_dir: str | os.PathLike[str]) -> str:
    """The socket of the daemon that watches `run_dir`, or the one that it would have."""
    return run(["socket", os.fspath(run_dir)]).strip()


class Client:
    """A daemon's client; `address` is a Unix socket's path, or `host:port` with the token of the daemon's `--tcp-token`.

    Requests raise `OSError` where no daemon answers and `ValueError` with its reason where it refuses.
    """

    def __init__(self, address: str | os.PathLike[str], *, timeout: float = 10.0, token: str | None = None) -> None:
        self.address = os.fspath(address)
        self.timeout = timeout
        self.token = token

    @classmethod
    def of(cls, run_dir: str | os.PathLike[str], *, timeout: float = 10.0) -> Client:
        """The client of the daemon that watches `run_dir`."""
        return cls(socket_of(run_dir), timeout=timeout)

    def hello(self) -> Event:
        """Protocol, version and runs of the daemon."""
        with _Connection(self.address, self.timeout, self.token) as connection:
            return connection.hello

    def status(self) -> Event:
        """What is pending, measured, skipped, failed and being measured, for each run."""
        return self._ask({"type": "status"})

    def decision(self, run_dir: str | os.PathLike[str]) -> Event:
        """Whether the run should stop, why, and its best checkpoint."""
        return self._ask({"type": "decision", "run": _canonical(run_dir)})

    def annotate(self, run_dir: str | os.PathLike[str], *, step: int, val_error: float) -> Event:
        """Tells the known error, a fraction, of the checkpoint of `step`, which may come later."""
        return self._ask({"type": "annotate", "run": _canonical(run_dir), "step": step, "val_error": val_error})

    def declare(self, run_dir: str | os.PathLike[str], *, step: int, began: float) -> Event:
        """Tells that a training begins at `step`, and began at `began`, seconds since 1970: another attempt, where that step or a later
        one was there before."""
        return self._ask({"type": "declare", "run": _canonical(run_dir), "step": step, "began": began})

    def resume(self, run_dir: str | os.PathLike[str]) -> Event:
        """Overrules the stop of a run: it goes on, and its patience begins anew."""
        return self._ask({"type": "resume", "run": _canonical(run_dir)})

    def events(
        self,
        runs: Sequence[str | os.PathLike[str]] = (),
        *,
        since: int | None = None,
        reconnect: bool = True,
        closed: threading.Event | None = None,
        greeted: Callable[[Event], object] = lambda _: None,
    ) -> Iterator[Event]:
        """Events after number `since` (0: all there are; None: from now on), with no gap and no repeat.

        Where the daemon's journal has fewer events than that, it is another one, or an older copy: that is said, and all its events
        are heard from the first.
        A lost connection is made again, at growing intervals, unless `reconnect` is off; a refusal is raised
        as it is, for it would come again. Ends when `closed` is set. `greeted` is called with the hello of each connection, and
        with the answer to its subscription.
        """
        closed = closed or threading.Event()
        wait = _FIRST_WAIT_S
        while not closed.is_set():
            try:
                for line in self._subscribed([_canonical(run_dir) for run_dir in runs], since, closed, greeted):
                    wait = _FIRST_WAIT_S
                    if "seq" in line:
                        since = line["seq"]
                        yield line
                    else:
                        since = line["since"]
                        greeted(line)
            except OSError:
                if not reconnect:
                    raise
            if not reconnect:
                return
            closed.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _subscribed(
        self, runs: list[str], since: int | None, closed: threading.Event, greeted: Callable[[Event], object]
    ) -> Iterator[Event]:
        with _Connection(self.address, self.timeout, self.token) as connection:
            greeted(connection.hello)
            request: Event = {"type": "subscribe"}
            if runs:
                request["runs"] = runs
            if since is not None:
                request["since"] = since
            connection.send(request)
            is_answered = False
            for line in connection.lines(closed):
                if line["type"] == "error":
                    raise ValueError(line["reason"])
                if line["type"] == "subscribed":
                    is_answered = line["since"] >= request.get("since", 0)
                    if is_answered:
                        yield line
                    else:
                        _log.warning(
                            "the journal of %s went back, from event %d to %d: hearing all of it anew",
                            self.address,
                            request["since"],
                            line["since"],
                        )
                        request["since"] = 0
                        connection.send(request)
                elif "seq" in line and is_answered:
                    yield line

    def _ask(self, request: Event) -> Event:
        with _Connection(self.address, self.timeout, self.token) as connection:
            connection.send(request)
            answer = next(line for line in connection.lines() if line["type"] not in _SEPARATE_LINES)
        if answer["type"] == "error":
            raise ValueError(answer["reason"])
        return answer


def _canonical(run_dir: str | os.PathLike[str]) -> str:
    # Addresses of buckets name their runs as they are, but for slashes at the end.
    text = os.fspath(run_dir)
    return text.rstrip("/") if "://" in text else path_text(Path(run_dir).resolve())


class _Connection:
    """One connection, greeted."""

    def __init__(self, address: str, timeout: float, token: str | None) -> None:
        self.timeout = timeout
        self.rest = b""
        is_unix = "/" in address
        host, _, port = address.rpartition(":")
        self.socket = socket.socket(socket.AF_UNIX) if is_unix else socket.create_connection((host, int(port)), timeout)
        try:
            self.socket.settimeout(timeout)
            if is_unix:
                self.socket.connect(address)
            if token is not None:
                self.send({"type": "token", "token": token})
            self.hello = next(self.lines())
            if self.hello["type"] == "error":
                raise ValueError(self.hello["reason"])
            if (protocol := self.hello.get("protocol")) != 1:
                raise ValueError(f"protocol {protocol} where 1 was expected: update the relstab package")
        except BaseException:
            self.socket.close()
            raise

    def send(self, request: Event) -> None:
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def lines(self, closed: threading.Event | None = None) -> Iterator[Event]:
        """Lines as they come; raises `OSError` at the end of the connection or after too long a silence."""
        patience = _SILENCE_S if closed else self.timeout
        heard = time.monotonic()
        # Short waits, so that `closed` is seen soon.
        self.socket.settimeout(0.5 if closed else self.timeout)
        while True:
            line, found, rest = self.rest.partition(b"\n")
            if found:
                self.rest = rest
                yield json.loads(line)
                continue
            if closed and closed.is_set():
                return
            try:
                block = self.socket.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() - heard > patience:
                    raise
                continue
            if not block:
                raise ConnectionResetError("the daemon has gone")
            heard = time.monotonic()
            self.rest += block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
