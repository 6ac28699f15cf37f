"""Starting the daemon beside a training, and ending it with the program."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._command import Option, RelstabError, environment, find, flags, is_first_rank
from .client import Client, Event
from .config import rehearse

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger("relstab")

_END_WITHIN_S = 10.0
_FIRST_RESTART_S, _LONGEST_RESTART_S = 0.1, 60.0
_LOOK_S = 1.0
_spawned_here: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


class Daemon:
    """A daemon that watches a directory; `process` is None where it ran before, or could not be started."""

    def __init__(self, client: Client | None, command: Sequence[str] = ()) -> None:
        self.client = client
        self.process = _spawned(command) if command else None
        self._command, self._owner = command, os.getpid()
        self._ends, self._lock = threading.Event(), threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return self.client is not None and _greeting(self.client) is not None

    def stop(self) -> None:
        """Ends the daemon if this process started it; what it has not measured waits in its journal."""
        # A forked child ends as its parent goes on, and the keeper may have held these locks as it was forked.
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._ends.set()
            process, self.process = self.process, None
        atexit.unregister(self.stop)
        if process is None or process.stdin is None:
            return
        # A process that was forked meanwhile may hold the other end of the pipe.
        process.terminate()
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def keep(self) -> None:
        """Starts it again whenever it ends, on a thread of its own, until it is stopped."""
        threading.Thread(target=self._keep, name="relstab-keeper", daemon=True).start()

    def _keep(self) -> None:
        wait, process = _FIRST_RESTART_S, self.process
        while process is not None:
            begun = time.monotonic()
            code = process.wait()
            if time.monotonic() > begun + _LONGEST_RESTART_S:
                wait = _FIRST_RESTART_S
            if self._ends.wait(wait):
                return
            wait = min(2 * wait, _LONGEST_RESTART_S)
            # Another's serves as well, and would have this one refused.
            while self.is_running:
                if self._ends.wait(_LOOK_S):
                    return
            with self._lock, contextlib.suppress(OSError):
                if self._ends.is_set():
                    return
                _log.warning("the daemon of %s ended with code %s: it is started again", self._command[2], code)
                self.process = process = _spawned(self._command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(run_dir: str | os.PathLike[str], *, wait: float = 10.0, restart: bool = False, **options: Option) -> Daemon:
    """Starts `relstab watch` for `run_dir` unless a daemon watches it, and ends it with this program, however that ends.

    Options are the flags of `relstab watch --help`: `start("runs/today", nice=10, duty=0.5)`; those that it refuses raise
    `ValueError`. A daemon that cannot be started, or does not answer within `wait` seconds, is one warning and no error.
    `restart`: one that ends before this program does, as when it is killed, is started again. Of the ranks of a
    distributed training only the first starts one.
    """
    if not is_first_rank():
        return Daemon(None)
    try:
        os.makedirs(run_dir, exist_ok=True)
        client = Client.of(run_dir)
        if _greeting(client) is not None:
            return Daemon(client)
        arguments = flags(options)
        rehearse(run_dir, arguments)
        if "socket" in options:
            client = Client(str(options["socket"]))
        elif "journal" in options:
            raise RelstabError("a daemon with a journal of its own needs a socket of its own, too", 2)
        daemon = Daemon(client, [find(), "watch", os.fspath(run_dir), "--until-eof", *arguments])
    except (OSError, RelstabError) as error:
        _log.warning("no daemon for %s: %s", run_dir, error)
        return Daemon(None)
    atexit.register(daemon.stop)
    end = time.monotonic() + wait
    while _greeting(client) is None:
        if daemon.process is None or (code := daemon.process.poll()) is not None:
            reason = f"it ended with code {code}, and said why above"
        elif time.monotonic() > end:
            reason = f"it does not answer after {wait:g} s"
        else:
            time.sleep(0.02)
            continue
        _log.warning("no daemon for %s: %s", run_dir, reason)
        return daemon
    if restart:
        daemon.keep()
    return daemon


def _spawned(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # A pipe that nobody writes to: it ends with this program, and the daemon with it. An interrupt in the terminal is not the daemon's:
    # the training may go on.
    process = subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    _spawned_here.add(process)
    return process


def _close_pipes() -> None:
    # What a fork copied would keep a daemon alive after the program.
    for process in list(_spawned_here):
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


os.register_at_fork(after_in_child=_close_pipes)


def _greeting(client: Client) -> Event | None:
    try:
        return client.hello()
    except (OSError, ValueError):
        return None
