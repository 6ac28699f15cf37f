"""Starting the daemon beside a training, and ending it with the program."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import time
from typing import TYPE_CHECKING

from ._command import Option, RelstabError, environment, find, flags, is_first_rank
from .client import Client, Event

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger("relstab")

_END_WITHIN_S = 10.0


class Daemon:
    """A daemon that watches a directory; `process` is None where it ran before, or could not be started."""

    def __init__(self, client: Client | None, process: subprocess.Popen[bytes] | None) -> None:
        self.client = client
        self.process = process

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return self.client is not None and _greeting(self.client) is not None

    def stop(self) -> None:
        """Ends the daemon if it was started here; what it has not measured waits in its journal."""
        process, self.process = self.process, None
        atexit.unregister(self.stop)
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(run_dir: str | os.PathLike[str], *, wait: float = 10.0, **options: Option) -> Daemon:
    """Starts `relstab watch` for `run_dir` unless a daemon watches it, and ends it with this program, however that ends.

    Options are the flags of `relstab watch --help`: `start("runs/today", nice=10, duty=0.5)`. A daemon that cannot be
    started, or does not answer within `wait` seconds, is one warning and no error. Of the ranks of a distributed
    training only the first starts one.
    """
    process = None
    if not is_first_rank():
        return Daemon(None, None)
    try:
        os.makedirs(run_dir, exist_ok=True)
        client = Client.of(run_dir)
        if _greeting(client) is not None:
            return Daemon(client, None)
        # A pipe that nobody writes to: it ends with this program, and the daemon with it.
        process = subprocess.Popen(
            [find(), "watch", os.fspath(run_dir), "--until-eof", *flags(options)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        if "socket" in options:
            client = Client(str(options["socket"]))
        elif "journal" in options:
            raise RelstabError("a daemon with a journal of its own needs a socket of its own, too", 2)
    except (OSError, RelstabError) as error:
        _log.warning("no daemon for %s: %s", run_dir, error)
        if process is not None:
            process.kill()
        return Daemon(None, None)
    daemon = Daemon(client, process)
    atexit.register(daemon.stop)
    end = time.monotonic() + wait
    while _greeting(client) is None:
        if process.poll() is not None:
            reason = f"it ended with code {process.returncode}, and said why above"
        elif time.monotonic() > end:
            reason = f"it does not answer after {wait:g} s"
        else:
            time.sleep(0.02)
            continue
        _log.warning("no daemon for %s: %s", run_dir, reason)
        break
    return daemon


def _greeting(client: Client) -> Event | None:
    try:
        return client.hello()
    except (OSError, ValueError):
        return None
