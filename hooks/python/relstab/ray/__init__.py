"""Ray: many networks, or the points of a sweep, measured on a cluster without a daemon.

results = relstab.ray.measure(paths, probe=(images, labels), law="cifar10")

`python -m relstab.ray` starts a worker of a daemon there: `relstab watch --worker-command 'python -m relstab.ray'`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from .._command import Option, RelstabError, flags, run
from ..files import onnx_bytes
from ..images import pair, saved
from ..records import Json, Measurement

try:
    import ray
except ImportError as error:
    raise ImportError("expected Ray, found none in this Python: pip install 'relstab[ray]'") from error

_log = logging.getLogger("relstab")

#: Tasks that Ray has at once, so that many networks are not all in its store.
_UNDER_WAY = 1000
#: Exit codes of the command for what is no network, and for what could not be read or written.
_NO_MODEL, _LOST = 4, 10
#: Ray counts shares of a GPU in steps of this.
_SHARE = 1e-4

#: Called after each task with how many are done, and of how many.
Progress = Callable[[int, int], object]


def told(done: int, total: int) -> None:
    """Progress in the log, for each tenth of the whole."""
    if done * 10 // total != (done - 1) * 10 // total:
        _log.info("%d of %d measured", done, total)


def share_of_gpu(workers: int) -> float:
    """So much of a GPU that `workers` of them share one, none of it for 0; in whole steps of Ray's, so that the last one fits."""
    return math.floor(1 / workers / _SHARE) * _SHARE if workers > 1 else float(workers)


def measure(
    models: Iterable[object],
    /,
    probe: object = None,
    *,
    shards: int = 1,
    cpus: float = 1,
    workers_per_gpu: int = 0,
    attempts: int = 3,
    progress: Progress = told,
    **options: Option,
) -> list[Measurement | RelstabError]:
    """As `relstab.measure` for each of the models, on whatever node has room; in the order given.

    A model that cannot be measured has its error in its place. `probe`: arrays or tensors, (images, labels), or a file. Files, of
    models too, are opened where a model is measured, at the same path; all else is carried there. `shards`: so many tasks measure
    a share of a large probe set each, for each model. `workers_per_gpu`: so many measure side by side on one GPU. `attempts`: a
    model fails when its node died so often.
    """
    images, shown = _images(probe)
    tasks = []
    for model in models:
        # One export for all shards: two of them may differ.
        network = cache(partial(_model, model, images)) if shards > 1 else partial(_model, model, images)
        parts = [[f"--shard={shard + 1}/{shards}"] for shard in range(shards)] if shards > 1 else [[]]
        # 8: undefined, which the record tells.
        tasks += [_Task("measure", network, shown, [*flags(options), *part], (0, 8), bool(part)) for part in parts]
    results = _done(tasks, cpus, workers_per_gpu, attempts, progress)
    if shards > 1:
        results = [_merged(results[first : first + shards]) for first in range(0, len(results), shards)]
    return [result if isinstance(result, RelstabError) else Measurement.of(result) for result in results]


def sweep(
    model: object,
    /,
    probe: object = None,
    *,
    cutoffs: Sequence[int] = (3, 5, 15),
    deltas: Sequence[float] = (0.5, 1, 2),
    temperatures: int | None = None,
    cpus: float = 1,
    workers_per_gpu: int = 0,
    attempts: int = 3,
    progress: Progress = told,
    **options: Option,
) -> Json:
    """What `relstab sweep --format json` prints, each point (with `temperatures`: each cutoff) measured on its own.

    `relstab report` takes it as JSON. A point that cannot be measured has its `error`; where none can, `RelstabError` is raised.
    The other arguments are those of [`measure`]; `precision` is refused, for the first point would settle it for all.
    """
    if options.get("precision") is not None:
        raise ValueError("precision: each point would settle its own; expected images= and draws=")
    images, shown = _images(probe)
    sizes: list[dict[str, Option]] = [{"deltas": delta} for delta in deltas]
    if temperatures is not None:
        sizes = [{"temperatures": temperatures}]
    grid = [{"cutoffs": cutoff, **size} for cutoff in cutoffs for size in sizes]
    network = _model(model, images)
    tasks = [_Task("sweep", lambda: network, shown, flags({**point, **options}), (0, 8, 11)) for point in grid]
    results = _done(tasks, cpus, workers_per_gpu, attempts, progress)
    whole: Json = next((result for result in results if not isinstance(result, RelstabError)), {})
    if not whole and isinstance(results[0], RelstabError):
        raise results[0]
    points, notes = [], dict[str, None]()
    for place, result in zip(grid, results, strict=True):
        if isinstance(result, RelstabError):
            points.append({"cutoff": place["cutoffs"], "delta": place.get("deltas"), "error": str(result)})
        else:
            points += result["points"]
            notes |= dict.fromkeys(result["notes"])
    return {**whole, "points": points, "notes": list(notes)}


@dataclass(frozen=True)
class _File:
    """A file by its path, or by its content (a reference to Ray's store, or bytes) where other nodes have none."""

    path: str
    content: Any = None

    def on_this_node(self, folder: Path) -> str:
        """Its path here, in `folder` where it was carried."""
        if self.content is None:
            return self.path
        file = folder / self.path
        file.write_bytes(ray.get(self.content) if isinstance(self.content, ray.ObjectRef) else self.content)
        return str(file)


@dataclass(frozen=True)
class _Task:
    """A command on a network; what it prints counts at the exit codes in `accept`."""

    command: str
    #: Made when Ray is given the task.
    model: Callable[[], _File]
    shown: _File | None
    arguments: list[str]
    accept: tuple[int, ...]
    #: Its result is the part of a measurement, bytes.
    is_part: bool = False


def _model(model: object, images: object) -> _File:
    if isinstance(model, (str, os.PathLike)):
        return _File(os.path.abspath(model))
    return _File("model.onnx", onnx_bytes(model, images))


def _images(probe: object) -> tuple[object, _File | None]:
    """The images themselves, and their file: its content is in Ray's store once for all tasks."""
    if probe is None:
        return None, None
    if isinstance(probe, (str, os.PathLike)):
        return probe, _File(os.path.abspath(probe))
    images, labels = pair(probe)
    _connect()
    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        file = saved(images, labels, Path(folder))
        return images, _File(file.name, ray.put(file.read_bytes()))


def _connect() -> None:
    """To the cluster that is there, by `RAY_ADDRESS` or as Ray finds it; else to one of this machine's own."""
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)


def _told(
    command: str, model: _File, shown: _File | None, arguments: list[str], accept: tuple[int, ...], is_part: bool
) -> Any:
    """On a node: what the command prints, or the part that it writes. An error is given back: raised it would come as one of
    Ray's."""
    with tempfile.TemporaryDirectory(prefix="relstab-") as name:
        folder = Path(name)
        images = [] if shown is None else [f"--probe={shown.on_this_node(folder)}"]
        to = [f"--part={folder / 'part'}"] if is_part else ["--format=json"]
        try:
            printed = run([command, model.on_this_node(folder), *images, *to, *arguments], accept=accept)
        except RelstabError as error:
            return error
        return (folder / "part").read_bytes() if is_part else json.loads(printed)


def _merged(parts: Sequence[Any]) -> Any:
    """The record of all parts of a model, or the first error."""
    for part in parts:
        if isinstance(part, RelstabError):
            return part
    with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
        files = [Path(folder) / f"part{number}" for number in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            file.write_bytes(part)
        try:
            return json.loads(run(["merge", *map(str, files), "--format=json"], accept=(0, 8)))
        except RelstabError as error:
            return error


def _done(tasks: Sequence[_Task], cpus: float, workers_per_gpu: int, attempts: int, progress: Progress) -> list[Any]:
    """The results of all tasks, in their order. Whoever loses a worker is asked again here: a counter of Ray's beside it would
    run a task that needs too much memory for ever."""
    _connect()
    ask = ray.remote(num_cpus=cpus, num_gpus=share_of_gpu(workers_per_gpu), max_retries=0)(_told)
    results: dict[int, Any] = {}
    losses = [0] * len(tasks)
    waiting, under_way = list(reversed(range(len(tasks)))), dict[Any, int]()
    while waiting or under_way:
        while waiting and len(under_way) < _UNDER_WAY:
            place = waiting.pop()
            task = tasks[place]
            try:
                model = task.model()
            except Exception as error:  # noqa: BLE001 - whatever a framework's exporter throws
                results[place] = RelstabError(f"{type(error).__name__}: {error}", _NO_MODEL)
                progress(len(results), len(tasks))
                continue
            asked = ask.remote(task.command, model, task.shown, task.arguments, task.accept, task.is_part)
            under_way[asked] = place
        if not under_way:
            continue
        ready, _ = ray.wait(list(under_way))
        place = under_way.pop(ready[0])
        try:
            results[place] = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            losses[place] += 1
            if losses[place] < attempts:
                waiting.append(place)
                continue
            reason = str(error).strip().splitlines()[0]
            results[place] = RelstabError(f"its worker was lost {losses[place]} times, at last: {reason}", _LOST)
        progress(len(results), len(tasks))
    return [results[place] for place in range(len(tasks))]
