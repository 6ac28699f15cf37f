"""Event files, read by TensorBoard's own loaders."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

from commands import record_of
from daemons import history
from serving import BUNDLED, CHECKPOINTS, bundled_run, eventually, serving
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.util.tensor_util import make_ndarray

TAGS = {
    "r_f": ("r_f", "value"),
    "r_f_low": ("r_f", "low"),
    "r_f_high": ("r_f", "high"),
    "d_f": ("d_f", "value"),
    "g_f": ("g_f", "value"),
    "predicted_error": ("prediction", "error"),
    "predicted_error_low": ("prediction", "low"),
    "predicted_error_high": ("prediction", "high"),
    "val_error": ("metadata", "val_error"),
    "probe_error": ("probe_error",),
    "invariance": ("scores", "invariance", "deformed", "value"),
}
FAST = ("--draws", "1", "--images", "50")


def loaded(board: Path) -> EventMultiplexer:
    multiplexer = EventMultiplexer(size_guidance={"tensors": 0, "scalars": 0})
    multiplexer.AddRunsFromDirectory(str(board))
    multiplexer.Reload()
    return multiplexer


def told(board: Path, run: str) -> dict[str, list[tuple[int, float, float]]]:
    """Step, value and wall time of each point of a run, by tag."""
    accumulator = loaded(board).GetAccumulator(run)
    points = defaultdict(list)
    for tag in accumulator.Tags()["tensors"]:
        for event in accumulator.Tensors(tag):
            points[tag].append((event.step, float(make_ndarray(event.tensor_proto)), event.wall_time))
    for tag in accumulator.Tags()["scalars"]:
        points[tag] += [(event.step, event.value, event.wall_time) for event in accumulator.Scalars(tag)]
    return points


def single(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def expected(entries: list[dict[str, Any]], tag: str) -> list[tuple[int, float]]:
    points = []
    for entry in entries:
        value: Any = entry["measurement"]
        for key in TAGS[tag]:
            value = value and value[key]
        if value is not None:
            points.append((entry["step"], single(value)))
    return points


def findings_of(entries: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each finding: 1 where it is found, 0 where it was found before and is no more."""
    points = defaultdict[str, list[tuple[int, float]]](list)
    for entry in entries:
        tags = {f"finding/{finding['code']}" for finding in entry["measurement"]["findings"]}
        for tag in tags | points.keys():
            points[tag].append((entry["step"], float(tag in tags)))
    return points


def test_every_scalar_is_read_back_after_kills(tmp_path: Path) -> None:
    folder, board = bundled_run(tmp_path / "today"), tmp_path / "board"
    # One law for all of the run: a refit predicts anew what was told before.
    (folder / "relstab.toml").write_text("refit = false\n" + (BUNDLED / "relstab.toml").read_text())
    with serving(folder, "--tensorboard", str(board), *FAST) as daemon:
        for source in CHECKPOINTS:
            daemon.land(source)
            daemon.kill()
            daemon.start()
        daemon.measured(len(CHECKPOINTS))
        entries = history(folder)
        eventually(lambda: len(told(board, "today")["relstab/r_f"]) == len(CHECKPOINTS))
    points = told(board, "today")
    findings = findings_of(entries)
    assert set(points) == {f"relstab/{tag}" for tag in (*TAGS, *findings)}
    for tag, values in findings.items():
        assert [(step, value) for step, value, _ in sorted(points[f"relstab/{tag}"])] == values, tag
    assert {value for values in findings.values() for _, value in values} == {0.0, 1.0}
    for tag in TAGS:
        found = [(step, value) for step, value, _ in sorted(points[f"relstab/{tag}"])]
        assert found == expected(entries, tag) and found, tag
    # What the networks are shown, once, however often the daemon was killed.
    gallery = loaded(board).GetAccumulator("today").Images("relstab/gallery")
    assert [image.step for image in gallery] == [0] and gallery[0].encoded_image_string.startswith(b"\x89PNG")
    # Points lie where they were measured in time.
    times = [time for _, _, time in points["relstab/r_f"]]
    assert times == sorted(times) and times[-1] - times[0] < 600


HOSTILE = "<img src=x onerror=alert(1)>*[a]\n\u202e..' \\"


def test_runs_of_one_name_and_hostile_names_are_told_apart(tmp_path: Path) -> None:
    root, board = tmp_path / "runs", tmp_path / "board"
    for name in ("a/today", "b/today", HOSTILE):
        bundled_run(root / name)
    with serving(root, "--recursive", "--tensorboard", str(board), *FAST) as daemon:
        for index, name in enumerate(("a/today", "b/today", HOSTILE)):
            (root / name / "step=1.onnx").write_bytes(CHECKPOINTS[index].read_bytes())
        eventually(lambda: daemon.count("measured") == 3, daemon.log.read_text)
        values = {}
        for run in daemon.get("/api/runs")["runs"]:
            measured = daemon.get(f"/api/runs/{run['id']}/measurements")[0]["measurement"]
            values[run["run"]] = single(measured["r_f"]["value"])
        eventually(lambda: sum(len(told(board, run)["relstab/r_f"]) for run in loaded(board).Runs()) == 3)
    found = {run: told(board, run)["relstab/r_f"] for run in loaded(board).Runs()}
    assert sorted(point[1] for points in found.values() for point in points) == sorted(values.values())
    assert all(char.isalnum() or char in "-_.,+=@ " for run in found for char in run), found


def test_once_writes_them_too(tmp_path: Path) -> None:
    folder, board = bundled_run(tmp_path / "today"), tmp_path / "not" / "there"
    (folder / CHECKPOINTS[3].name).write_bytes(CHECKPOINTS[3].read_bytes())
    measured = record_of("watch", "--once", folder, "--backend", "tract", *FAST, "--tensorboard", board)["measurement"]
    [point] = told(board, "today")["relstab/r_f"]
    assert point[:2] == (measured["metadata"]["step"], single(measured["r_f"]["value"]))
