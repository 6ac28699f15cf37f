"""What the dashboard's drawer tells of a checkpoint's images and of a run's past, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, HttpCredentials, expect
from serving import CHECKPOINTS, PICTURES, Daemon, Page, bundled_run, eventually, serving

TOKEN = "0123456789abcdef0123456789abcdef"
CREDENTIALS: HttpCredentials = {"username": "any", "password": TOKEN}


def asked(daemon: Daemon, path: str) -> tuple[bytes, dict[str, str]]:
    """What a program with the token gets."""
    request = urllib.request.Request(daemon.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


def measured(daemon: Daemon, count: int) -> bool:
    runs = json.loads(asked(daemon, "/api/overview")[0])["runs"]
    return bool(runs) and runs[0]["measured"] >= count


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_images_whose_answers_move_most_are_shown(
    chromium: Browser, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    folder = bundled_run(tmp_path / "today")
    with serving(folder, "--draws", "1", "--images", "100", "--http-token", str(token)) as daemon:
        daemon.land(CHECKPOINTS[5])
        eventually(lambda: measured(daemon, 1), daemon.log.read_text)
        address = "/api/runs/1/checkpoints/1/strip/picture"
        picture, headers = asked(daemon, address)
        assert picture.startswith(b"\x89PNG")
        assert len(picture) <= 64 << 10
        assert headers["content-type"] == "image/png"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "private, no-cache"
        assert headers["content-security-policy"].startswith("default-src 'none'")

        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, http_credentials=CREDENTIALS
        )
        page = Page(context, f"{daemon.url}/#run=1&checkpoint=1")
        drawer = page.page.get_by_role("dialog")
        images = drawer.get_by_role("img", name=re.compile(r"^image \d+, deformed: class \d, [\d.]+ %$"))
        expect(images).to_have_count(12)
        expect(drawer.locator(".strip img")).to_have_count(36)
        eventually(
            lambda: page.page.evaluate("[...document.querySelectorAll('.strip img')].every((i) => i.naturalWidth)")
        )
        # All are cut from one picture.
        assert sum(request.endswith(address) for request in page.requests) == 1
        page.assert_usable(width)
        drawer.locator(".strip").scroll_into_view_if_needed()
        page.page.screenshot(path=PICTURES / f"drawer-images-{scheme}-{width}.png")
        assert not page.troubles, page.troubles


def test_without_a_token_the_drawer_says_why_there_are_no_images(chromium: Browser, tmp_path: Path) -> None:
    with serving(bundled_run(tmp_path / "today"), "--draws", "1", "--images", "20") as daemon:
        daemon.land(CHECKPOINTS[5])
        daemon.measured(1)
        page = Page(chromium.new_context(), f"{daemon.url}/#run=1&checkpoint=1")
        expect(page.page.get_by_role("dialog")).to_contain_text("start the daemon with --http-token")
        assert page.page.locator(".strip").count() == 0
        assert not any("strip/" in request or request.endswith("/strip") for request in page.requests)
        assert not page.troubles, page.troubles


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_a_run_tells_its_attempts_alerts_and_laws(
    chromium: Browser, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    folder = bundled_run(tmp_path / "today")
    flags = ["--draws", "1", "--images", "50", "--alert", "on=failure,name=<b>broken<b>", "--stop", "patience=9"]
    with serving(folder, *flags) as daemon:
        for count, source in enumerate(CHECKPOINTS[2:8], 1):
            daemon.land(source)
            daemon.measured(count)
        # The training begins again: a file of an earlier step has other content. Metadata may be appended to an ONNX file.
        again = folder / CHECKPOINTS[4].name
        fresh = tmp_path / "fresh"
        shutil.copy(again, fresh)
        with fresh.open("ab") as file:
            file.write(b"\x72\x08\x0a\x03why\x12\x01x")
        fresh.rename(again)
        daemon.measured(7)
        (folder / "bad step=9000.onnx").write_bytes(b"no network")
        eventually(lambda: daemon.count("failed") == 1, daemon.log.read_text)
        eventually(lambda: daemon.get("/api/runs/1/past")["alerts"], daemon.log.read_text)

        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = Page(context, daemon.url)
        eventually(lambda: page.page.evaluate("document.getElementById('charts').dataset.points") == "6")
        page.page.screenshot(path=PICTURES / f"attempts-{scheme}-{width}.png", full_page=True)
        page.page.locator("details summary").first.click()
        expect(page.page.get_by_role("table").nth(1)).to_contain_text("attempt")
        page.page.get_by_role("application").first.focus()
        page.page.keyboard.press("ArrowRight")
        expect(page.page.locator("#charts").get_by_role("status")).to_contain_text(re.compile("attempt 1"))

        page.page.get_by_role("link", name="today").click()
        expect(page.page.locator("#alerts")).to_contain_text(
            re.compile("<b>broken<b> holds since .*bad step=9000.onnx")
        )
        expect(page.page.locator("#attempts")).to_contain_text(re.compile("Attempt 2 from step 175.*noticed"))
        drawer = page.page.get_by_role("dialog")
        expect(drawer.get_by_role("table")).to_contain_text(re.compile("fashionmnist-c3-strided, version 1"))
        expect(drawer).to_contain_text("attempt 2 begins at step 175")
        page.assert_usable(width)
        page.page.screenshot(path=PICTURES / f"run-past-{scheme}-{width}.png")
        page.page.locator("#attempts").scroll_into_view_if_needed()
        page.page.screenshot(path=PICTURES / f"run-attempts-{scheme}-{width}.png")
        assert not page.troubles, page.troubles
