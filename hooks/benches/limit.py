"""How many checkpoints one daemon takes, with workers that only sleep: `python hooks/benches/limit.py`, three minutes.

All checkpoints are there when the daemon starts. Two thirds of them are measured between the marks of a sixth and five sixths; those
count. The daemon's own processor time is told apart from that of all.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUNDLED = Path(__file__).parents[2] / "models" / "fashion-mnist-cnn"
SLEEPER = Path(__file__).with_name("sleeper.py")
CHECKPOINTS = 3_000
FLAGS = ["--recursive", "--settle", "0ms", "--backend", "tract", "--images", "2", "--draws", "1", "--format", "json"]
# Runs, workers, and how long a worker sleeps over a checkpoint, seconds.
CASES = ((1, 1, 0.0), (1, 4, 0.0), (100, 4, 0.0), (1, 8, 0.1), (1, 32, 0.1))


def cpu_s(process: int) -> float:
    """What a process computed so far, without its workers."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepared(folder: Path, runs: int) -> None:
    for number in range(runs):
        run = folder / f"run{number}"
        run.mkdir(parents=True)
        for name in ("relstab.toml", "probe.npz"):
            shutil.copy(BUNDLED / name, run)
        for step in range(1, CHECKPOINTS // runs + 1):
            (run / f"step={step:06}.onnx").write_bytes(b"a checkpoint")
        # Each worker measures the first one that it gets, by which the others are answered.
        for step in range(1, 41 if runs == 1 else 2):
            shutil.copy(BUNDLED / "step=000316.onnx", run / f"step={step:06}.onnx")


def measured(events: Path) -> int:
    return events.read_bytes().count(b'"type":"measured"')


def limit(place: Path, runs: int, workers: int, sleep: float) -> str:
    folder, events = place / "runs", place / "events"
    prepared(folder, runs)
    worker = f"{shlex.quote(sys.executable)} {shlex.quote(str(SLEEPER))} {sleep}"
    command = ["relstab", "watch", str(folder), *FLAGS, "--workers", str(workers), "--worker-command", worker]
    command += ["--journal", str(place / "journal.sqlite"), "--socket", str(place / "socket")]
    with events.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    marks = []
    for mark in (CHECKPOINTS // 6, 5 * CHECKPOINTS // 6):
        while (count := measured(events)) < mark:
            time.sleep(0.1)
        marks.append((count, time.monotonic(), cpu_s(process.pid)))
    process.terminate()
    process.wait()
    (first, began, before), (last, ended, after) = marks
    rate, own = (last - first) / (ended - began), (after - before) / (last - first)
    return f"{runs} | {workers} | {1000 * sleep:.0f} ms | {60 * rate:,.0f} | {1000 * own:.1f} ms"


def main() -> None:
    print("| runs | workers | each sleeps | checkpoints a minute | of the daemon's processor time, each |")
    print("|---|---|---|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {limit(Path(folder), *case)} |", flush=True)


if __name__ == "__main__":
    main()
