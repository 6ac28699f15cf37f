"""The gallery in a real browser, opened from disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import pytest
from commands import assert_silent
from PIL import Image
from playwright.sync_api import Browser
from serving import BUNDLED, PICTURES, Page
from test_preprocess import PHOTOGRAPHS

HOSTILE = [
    "<script>document.title='owned'<script>.png",
    "<img src=x onerror=alert(1)>.png",
    "\"'`onload=alert(1) ${1}&amp;.png",
    "\u202egnp.txt\u2066 \u200f.png",
    "line\nbreak.png",
]
#: One in the natural range of photographs of 224 pixels, one that folds nearly all.
SETTINGS = ["--cutoffs", "5", "--delta", "8", "--cutoff", "5", "--deltas", "23"]


def gallery(page: Path, *flags: object) -> str:
    """Makes a page, with its sheet beside the screenshots; its address."""
    sheet = PICTURES / f"gallery-{page.stem}-sheet.png"
    assert_silent("relstab", "gallery", "--html", page, "--png", sheet, *flags)
    return page.as_uri()


def opened(chromium: Browser, url: str, width: int, scheme: Literal["light", "dark"]) -> Page:
    page = Page(chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True), url)
    # Every picture is inside and whole.
    broken = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert page.page.evaluate(broken) == 0
    assert all(request == url or request.startswith("data:") for request in page.requests), page.requests
    assert not page.troubles, page.troubles
    return page


def sizes(page: Page) -> set[int]:
    """How wide the pictures are that are shown."""
    widths = "[...document.querySelectorAll('.exhibit img')].map((image) => image.clientWidth).filter((width) => width)"
    return set(page.page.evaluate(widths))


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> str:
    folder = tmp_path_factory.mktemp("fashion")
    return gallery(folder / "fashion.html", BUNDLED / "step=006000.onnx", "--images", 60)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everyone_can_use_it(chromium: Browser, fashion: str, scheme: Literal["light", "dark"], width: int) -> None:
    page = opened(chromium, fashion, width, scheme)
    page.assert_usable(width)
    # Every picture is as large as the others, by a whole factor of its 28 pixels.
    assert sizes(page) == {168}
    # One setting is shown at a time, and chosen by keyboard too.
    shown = "[...document.querySelectorAll('.view')].filter((view) => view.firstChild.clientWidth > 0)"
    title = f"{shown}[0].querySelector('.note').textContent"
    assert page.page.evaluate(f"{shown}.length") == page.page.evaluate("document.querySelectorAll('.exhibit').length")
    assert page.page.evaluate(title).startswith("cutoff 3, delta 1 px (chosen): moves ")
    page.page.get_by_role("radio", checked=True).focus()
    page.page.keyboard.press("ArrowRight")
    assert page.page.evaluate(title).startswith("cutoff 3, delta 2.9 px: moves ")
    page.page.screenshot(path=PICTURES / f"gallery-{scheme}-{width}.png", full_page=True)


def test_photographs_are_shown_as_they_are(chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for path in PHOTOGRAPHS:
        shutil.copy(path, folder)
    url = gallery(tmp_path / "photographs.html", "--probe", folder, "--preprocess", "imagenet", "--show", 1, *SETTINGS)
    for width in (1280, 390):
        page = opened(chromium, url, width, "light")
        page.assert_usable(width)
        assert sizes(page) == {224} if width == 1280 else max(sizes(page)) <= 224
        page.page.screenshot(path=PICTURES / f"gallery-photographs-{width}.png", full_page=True)


def test_names_are_text(chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "<b onclick=alert(1)>images<b>\u202e"
    folder.mkdir()
    for name in HOSTILE:
        shutil.copy(PHOTOGRAPHS[0], folder / name)
        Image.open(folder / name).resize((32, 32)).save(folder / name)
    url = gallery(tmp_path / "hostile.html", "--probe", folder, "--show", 5, "--cutoffs", 3, "--deltas", 1)
    page = opened(chromium, url, 390, "light")
    shown = page.page.locator("main").inner_text()
    alts = page.page.evaluate("[...document.images].map((image) => image.alt).join('\\n')")
    for name in [*HOSTILE, folder.name]:
        text = "".join(f"\\u{{{ord(c):x}}}" if ord(c) > 0x2000 else "\\n" if c == "\n" else c for c in name)
        assert text in shown, (text, shown)
        assert text in alts or name == folder.name, (text, alts)
    assert page.page.evaluate("document.querySelectorAll('main b, main script, script').length") == 0
    assert "owned" not in page.page.title().split(" of ")[0]
    # 1 drawing, and 1 + 4 pictures of each image: none came from a name.
    assert page.page.evaluate("document.images.length") == 1 + 5 * 5
    page.page.screenshot(path=PICTURES / "gallery-hostile.png", full_page=True)
