"""How fast the live page is in Chromium: 100 runs of 10,000 checkpoints, then events at 100 a second.

It measures what a browser loads first, the time until that is drawn, a zoom with all runs in the charts, and the time from an
event to its point. `python hooks/benches/page.py`, or `--full` (a minute of events, some minutes in all).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Browser, Page, sync_playwright

BUNDLED = Path(__file__).parents[2] / "models" / "fashion-mnist-cnn"
SLEEPER = Path(__file__).with_name("sleeper.py")
RUNS, CHECKPOINTS = 100, 10_000
RATE = 100
TRIES = 5

# Reading a pixel of each chart waits until it is drawn.
PIXELS = """
for (const canvas of document.querySelectorAll("#charts canvas")) canvas.getContext("2d").getImageData(0, 0, 1, 1);
"""
# Tells when the charts are on the screen: two frames after they were brought up to the series.
DRAWN = f"""
new Promise((done) => {{
  const look = () => {{
    const charts = document.getElementById("charts");
    if (!(Number(charts?.dataset.points) >= LEAST)) return requestAnimationFrame(look);
    requestAnimationFrame(() => requestAnimationFrame(() => {{ {PIXELS} done(performance.now()); }}));
  }};
  look();
}})
"""
# A zoom by keyboard, until it is drawn in the frame after it.
ZOOM = f"""
(key) => new Promise((done) => {{
  const plot = document.querySelector("#charts .plot");
  const began = performance.now();
  plot.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
  requestAnimationFrame(() => setTimeout(() => {{ {PIXELS} done(performance.now() - began); }}));
}})
"""
# Notes each measured event, and the frame in which the charts reach its step.
WATCH = """
window.seen = [];
const waiting = [];
window.EventSource = class extends EventSource {
  constructor(...all) {
    super(...all);
    this.addEventListener("message", ({ data }) => {
      const event = JSON.parse(data);
      if (event.type !== "measured") return;
      waiting.push({ step: event.measurement.metadata.step, sent: Date.parse(event.time), heard: Date.now() });
    });
  }
};
addEventListener("DOMContentLoaded", () => {
  const charts = document.getElementById("charts");
  new MutationObserver(() => {
    // The charts end 2% beyond the last step, and begin 2% before step 1.
    const [low, high] = charts.dataset.view.split(" ").map(Number);
    const last = high - ((high - low) * 0.02) / 1.04;
    setTimeout(() => requestAnimationFrame(() => {
      while (waiting.length && waiting[0].step <= last + 0.5) window.seen.push({ ...waiting.shift(), drawn: Date.now() });
    }));
  }).observe(charts, { attributes: true });
});
"""


@contextmanager
def daemon(run: Path, state: Path, *flags: str) -> Iterator[str]:
    """A daemon on a directory; gives the address of its page."""
    log = state / "log"
    command = ["relstab", "watch", str(run), "--http", "127.0.0.1:0", "--settle", "0ms", "--backend", "tract"]
    command += ["--journal", str(state / "journal.sqlite"), "--socket", str(state / "socket"), *flags]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=os.environ | {"RELSTAB_LOG": "info"}, stdout=subprocess.DEVNULL, stderr=file
        )
    try:
        while not (found := re.search(r"http=Some\((.*?)\)", log.read_text())):
            time.sleep(0.02)
        yield f"http://{found[1]}"
    finally:
        process.terminate()
        process.wait()


def configured(run: Path) -> Path:
    run.mkdir(parents=True)
    for name in ("relstab.toml", "probe.npz"):
        shutil.copy(BUNDLED / name, run)
    return run


def multiply(journal: Path) -> None:
    """The journal's one checkpoint as many of many runs: trainings of each its height, and noise whose digits do not compress."""
    noise = "(abs(random()) / 9.3e18)"
    values = ["r_f", "d_f", "g_f", "predicted_error", "val_error", "probe_error", "invariance"]
    ends = {"r_f": "r_f", "invariance": "invariance", "predicted": "predicted_error"}
    height = f"(0.1 + 0.6 / (1 + step / 500.0)) * (0.5 + :run / {RUNS}.0)"
    drawn = ", ".join(f"{name} = {height} * (0.95 + 0.1 * {noise})" for name in values)
    around = ", ".join(f"{name}_low = {value} * 0.9, {name}_high = {value} * 1.1" for name, value in ends.items())
    database = sqlite3.connect(journal)
    database.executescript(
        f"""
        PRAGMA synchronous = off;
        PRAGMA cache_size = -1000000;
        BEGIN;
        CREATE TEMP TABLE one AS SELECT * FROM checkpoints;
        DELETE FROM checkpoints;
        WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < {RUNS})
        INSERT INTO runs (path) SELECT '/gone/run' || n FROM n;
        CREATE TEMP TABLE many AS
            WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {CHECKPOINTS})
            SELECT one.*, n FROM n, one;
        UPDATE many SET step = n, epoch = n / 100.0, current = n, stride = n & -n, content = n, id = NULL;
        ALTER TABLE many DROP COLUMN n;
        """
    )
    for run in range(1, RUNS + 1):
        database.execute(f"UPDATE many SET run = :run, {drawn}", {"run": run})
        database.execute(f"UPDATE many SET {around}")
        database.execute("INSERT INTO checkpoints SELECT * FROM many")
    database.commit()
    database.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield browser
        browser.close()


def row(what: str, figure: str, bound: str) -> None:
    print(f"| {what} | {figure} | {bound} |", flush=True)


def spread(times: list[float]) -> str:
    return f"median {median(times):.0f} ms, slowest {max(times):.0f} ms"


def opened(browser: Browser, url: str) -> tuple[Page, int, float, float]:
    """The page in a browser that knows nothing of it: with the bytes that travelled, milliseconds until it was drawn, and those of them
    that its main thread computed."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    travelled = [0.0]
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Performance.enable", {"timeDomain": "threadTicks"})
    network.on("Network.dataReceived", lambda event: travelled.append(event["encodedDataLength"]))
    page.goto(url)
    drawn = float(page.evaluate(DRAWN.replace("LEAST", "2000")))
    metrics = {metric["name"]: metric["value"] for metric in network.send("Performance.getMetrics")["metrics"]}
    return page, round(sum(travelled)), drawn, 1000 * metrics["TaskDuration"]


def large(browser: Browser, place: Path) -> None:
    """The page of many long runs."""
    run = configured(place / "first")
    shutil.copy(BUNDLED / "step=000316.onnx", run)
    state = place / "state"
    state.mkdir()
    with daemon(run, state, "--images", "20", "--draws", "1") as url:
        while 'state="measured"} 1' not in fetched(f"{url}/metrics"):
            time.sleep(0.1)
    multiply(state / "journal.sqlite")
    # Its file is gone: nothing is left to measure.
    (run / "step=000316.onnx").unlink()
    with daemon(run, state) as url:
        addresses = ["/api/overview", *(f"/api/runs/{run}/series?points=500" for run in range(1, 9))]
        waits = []
        for _ in range(TRIES):
            began = time.perf_counter()
            for address in addresses:
                fetched(url + address)
            waits.append(1000 * (time.perf_counter() - began))
        what = f"page of {RUNS} runs x {CHECKPOINTS} checkpoints"
        row(f"{what}: its data alone, one request after the other", spread(waits), "")
        times, sizes, computed = [], [], []
        for _ in range(TRIES):
            page, size, drawn, own = opened(browser, url)
            sizes.append(size)
            times.append(drawn)
            computed.append(own)
            if len(times) < TRIES:
                page.context.close()
        row(f"{what}: all that the browser loads first, compressed", f"{max(sizes) / 1000:.0f} kB", "500 kB")
        row(f"{what}: drawn after", spread(times), "1,500 ms")
        row(f"{what}: computed by the page's main thread until then", spread(computed), "")
        page.get_by_role("button", name="Chart all").click()
        page.evaluate(DRAWN.replace("LEAST", "9000"))
        shown = int(page.evaluate("Number(document.getElementById('charts').dataset.points)"))
        page.locator("#charts .plot").first.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)
        zooms = [float(page.evaluate(ZOOM, key)) for key in ["+", "+", "+", "0"] * TRIES]
        row(
            f"a zoom with {shown} checkpoints of all runs, {3 * shown} points in the first chart",
            spread(zooms),
            "100 ms",
        )


def fetched(url: str) -> str:
    from urllib.request import urlopen

    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def stream(browser: Browser, place: Path, seconds: int) -> None:
    """Checkpoints that come at an even pace, and when each is seen."""
    run = configured(place / "stream")
    state = place / "stream-state"
    state.mkdir()
    # Workers would need both cores to measure as many: these measure the first one only.
    workers = f"{shlex.quote(sys.executable)} {shlex.quote(str(SLEEPER))} 0"
    with daemon(run, state, "--images", "2", "--draws", "1", "--worker-command", workers) as url:
        shutil.copy(BUNDLED / "step=000316.onnx", run / "step=000000.onnx")
        while 'state="measured"} 1' not in fetched(f"{url}/metrics"):
            time.sleep(0.1)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.add_init_script(WATCH)
        page.goto(url)
        page.locator("#charts .plot").first.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)
        began = time.monotonic()
        count = RATE * seconds
        for step in range(1, count + 1):
            temporary = run / ".temporary"
            temporary.write_bytes(b"a checkpoint")
            temporary.rename(run / f"step={step:06}.onnx")
            time.sleep(max(0.0, began + step / RATE - time.monotonic()))
        until = time.monotonic() + 120
        while (
            len(seen := json.loads(page.evaluate("JSON.stringify(window.seen)"))) < count and time.monotonic() < until
        ):
            page.wait_for_timeout(500)
        took = (seen[-1]["sent"] - seen[0]["sent"]) / 1000
    waits = [each["drawn"] - each["sent"] for each in seen]
    told = (
        f"median {median(waits):.0f} ms, 99 of 100 within {quantiles(waits, n=100)[98]:.0f} ms, slowest {max(waits)} ms"
    )
    row(f"event to its point, {len(seen)} of {count} events, {len(seen) / took:.0f} a second", told, "200 ms")


def main() -> None:
    seconds = 60 if "--full" in sys.argv else 10
    print("| what | measured | bound |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        large(browser, Path(folder))
        stream(browser, Path(folder), seconds)


if __name__ == "__main__":
    main()
