"""What watching a bucket costs while nothing happens, and how long a new object takes to reach a worker, on moto's S3 server.

`python hooks/benches/store.py`, with the installed `relstab` first on the search path. Takes two minutes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limit import cpu_s

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "hooks" / "tests"))

from buckets import BUCKET, Bucket, Proxy

BUNDLED = ROOT / "models" / "fashion-mnist-cnn"
KEYS = 10_000
IDLE_S = 60
PUTS = 15
FLAGS = ["--images", "20", "--draws", "1", "--backend", "tract"]


@contextmanager
def watched(folder: Path, proxy: Proxy, every: str) -> Iterator[int]:
    """The process of a daemon that watches the bucket."""
    command = ["relstab", "watch", f"s3://{BUCKET}/run", "--journal", str(folder / "journal.sqlite")]
    environment = os.environ | proxy.environment() | {"XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    daemon = subprocess.Popen([*command, "--list-every", every, *FLAGS], env=environment, stdout=subprocess.DEVNULL)
    try:
        yield daemon.pid
    finally:
        daemon.kill()


def idle(bucket: Bucket, proxy: Proxy, folder: Path) -> None:
    """Requests an hour and CPU of the daemon over a prefix of which nothing changes."""
    for number in range(KEYS):
        bucket.put(f"run/notes/{number}.txt", b"x")
    with watched(folder, proxy, "10s") as daemon:
        time.sleep(15)
        count, began, computed = len(proxy.requests), time.time(), cpu_s(daemon)
        time.sleep(IDLE_S)
        passed = time.time() - began
        requests, computed = len(proxy.requests) - count, cpu_s(daemon) - computed
    print(
        f"{KEYS} keys, idle: {requests / passed * 3600:.0f} requests an hour, {100 * computed / passed:.2f}% of one CPU"
    )


def gets(proxy: Proxy, key: str) -> list[tuple[float, float]]:
    """When an object was asked for, and given."""
    return [(came, gone) for came, gone, method, path in proxy.requests if method == "GET" and path.endswith(key)]


def latency(bucket: Bucket, proxy: Proxy, folder: Path) -> None:
    """From the list that first has an object to the worker having all of it."""
    network = (BUNDLED / "step=006000.onnx").read_bytes()
    took = []
    with watched(folder, proxy, "500ms"):
        for step in range(PUTS):
            key = f"run/step_{step}.onnx"
            bucket.put(key, network)
            while not (fetched := gets(proxy, key)):
                time.sleep(0.05)
            began, ended = fetched[0]
            listed = max(came for came, _, _, path in proxy.requests if "list-type" in path and came < began)
            took.append(1000 * (ended - listed))
            time.sleep(1)
    # The first one waits for its worker to start.
    print(
        f"from the list to the worker: median {statistics.median(took[1:]):.0f} ms of {PUTS - 1}, most {max(took[1:]):.0f} ms"
    )


def main() -> None:
    for measure in (latency, idle):
        bucket = Bucket()
        for name in ("relstab.toml", "probe.npz"):
            bucket.put(f"run/{name}", (BUNDLED / name).read_bytes())
        proxy = Proxy(bucket)
        with tempfile.TemporaryDirectory() as folder:
            measure(bucket, proxy, Path(folder))
        proxy.stop()
        bucket.stop()


if __name__ == "__main__":
    main()
