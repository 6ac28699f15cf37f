"""A worker that has `relstab worker` measure one checkpoint, and answers every further one with the same numbers after a sleep.

For benches of what stands around the workers: `relstab watch RUN --worker-command 'python sleeper.py SECONDS'`. Only the first
checkpoint must be a network; the step of any other is in its name.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    rest = float(sys.argv[1])
    worker = subprocess.Popen(["relstab", "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None and worker.stdout is not None
    say(worker.stdout.readline())
    measured: dict[str, Any] | None = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if measured is None or request["type"] != "measure":
            worker.stdin.write(line)
            worker.stdin.flush()
            reply = {"type": "taken"}
            while reply["type"] in ("taken", "loaded"):
                line = worker.stdout.readline()
                reply = json.loads(line)["reply"]
                say(line)
            measured = reply if reply["type"] == "measured" else measured
            continue
        for stage in ("taken", "loaded"):
            tell({"type": stage})
        time.sleep(rest)
        path = request["path"]
        measurement = measured["measurement"]
        measurement["model"] |= {"path": path, "sha256": hashlib.sha256(path.encode()).hexdigest()}
        if step := re.search(r"step=(\d+)", Path(path).name):
            measurement.setdefault("metadata", {})["step"] = int(step[1])
        tell(measured)


def tell(reply: dict[str, Any]) -> None:
    say(json.dumps({"reply": reply, "rest": {"secs": 0, "nanos": 0}}).encode() + b"\n")


def say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
