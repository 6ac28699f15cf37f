"""A training's side of relstab: checkpoints go out, measurements and the word to stop come back.

Nothing here may hurt the training: whatever fails is one warning, and the loop goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Client, socket_of
from .config import Rule, prepare
from .exporter import Exporter
from .files import metadata_props, onnx_bytes, path_of_text, path_text, write_atomically
from .loggers import Sink, sink
from .records import Measurement

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger("relstab")

#: Snapshots that wait to be written; one more, and the oldest of them is given up.
_PENDING = 2
#: A daemon that was never there is missed after about this long, and after twice that for certain.
_PATIENCE_S = 5.0
_RETRY_S = 0.5


class Monitor:
    """Exports checkpoints of one run, hears what the daemon measures, and says whether to stop.

    `probe` (arrays or tensors, or (images, labels), or a file), `mean`, `std`, `law` and `stop` (`{"monitor": "r_f",
    "patience": 5}`, or several such rules) are written into the run's directory as `relstab.toml`, if any is given.
    `every`: exports each so many calls of `checkpoint`. `logger`: where `relstab/r_f` and `relstab/predicted_error` go.
    `active`: whether this process does all that; of a distributed training only one should.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        exporter: Exporter | None = None,
        probe: object = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
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
        self._state = _State()
        self._writer: _Writer | None = None
        self._listener: _Listener | None = None
        if not active:
            return
        prepare(run_dir, probe=probe, mean=mean, std=std, law=law, stop=stop)
        self._writer = _Writer(self._state)
        self._listener = _Listener(self.run_dir, address, self._state)
        atexit.register(self.close)

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
        if self._writer is None or (self._calls - 1) % self.every:
            return None
        number = step if step is not None else self._calls - 1
        path = self.run_dir / f"step={number:06}.onnx"
        known = {"step": number, "epoch": epoch, "val_error": val_error, **metadata}
        try:
            make = self.exporter.snapshot(model) if self.exporter else lambda: onnx_bytes(model)
            self._writer.write(path, make, {name: value for name, value in known.items() if value is not None})
        except Exception as error:  # noqa: BLE001 - whatever a framework's exporter throws
            self._state.warn(f"no export of step {number}: {_short(error)}")
            return None
        return path

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
        """The last measurement that was heard of."""
        return self._state.latest

    def wait(self, timeout: float = 60.0) -> bool:
        """Waits until each exported checkpoint has been measured, or could not be; gives whether that came in time."""
        end = time.monotonic() + timeout
        if self._writer:
            self._writer.flush(timeout)
        with self._state.changed:
            done = self._state.changed.wait_for(lambda: not self._state.unmeasured, max(0.0, end - time.monotonic()))
        self.log()
        return done

    def close(self, timeout: float = 30.0) -> None:
        """Writes what is pending and lets go of the daemon; also done when the program ends."""
        atexit.unregister(self.close)
        end = time.monotonic() + timeout
        if self._writer:
            self._writer.close(timeout)
        if self._listener:
            self._listener.close(max(0.0, end - time.monotonic()))
        self.log()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> None:
        """Hands new results to the logger, on the training's thread: loggers are not made for several."""
        for measurement in self._state.take_unlogged():
            if self._sink is None:
                continue
            values = {"relstab/r_f": measurement.r_f.value} if measurement.r_f else {}
            if measurement.prediction:
                values["relstab/predicted_error"] = measurement.prediction.error
            try:
                self._sink(values, measurement.step or 0)
            except Exception as error:  # noqa: BLE001 - whatever a logger throws
                self._sink = None
                self._state.warn(f"the logger refused a result: {_short(error)}")


class _State:
    """What the training, the writer and the listener share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.latest: Measurement | None = None
        self.stop: dict[str, Any] | None = None
        #: Files written by this program that have no outcome yet.
        self.unmeasured: set[str] = set()
        self._written: set[str] = set()
        self._unlogged: list[Measurement] = []
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
                self.stop = event
            elif kind == "measured":
                measurement = Measurement.of(event["measurement"])
                self.latest = measurement
                if measurement.path in self._written:
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


class _Writer:
    """Writes checkpoints one after another on a thread of its own."""

    def __init__(self, state: _State) -> None:
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
        while self._queue.unfinished_tasks and time.monotonic() < end:
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
                self._state.warn(f"a checkpoint could not be written: {path.name}: {_short(error)}")
                self._state.gives_up(path)
            finally:
                self._queue.task_done()


class _Listener:
    """Hears the daemon on a thread of its own, and tells it of errors; the daemon may come, go and come again."""

    def __init__(self, run_dir: Path, address: str | None, state: _State) -> None:
        self._run_dir, self._address, self._state = run_dir, address, state
        self._closed = threading.Event()
        #: When closing began.
        self._closing: float | None = None
        self._annotations: queue.Queue[tuple[int, float] | None] = queue.Queue()
        self._teller: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="relstab-listener", daemon=True)
        self._thread.start()

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
                    gives_up = begun is not None and time.monotonic() > begun + _PATIENCE_S
                    if gives_up or self._closed.wait(_RETRY_S):
                        self._state.warn(f"errors that no daemon could be told are lost: {error}")
                        return
                except ValueError as error:
                    self._state.warn(f"the daemon refused an error: {error}")
                    break
                except Exception as error:  # noqa: BLE001 - whatever a training takes for a number
                    self._state.warn(f"an error could not be told: {_short(error)}")
                    break

    def _run(self) -> None:
        since, wait = 0, 0.1
        while not self._closed.is_set():
            try:
                for event in self._client().events([self._run_dir], since=since, reconnect=False, closed=self._closed):
                    since, wait = event["seq"], 0.1
                    self._state.hear(event)
                return
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                if since == 0 and wait > _PATIENCE_S:
                    self._state.warn(f"no daemon listens for {self._run_dir}: {error}")
            self._closed.wait(wait)
            wait = min(2 * wait, 15.0)


def _short(error: Exception) -> str:
    """An error on one line: some frameworks write a page."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
