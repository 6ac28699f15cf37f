"""A daemon that watches a prefix of a store, and what became of the checkpoints there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commands import output
from serving import bundled_run

SETTINGS = ["--images", "60", "--draws", "1", "--backend", "tract"]


@contextmanager
def watching(run: str, folder: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        "relstab",
        "watch",
        run,
        "--journal",
        str(folder / "journal.sqlite"),
        "--list-every",
        "200ms",
        *SETTINGS,
        *flags,
    ]
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(
            command, env=os.environ | {"RELSTAB_LOG": "debug"}, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def ask(run: str, folder: Path, command: str, *more: str) -> str:
    arguments = ["relstab", command, run, "--journal", str(folder / "journal.sqlite"), *more]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def history(run: str, folder: Path) -> list[dict[str, Any]]:
    """What the journal holds of the run; nothing before there is one."""
    try:
        entries: list[dict[str, Any]] = json.loads(ask(run, folder, "history", "--format", "json"))
    except subprocess.CalledProcessError:
        return []
    return entries


def states(run: str, folder: Path) -> dict[str, str]:
    return {Path(entry["path"]).name: entry["state"] for entry in history(run, folder)}


def values(run: str, folder: Path) -> dict[str, float]:
    """R_f of what was measured, by name."""
    measured = (entry for entry in history(run, folder) if entry["state"] == "measured")
    return {Path(entry["path"]).name: entry["measurement"]["r_f"]["value"] for entry in measured}


def local_values(folder: Path, files: dict[str, bytes]) -> dict[str, float]:
    """R_f of these files in a directory, by name."""
    run = bundled_run(folder / "local")
    for name, data in files.items():
        (run / name).write_bytes(data)
    printed = output("relstab", "watch", run, "--once", "--format", "json", *SETTINGS)
    measurements = [json.loads(line)["measurement"] for line in printed.splitlines()]
    return {Path(found["model"]["path"]).name: found["r_f"]["value"] for found in measurements}
