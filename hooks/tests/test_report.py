"""Reports in a real browser, opened from disk without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import assert_silent, run
from playwright.sync_api import Browser
from serving import BUNDLED, CHECKPOINTS, PICTURES, Page, bundled_run, eventually, serving

LAST = str(BUNDLED / "step=006000.onnx")
FAST = ("--draws", "1", "--images", "50", "--backend", "tract")
COMMANDS = {
    "measure": ("measure", LAST),
    "compare": ("compare", LAST, str(CHECKPOINTS[2])),
    "check": ("check", LAST, "--max-rf", "0.1"),
    "sweep": ("sweep", LAST, "--cutoffs", "3,5", "--deltas", "0.5,1"),
    "layers": ("layers", LAST),
}


def report(source: Path, name: str) -> str:
    """Makes a page of a run or a result; its address."""
    page = source.parent / f"<b>{name}<b>.html"
    assert_silent("relstab", "report", source, "--html", page)
    return page.as_uri()


def assert_opens(chromium: Browser, url: str, name: str) -> Page:
    page = Page(chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True), url)
    page.page.wait_for_load_state("load")
    assert all(request == url or request.startswith(("data:", "blob:")) for request in page.requests), page.requests
    page.assert_usable(1280)
    page.page.screenshot(path=PICTURES / f"report-{name}.png", full_page=True)
    assert not page.troubles, page.troubles
    return page


@pytest.mark.parametrize("name", COMMANDS)
def test_a_result_opens_from_disk(chromium: Browser, tmp_path: Path, name: str) -> None:
    saved = tmp_path / f"{name}.json"
    saved.write_text(run("relstab", *COMMANDS[name], *FAST, "--format", "json").stdout)
    assert_opens(chromium, report(saved, name), name)


def test_a_run_opens_from_disk_with_its_charts(chromium: Browser, tmp_path: Path) -> None:
    folder = bundled_run(tmp_path / "today")
    with serving(folder, "--draws", "1", "--images", "50") as daemon:
        daemon.land(*CHECKPOINTS[:4])
        daemon.measured(4)
        (folder / "<script>document.title='owned'<script> step=7.onnx").write_bytes(b"no network")
        eventually(lambda: daemon.count("failed") == 1, daemon.log.read_text)
    page = assert_opens(chromium, report(folder, "run"), "run")
    assert page.page.locator(".plot canvas").count() == 4
    assert page.page.locator("#charts").get_attribute("data-points") == "4"
    assert "<script>document.title='owned'<script> step=7.onnx" in page.page.locator("main").inner_text()
    assert page.page.title() != "owned"
