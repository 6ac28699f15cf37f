"""The dashboard for who has no mouse, does not like motion, or reads while events arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab
from serving import CHECKPOINTS, Page, bundled_run, eventually, serving

# What the focus is on, and whether it can be seen.
FOCUSED = """() => {
  const it = document.activeElement;
  const { width, height } = it.getBoundingClientRect();
  const all = [...document.querySelectorAll("*")];
  return { at: all.indexOf(it), is: it.id || it.getAttribute("role") || it.tagName, isSeen: width > 0 && height > 0 };
}"""
# Also how many charts are made.
SHIFTS = """
[window.shifts, window.charts] = [[], 0];
new MutationObserver((all) => {
  for (const { addedNodes } of all) charts += [...addedNodes].filter((node) => node.matches?.(".uplot")).length;
}).observe(document, { childList: true, subtree: true });
new PerformanceObserver((list) => shifts.push(...list.getEntries().map(({ value }) => value))).observe({
  type: "layout-shift",
  buffered: true,
});
"""


def drawn(page: Tab, points: int) -> None:
    expect(page.locator("#charts")).to_have_attribute("data-points", str(points), timeout=20_000)


SIZES = pytest.mark.parametrize("width", [1440, 390])


@SIZES
def test_tab_goes_through_the_page_in_order(chromium: Browser, tmp_path: Path, width: int) -> None:
    with serving(bundled_run(tmp_path / "today"), "--draws", "1", "--images", "50") as daemon:
        daemon.land(*CHECKPOINTS[:2])
        daemon.measured(2)
        page = Page(chromium.new_context(viewport={"width": width, "height": 900}), daemon.url).page
        drawn(page, 2)
        met = []
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(FOCUSED)
            if found["is"] == "BODY":
                break
            met.append(found)
        places = [found["at"] for found in met]
        assert places == sorted(set(places)) and all(found["isSeen"] for found in met), met
        # Every row is as high as what it holds.
        assert page.evaluate(
            "[...document.querySelectorAll('#runs tr')].every((row) => row.scrollHeight <= row.clientHeight + 1)"
        )
        names = [found["is"] for found in met]
        for name in ("theme", "filter", "group", "all", "none", "application", "SUMMARY"):
            assert name in names, names
        assert names.count("application") == 4


@SIZES
def test_nothing_moves_as_it_loads_and_as_events_arrive(chromium: Browser, tmp_path: Path, width: int) -> None:
    with serving(bundled_run(tmp_path / "today"), "--draws", "1", "--images", "50") as daemon:
        daemon.land(*CHECKPOINTS[:2])
        daemon.measured(2)
        context = chromium.new_context(viewport={"width": width, "height": 900})
        context.add_init_script(SHIFTS)
        page = Page(context, daemon.url).page
        drawn(page, 2)
        assert page.evaluate("charts") == 4, "each is made once"
        daemon.land(*CHECKPOINTS[2:5])
        drawn(page, 5)
        expect(page.get_by_role("row", name="today")).to_contain_text("up to date")
        # What Chromium calls good is below 0.1.
        shifts = page.evaluate("shifts")
        assert sum(shifts) < 0.01, shifts


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "turn"), ("reduce", "none")])
def test_who_wants_no_motion_sees_none(
    chromium: Browser, tmp_path: Path, motion: Literal["no-preference", "reduce"], animation: str
) -> None:
    with serving(bundled_run(tmp_path / "today")) as daemon:
        page = Page(chromium.new_context(reduced_motion=motion), daemon.url).page
        expect(page.locator("#connection")).to_have_text("live", timeout=20_000)
        sign = '<span class="chip measuring"><svg class="icon"></svg></span>'
        page.evaluate("(sign) => document.getElementById('connection').insertAdjacentHTML('afterend', sign)", sign)
        style = "getComputedStyle(document.querySelector('.chip.measuring .icon')).animationName"
        eventually(lambda: page.evaluate(style) == animation)
