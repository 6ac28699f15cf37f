"""A daemon with HTTP on the bundled run's checkpoints, and a browser to look at it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, sync_playwright

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "models" / "fashion-mnist-cnn"
CHECKPOINTS = sorted(BUNDLED.glob("*.onnx"))
# Screenshots stay here for people to look at.
PICTURES = ROOT / "target" / "pictures"
# Debian's Chromium asks nothing of the network by itself.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

T = TypeVar("T")


class Daemon:
    """`relstab watch --http` on one directory; it can be killed and started again at the same address."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self.flags, self.address = folder, flags, "127.0.0.1:0"
        self.start()

    def start(self) -> None:
        self.log = self.folder.parent / "log"
        flags = ["--http", self.address, "--settle", "100ms", "--give-up", "1s", "--backend", "tract", *self.flags]
        with self.log.open("w") as log:
            environment = os.environ | {"RELSTAB_LOG": "info"}
            command = ["relstab", "watch", str(self.folder), *flags]
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        found = eventually(lambda: re.search(r"http=Some\((.*?)\)", self.log.read_text()), self.log.read_text)
        self.address = found[1]
        self.url = f"http://{self.address}"

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def get(self, path: str) -> Any:
        return json.loads(self.text(path))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def land(self, *sources: Path) -> None:
        """Checkpoints come as writers should write them: whole, by a rename."""
        for source in sources:
            shutil.copy(source, self.folder / f".{source.name}.tmp")
            (self.folder / f".{source.name}.tmp").rename(self.folder / source.name)

    def measured(self, count: int) -> None:
        eventually(lambda: self.count("measured") >= count, self.log.read_text)

    def count(self, state: str) -> int:
        """Checkpoints of all runs in this state; a daemon may answer before it has looked at its directory."""
        return sum(run.get(state, 0) for run in self.get("/api/runs")["runs"])


def eventually(found: Callable[[], T | None], told: Callable[[], object] = str) -> T:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing came: {told()}")


def bundled_run(folder: Path) -> Path:
    """A directory to watch, configured as the bundled run is."""
    folder.mkdir(parents=True)
    for name in ("relstab.toml", "probe.npz"):
        shutil.copy(BUNDLED / name, folder)
    return folder


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Daemon]:
    daemon = Daemon(folder, *flags)
    try:
        yield daemon
    finally:
        daemon.kill()


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield chromium
        chromium.close()


class Page:
    """A page whose console and requests are watched."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page = context.new_page()
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def assert_usable(self, width: int) -> None:
        """By everyone, as far as axe can tell, on a screen of this width."""
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not found, found
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
