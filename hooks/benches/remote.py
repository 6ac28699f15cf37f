"""What a worker behind a relay costs over a local one for each checkpoint: `python hooks/benches/remote.py`, a minute or two.

The relay is a pipe of this machine (`cat | relstab worker | cat`), so this is the price of the way to the worker, without a network's
delay. Local and relayed workers take turns (A B B A), each over checkpoints of its own daemon, with the installed `relstab` first on
the search path.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUNDLED = Path(__file__).parents[2] / "models" / "fashion-mnist-cnn"
NETWORK = BUNDLED / "step=006000.onnx"
RELAY = "cat | relstab worker | cat"
# Of each kind: half of them in each of its two turns.
CHECKPOINTS = 80
FLAGS = ["--images", "20", "--draws", "1", "--backend", "tract", "--settle", "0ms", "--format", "json"]
TURNS = ("local", "relayed", "relayed", "local")


def metadata(note: str) -> bytes:
    """Metadata to append to an ONNX file, so that contents differ: protobuf messages merge when concatenated."""
    entry = b"\x0a\x04note\x12" + bytes([len(note)]) + note.encode()
    # ModelProto.metadata_props
    return b"\x72" + bytes([len(entry)]) + entry


@contextmanager
def watching(place: Path, more: list[str]) -> Iterator[Path]:
    """The events of a daemon on a run below `place`."""
    run, events = place / "run", place / "events"
    run.mkdir()
    for name in ("relstab.toml", "probe.npz"):
        shutil.copy(BUNDLED / name, run)
    command = ["relstab", "watch", str(run), *FLAGS, *more]
    command += ["--journal", str(place / "journal.sqlite"), "--socket", str(place / "socket")]
    environment = os.environ | {"XDG_STATE_HOME": str(place), "XDG_RUNTIME_DIR": str(place)}
    with events.open("w") as output:
        daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL)
    try:
        yield events
    finally:
        daemon.terminate()
        daemon.wait()


def measured(events: Path) -> list[float]:
    """What each record's own measurement took, ms."""
    lines = [json.loads(line) for line in events.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [1000 * line["measurement"]["timing"]["total_s"] for line in lines if line["type"] == "measured"]


def turn(place: Path, more: list[str]) -> list[tuple[float, float]]:
    """From the rename of each checkpoint to its event, and the measurement's share of it, ms."""
    took: list[tuple[float, float]] = []
    with watching(place, more) as events:
        # The first one waits for the daemon and its worker to start.
        for step in range(CHECKPOINTS // 2 + 1):
            temporary = place / "temporary"
            temporary.write_bytes(NETWORK.read_bytes() + metadata(f"{place.name} {step}"))
            began, size = time.perf_counter(), events.stat().st_size
            temporary.rename(place / "run" / f"step_{step}.onnx")
            end = began + 60
            while events.stat().st_size == size or len(measured(events)) <= step:
                assert time.perf_counter() < end, f"nothing came: {events.read_text()[-2000:]}"
                time.sleep(0.0005)
            took.append((1000 * (time.perf_counter() - began), measured(events)[step]))
    return took[1:]


def main() -> None:
    times: dict[str, list[tuple[float, float]]] = {"local": [], "relayed": []}
    for number, kind in enumerate(TURNS):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"turn{number}"
            place.mkdir()
            times[kind] += turn(place, ["--worker-command", RELAY] if kind == "relayed" else [])
    around = {}
    for kind, all_of_it in times.items():
        whole = statistics.median(whole for whole, _ in all_of_it)
        around[kind] = statistics.median(whole - own for whole, own in all_of_it), whole
        low, _, high = statistics.quantiles([whole for whole, _ in all_of_it], n=4)
        print(
            f"{kind}: {len(all_of_it)} checkpoints, median {whole:.1f} ms (quartiles {low:.1f} to {high:.1f}), "
            f"around the measurement {around[kind][0]:.1f} ms"
        )
    apart = [relayed - local for relayed, local in zip(around["relayed"], around["local"], strict=True)]
    print(f"relayed over local: {apart[1]:+.2f} ms a checkpoint, around the measurement {apart[0]:+.2f} ms")


if __name__ == "__main__":
    main()
