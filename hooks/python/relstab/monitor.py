"""A training's side of relstab: checkpoints go out, measurements and the word to stop come back.

Nothing here may hurt the training: whatever fails is one warning, and the loop goes on.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._command import Numbers
from .config import Rule, prepare
from .exporter import Exporter
from .files import metadata_props, onnx_bytes, path_of_text, write_atomically
from .listener import LONGEST_WAIT_S, PATIENCE_S, RETRY_S, Heard, Listener, short
from .loggers import Sink, sink
from .records import Measurement

if TYPE_CHECKING:
    from typing_extensions import Self

#: Snapshots that wait to be written; one more, and the oldest of them is given up.
_PENDING = 2


class Monitor:
    """Exports checkpoints of one run, hears what the daemon measures, and says whether to stop.

    `probe` (arrays or tensors, or (images, labels), or a file), `mean`, `std`, `law` and `stop` (`{"monitor": "val_error",
    "patience": 5}`, or several such rules) are written into the run's directory as `relstab.toml`, if any is given. A rule
    that names no monitor goes by the best that is known: `val_error`, the error on labelled probe images, the predicted error.
    `every`: exports each so many calls of `checkpoint`. `logger`: where [`Measurement.scalars`] go.
    `active`: whether this process does all that; of a distributed training only one should.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        exporter: Exporter | None = None,
        probe: object = None,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        law: str | None = None,
        stop: Rule | Sequence[Rule] = (),
        every: int = 1,
        logger: object = None,
        address: str | None = None,
        active: bool = True,
    ) -> None:
        if every < 1:
            raise ValueError(f"every: expected 1 or more, found {every}")
        self.run_dir = Path(run_dir)
        self.every = every
        self.exporter = exporter
        self._calls = 0
        self._sink: Sink | None = sink(logger) if logger is not None else None
        self._findings: dict[str, float] = {}
        self._has_declared = False
        self._state = Heard()
        self._writer: _Writer | None = None
        self._listener: Listener | None = None
        if not active:
            return
        prepare(run_dir, probe=probe, mean=mean, std=std, law=law, stop=stop, tells_error=None)
        self._writer = _Writer(self._state)
        self._listener = Listener(self.run_dir, address, self._state)
        atexit.register(self._let_go)

    def checkpoint(
        self,
        model: object,
        *,
        step: int | None = None,
        epoch: float | None = None,
        val_error: float | None = None,
        **metadata: object,
    ) -> Path | None:
        """Hands the network over to be written as ONNX; gives the file it will be, None where it is not exported.

        `val_error` is a fraction, known to the training. More metadata (`train_size=`, `mean=`) goes into the file.
        """
        self._calls += 1
        self.log()
        if (self._calls - 1) % self.every:
            return None
        number = step if step is not None else self._calls - 1
        path = self.run_dir / f"step={number:06}.onnx"
        known = {"step": number, "epoch": epoch, "val_error": val_error, **metadata}
        try:
            model = self._whole(model)
            if self._writer is None:
                return None
            make = self.exporter.snapshot(model) if self.exporter else lambda: onnx_bytes(model)
            if self._listener and not self._has_declared:
                self._has_declared, make = True, _after(partial(self._listener.declare, number), make)
            self._writer.write(path, make, {name: value for name, value in known.items() if value is not None})
        except Exception as error:  # noqa: BLE001 - whatever a framework's exporter throws
            self._state.warn(f"no export of step {number}: {short(error)}")
            return None
        return path

    def _whole(self, model: Any) -> Any:
        """The network, gathered where a framework spreads it over processes: each of them calls this."""
        return model

    def annotate(self, *, step: int, val_error: float) -> None:
        """Tells an error that is known only after the checkpoint was handed over."""
        if self._listener:
            self._listener.annotate(step, val_error)

    def should_stop(self) -> bool:
        """Whether a rule has said so, now or before; answers at once."""
        self.log()
        return self._state.stop is not None

    @property
    def stop_reason(self) -> str | None:
        """Why the run should stop."""
        return self._state.stop["reason"] if self._state.stop else None

    @property
    def best(self) -> Path | None:
        """The best checkpoint, once the run should stop."""
        best = (self._state.stop or {}).get("best")
        return path_of_text(best["path"]) if best else None

    @property
    def latest(self) -> Measurement | None:
        """The last measurement that was heard of; it stays what it was where no daemon measures."""
        return self._state.latest

    @property
    def is_watched(self) -> bool:
        """Whether a daemon is there now, and measures."""
        return self._listener is not None and self._listener.missed_s == 0

    def wait(self, timeout: float = 60.0) -> bool:
        """Waits until each exported checkpoint has been measured, or could not be; gives whether that came in time.

        Where no daemon is there it waits no longer than one would take to start.
        """
        end = time.monotonic() + timeout
        if self._writer:
            self._writer.flush(timeout)
        done = self._hear(end, PATIENCE_S)
        self.log()
        return done

    def finish(self, timeout: float = 30.0) -> None:
        """Before a training ends: writes what is pending, and hears what a daemon, if one is there, makes of it."""
        end = time.monotonic() + timeout
        if self._writer:
            self._writer.flush(timeout)
        if self._listener and (not self._state.unmeasured or self._listener.finds_daemon()):
            self._hear(end, LONGEST_WAIT_S)
        self.log()

    def close(self, timeout: float = 30.0) -> None:
        """Finishes, and lets go of the daemon. At the end of the program that is done without hearing of anything more."""
        end = time.monotonic() + timeout
        self.finish(timeout)
        self._let_go(max(0.0, end - time.monotonic()))

    def _let_go(self, timeout: float = 30.0) -> None:
        atexit.unregister(self._let_go)
        end = time.monotonic() + timeout
        if self._writer:
            self._writer.close(timeout)
        if self._listener:
            self._listener.close(max(0.0, end - time.monotonic()))
        self.log()

    def _hear(self, end: float, patience: float) -> bool:
        """Waits for outcomes, and for a daemon that is not there for so many seconds; gives whether all are known."""
        begun = time.monotonic()
        with self._state.changed:
            while self._state.unmeasured and (now := time.monotonic()) < end:
                if self._listener and min(now - begun, self._listener.missed_s) > patience:
                    break
                self._state.changed.wait(min(RETRY_S, end - now))
            done = not self._state.unmeasured
        if self._listener and self._listener.missed_s == 0 and self._state.stop is None:
            self._listener.hear_decision()
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> None:
        """Hands new results to the logger, on the training's thread: loggers are not made for several."""
        for measurement in self._state.take_unlogged():
            if self._sink is None:
                continue
            # What was found once and is gone is 0 from then on.
            values = {**self._findings, **measurement.scalars}
            self._findings.update({name: 0.0 for name in values if name.startswith("relstab/finding/")})
            try:
                self._sink(values, measurement.step or 0)
            except Exception as error:  # noqa: BLE001 - whatever a logger throws
                self._sink = None
                self._state.warn(f"the logger refused a result: {short(error)}")


def _after(first: Callable[[], None], make: Callable[[], bytes]) -> Callable[[], bytes]:
    """What `make` makes, once `first` was done."""

    def both() -> bytes:
        first()
        return make()

    return both


class _Writer:
    """Writes checkpoints one after another on a thread of its own."""

    def __init__(self, state: Heard) -> None:
        self._state = state
        self._queue: queue.Queue[tuple[Path, Callable[[], bytes], Mapping[str, object]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="relstab-writer", daemon=True)
        self._thread.start()

    def write(self, path: Path, make: Callable[[], bytes], metadata: Mapping[str, object]) -> None:
        while self._queue.qsize() >= _PENDING:
            try:
                given_up = self._queue.get_nowait()
                self._queue.task_done()
            except queue.Empty:
                break
            if given_up is not None:
                self._state.warn(f"checkpoints come faster than they can be written: {given_up[0].name} is left out")
        self._queue.put((path, make, metadata))

    def flush(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while self._queue.unfinished_tasks and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)

    def close(self, timeout: float) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            path, make, metadata = item
            try:
                network = make()
                self._state.writes(path)
                write_atomically(path, network, metadata_props(metadata))
            except Exception as error:  # noqa: BLE001 - whatever an exporter or a file system throws
                self._state.warn(f"a checkpoint could not be written: {path.name}: {short(error)}")
                self._state.gives_up(path)
            finally:
                self._queue.task_done()
