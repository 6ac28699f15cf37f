"""A worker (`relstab worker`) behind calls, and a command that passes on what the daemon and it say to each other.

Knows no way to another machine: `relstab.ray` brings one.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from ._command import environment, find

#: At most this much is under way in either direction, bytes.
_BLOCK = 1 << 16
#: A line that is longer is none of a worker's: the daemon takes no more either.
_LONGEST_LINE = 4 << 20
#: The worker's last words may take so long after its end, seconds.
_LAST_WORDS_S = 5.0
#: How the command ends where the worker was lost, or said what no worker says.
_LOST = 1


class LostError(RuntimeError):
    """A worker cannot be reached any more."""


class Worker(Protocol):
    """A worker somewhere; each call may raise [`LostError`]."""

    def tell(self, block: bytes) -> None:
        """Hands over what the daemon says, and returns once it is taken; nothing at all is the end of it."""

    def hear(self) -> bytes:
        """What the worker says next; nothing at its end."""

    def overhear(self) -> bytes:
        """What its libraries print next; nothing at its end."""

    def end(self) -> int:
        """Its exit code, once it has said all; negative for a signal."""


class Process:
    """A worker on this machine."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        command = [find(), "worker", *arguments]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe)

    def tell(self, block: bytes) -> None:
        assert self._process.stdin is not None
        try:
            if block:
                self._process.stdin.write(block)
                self._process.stdin.flush()
            else:
                self._process.stdin.close()
        except OSError as error:
            raise LostError(f"the worker takes no more: {error}") from error

    def hear(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read1(_BLOCK)  # type: ignore[attr-defined, no-any-return]

    def overhear(self) -> bytes:
        assert self._process.stderr is not None
        return self._process.stderr.read1(_BLOCK)  # type: ignore[attr-defined, no-any-return]

    def end(self) -> int:
        return self._process.wait()


def relay(worker: Worker, said: BinaryIO, answers: BinaryIO, log: BinaryIO) -> int:
    """Passes what the daemon says (`said`, unbuffered) on to a worker, and the worker's whole lines back; what its libraries print
    goes to `log`, and what ends all this otherwise than well.

    Gives the exit code of the command that does this. It is not 0 unless the worker ended well after a whole line; the daemon
    takes anything else for a worker that died.
    """
    # It may wait for the daemon's next words for ever: the end of the worker is heard here.
    threading.Thread(target=_pass_on, args=(worker, said), name="relstab-requests", daemon=True).start()
    logging = threading.Thread(target=_retell, args=(worker, log), name="relstab-log", daemon=True)
    logging.start()
    code, complaint = _answered(worker, answers)
    logging.join(_LAST_WORDS_S)
    if complaint:
        with contextlib.suppress(OSError):
            log.write(f"error: {complaint}\n".encode())
            log.flush()
    return code


def _answered(worker: Worker, answers: BinaryIO) -> tuple[int, str | None]:
    """The exit code, and what is to be complained of."""
    rest = b""
    try:
        while block := worker.hear():
            rest += block
            if end := rest.rfind(b"\n") + 1:
                answers.write(rest[:end])
                answers.flush()
                rest = rest[end:]
            if len(rest) > _LONGEST_LINE:
                return _LOST, f"the worker's line was longer than {_LONGEST_LINE} bytes"
        code = worker.end()
    except LostError as error:
        return _LOST, str(error)
    except OSError as error:
        return _LOST, f"the daemon has gone: {error}"
    if rest:
        return code or _LOST, "the worker ended within a line"
    # As a shell has it.
    return (128 - code, f"the worker was killed by signal {-code}") if code < 0 else (code, None)


def _pass_on(worker: Worker, said: BinaryIO) -> None:
    try:
        while block := said.read(_BLOCK):
            worker.tell(block)
        worker.tell(b"")
    except (LostError, OSError):
        # Told where the worker is heard.
        return


def _retell(worker: Worker, log: BinaryIO) -> None:
    with contextlib.suppress(LostError, OSError):
        while block := worker.overhear():
            log.write(block)
            log.flush()
