"""The dashboard in a real browser, and what monitoring reads of a daemon."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from commands import assert_silent, output
from playwright.sync_api import Browser, HttpCredentials, expect
from serving import CHECKPOINTS, PICTURES, Daemon, Page, bundled_run, eventually, serving


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    folder = bundled_run(tmp_path / "today")
    with serving(folder, "--stop", "patience=3", "--draws", "1", "--images", "100") as daemon:
        daemon.land(*CHECKPOINTS[:4])
        daemon.measured(4)
        yield daemon


def points(page: Page) -> int:
    """Measured checkpoints of all runs in the charts."""
    return int(page.page.evaluate("document.getElementById('charts').dataset.points ?? 0"))


def view(page: Page) -> tuple[float, float]:
    """From where to where the charts show their runs."""
    left, right = page.page.evaluate("document.getElementById('charts').dataset.view").split(" ")
    return float(left), float(right)


def test_a_checkpoint_is_seen_as_it_lands_and_after_a_restart(chromium: Browser, daemon: Daemon) -> None:
    page = Page(chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light"), daemon.url)
    connection = page.page.locator("#connection")
    expect(connection).to_have_text("live", timeout=20_000)
    eventually(lambda: points(page) == 4)
    daemon.land(CHECKPOINTS[4])
    eventually(lambda: points(page) == 5)
    row = page.page.get_by_role("row", name="today")
    expect(row).to_contain_text(re.compile(r"up to date.*step 175"))
    assert not page.troubles

    daemon.kill()
    expect(connection).to_have_text("the daemon does not answer; trying again")
    daemon.start()
    expect(connection).to_have_text("live", timeout=20_000)
    daemon.land(CHECKPOINTS[5])
    eventually(lambda: points(page) == 6)
    page.page.screenshot(path=PICTURES / "dashboard-light.png", full_page=True)
    page.page.get_by_role("link", name="today").click()
    expect(page.page.locator("#rules")).to_contain_text(
        re.compile("val error.*Best 13.* at step 316.*patience left 3", re.DOTALL)
    )
    expect(page.page.get_by_role("dialog")).to_contain_text("measured step=000316.onnx")
    page.page.screenshot(path=PICTURES / "dashboard-run.png")
    # A lost daemon is an error in the console; nothing else was, and nothing was asked of anyone else.
    assert all("ERR_CONNECTION_REFUSED" in trouble or "ERR_INCOMPLETE" in trouble for trouble in page.troubles), (
        page.troubles
    )
    assert {request.split("/")[2] for request in page.requests} == {daemon.address}


def test_zoom_selection_and_theme_stay(chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for name in ("wide", "narrow"):
        bundled_run(folder / name)
    with serving(folder, "--recursive", "--draws", "1", "--images", "50") as daemon:
        for name, checkpoints in (("wide", CHECKPOINTS[:5]), ("narrow", CHECKPOINTS[2:7])):
            for source in checkpoints:
                shutil.copy(source, folder / name)
        eventually(lambda: daemon.count("measured") == 10, daemon.log.read_text)
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page = Page(context, daemon.url)
        eventually(lambda: points(page) == 10)

        before = view(page)
        # The uppermost chart's area: a drag zooms.
        box = page.page.locator("#charts .u-over").first.bounding_box()
        assert box is not None
        page.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        page.page.mouse.down()
        page.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=5)
        page.page.mouse.up()
        zoomed = view(page)
        assert before[0] < zoomed[0] < zoomed[1] < before[1], (before, zoomed)

        # By keyboard: the box of a run is reached and toggled without a mouse, and keeps the focus.
        run = page.page.get_by_role("checkbox", name="narrow")
        run.focus()
        page.page.keyboard.press("Space")
        eventually(lambda: points(page) == 5)
        expect(page.page.get_by_role("checkbox", name="narrow")).to_be_focused()
        page.page.keyboard.press("Space")
        eventually(lambda: points(page) == 10)
        assert view(page) == zoomed
        page.page.get_by_role("button", name="Show all").click()
        assert view(page) == before

        def paper() -> str:
            return str(page.page.evaluate("getComputedStyle(document.body).backgroundColor"))

        light = paper()
        theme = page.page.get_by_role("button", name="Theme")
        theme.click()
        assert (theme.text_content(), paper()) == ("Theme: light", light)
        theme.click()
        assert theme.text_content() == "Theme: dark"
        assert paper() != light
        page.page.screenshot(path=PICTURES / "dashboard-dark.png", full_page=True)
        page.page.reload()
        expect(theme).to_have_text("Theme: dark")

        page.page.get_by_label("Filter").fill("wide")
        expect(page.page.locator("#runs tr")).to_have_count(1)
        assert not page.troubles, page.troubles


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everyone_can_use_it(chromium: Browser, daemon: Daemon, scheme: Literal["light", "dark"], width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = Page(context, daemon.url)
    eventually(lambda: points(page) == 4)
    # Nothing but the table of runs is wider than the page.
    page.assert_usable(width)
    page.page.screenshot(path=PICTURES / f"dashboard-{scheme}-{width}.png", full_page=True)
    page.page.locator("details summary").first.click()
    expect(page.page.get_by_role("table").nth(1)).to_contain_text("predicted error, interval")

    # Without a mouse: to the chart, along its points, into the checkpoint, and back to where one was.
    plot = page.page.get_by_role("application").first
    plot.focus()
    for key in ("ArrowRight", "ArrowLeft"):
        page.page.keyboard.press(key)
    expect(page.page.locator("#charts").get_by_role("status")).to_contain_text("today: step 54")
    page.page.keyboard.press("Enter")
    drawer = page.page.get_by_role("dialog")
    for text in ("step 54", "step=000054.onnx", "known error", "Three readings", "fitted on", "cutoff", "tract"):
        expect(drawer).to_contain_text(text)
    page.assert_usable(width)
    page.page.screenshot(path=PICTURES / f"dashboard-drawer-{scheme}-{width}.png")
    address = page.page.url
    page.page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(plot).to_be_focused()
    # The address of a checkpoint opens it.
    page.page.goto(address)
    expect(drawer).to_contain_text("step=000054.onnx")
    assert not page.troubles


def test_two_fingers_zoom(chromium: Browser, daemon: Daemon) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = Page(context, daemon.url)
    eventually(lambda: points(page) == 4)
    plot = page.page.locator("#charts .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    left, top, wide = box["x"], box["y"] + 80, box["width"]
    before = view(page)
    fingers = context.new_cdp_session(page.page)

    def touch(kind: str, *shares: float) -> None:
        places = [{"x": left + wide * share, "y": top, "id": finger} for finger, share in enumerate(shares)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchMove", 0.2, 0.8)
    touch("touchEnd")
    zoomed = view(page)
    assert before[0] < zoomed[0] < zoomed[1] < before[1], (before, zoomed)
    assert not page.troubles


def test_a_run_without_a_checkpoint_is_seen(chromium: Browser, tmp_path: Path) -> None:
    with serving(bundled_run(tmp_path / "<i>new<i>")) as daemon:
        page = Page(chromium.new_context(), daemon.url)
        expect(page.page.locator("#runs")).to_contain_text("<i>new<i>no checkpoint yet")


def test_a_run_of_a_tree_is_seen_before_its_first_checkpoint(chromium: Browser, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    bundled_run(runs / "early")
    with serving(runs, "--recursive") as daemon:
        page = Page(chromium.new_context(), daemon.url)
        expect(page.page.locator("#runs")).to_contain_text("earlyno checkpoint yet")
        bundled_run(runs / "late")
        expect(page.page.locator("#runs")).to_contain_text("lateno checkpoint yet")


def test_only_a_token_has_failed_checkpoints_measured_again(chromium: Browser, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    for name, flags in (("open", ()), ("shut", ("--http-token", str(token)))):
        folder = bundled_run(tmp_path / name / "run")
        with serving(folder, "--draws", "1", "--images", "20", *flags) as daemon:
            (folder / "bad step=9.onnx").write_bytes(b"no network")
            credentials: HttpCredentials = {"username": "any", "password": token.read_text().strip()}
            page = Page(chromium.new_context(http_credentials=credentials), daemon.url)
            expect(page.page.locator("#runs")).to_contain_text("failed")
            page.page.get_by_role("link", name="run").click()
            expect(page.page.locator("#failures")).to_contain_text("bad step=9.onnx")
            button = page.page.get_by_role("button", name="Measure the 1 failed again")
            expect(button).to_have_count(1 if flags else 0)
            if flags:
                button.click()
                expect(page.page.get_by_role("dialog")).to_contain_text("failed bad step=9.onnx")


HOSTILE = [
    "<script>document.title='owned'<script> step=1.onnx",
    "<img src=x onerror=alert(1)> step=2.onnx",
    "\"'`${1}& step=3.onnx",
    "\u202etxt.exe\u2066 step=4.onnx",
    "line\nbreak step=5.onnx",
]


def test_names_are_text(chromium: Browser, tmp_path: Path) -> None:
    folder = bundled_run(tmp_path / "<b onclick=alert(1)>run<b>\u202e")
    with serving(folder, "--draws", "1", "--images", "20") as daemon:
        for name in HOSTILE:
            (folder / name).write_bytes(b"no network")
        shutil.copy(CHECKPOINTS[1], folder / "<i>good<i> step=30.onnx")
        eventually(lambda: daemon.count("failed") == len(HOSTILE), daemon.log.read_text)
        daemon.measured(1)
        page = Page(chromium.new_context(), daemon.url)
        eventually(lambda: points(page) == 1)
        page.page.get_by_role("link", name="run").click()
        seen = page.page.locator("#failures").inner_text()
        for name in HOSTILE:
            text = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) > 0x2000 else c for c in name)
            assert text in seen, (text, seen)
        legend = page.page.locator("#charts .legend li").first.text_content()
        assert legend == "<b onclick=alert(1)>run<b>\\u202e"
        expect(page.page.get_by_role("row").nth(1)).to_contain_text("<b onclick=alert(1)>run<b>\\u202e")
        assert page.page.title() == "relstab"
        assert page.page.evaluate("document.querySelectorAll('main b, main i, main img').length") == 0
        page.page.screenshot(path=PICTURES / "dashboard-hostile.png", full_page=True)
        assert not page.troubles, page.troubles


def test_metrics_are_what_prometheus_reads(daemon: Daemon, tmp_path: Path) -> None:
    (daemon.folder / "bad step=9.onnx").write_bytes(b"no network")
    eventually(lambda: daemon.count("failed") == 1, daemon.log.read_text)
    text = daemon.text("/metrics")
    assert_silent("promtool", "check", "metrics", input=text)
    found = re.search(rf'^relstab_run_info\{{run="(.+)",path="{daemon.folder}"\}} 1', text, re.MULTILINE)
    assert found, text
    run = found[1]
    for name in ("rf", "df", "gf", "predicted_error", "val_error", "lag_seconds", "measurement_seconds"):
        assert re.search(rf'^relstab_{name}\{{run="{run}"\}} [0-9.e-]+$', text, re.MULTILINE), (name, text)
    assert f'relstab_checkpoints{{run="{run}",state="failed"}} 1' in text
    assert re.search(r'^relstab_measurement_duration_seconds_bucket\{le="\+Inf"\} [1-9]', text, re.MULTILINE), text


def test_the_api_is_as_described(daemon: Daemon, tmp_path: Path) -> None:
    """schemathesis draws requests from the description: no 500, and answers as described."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.url}/openapi.json", "--max-examples", "40"]
    # The stream of events has no end. One worker: two threads in ast.parse fail on CPython 3.11.7 (gh-106905).
    flags = ["--exclude-path", "/events", "--request-timeout", "15", "--seed", "1", "--workers", "1", "--no-color"]
    output(*command, *flags, cwd=tmp_path)
