"""The pages in docs/: the site builds, loads nothing from elsewhere, and the tutorial works word by word."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from commands import output

PROJECT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    output(*command, cwd=PROJECT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)="(?:https?:)?//[^"]*"', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"


def test_the_tutorial_works_word_by_word(tmp_path: Path) -> None:
    """Files are saved under their titles and commands are run, in the order of the page, in an empty folder."""
    blocks = list(BLOCK.finditer((PROJECT / "docs/tutorial.md").read_text()))
    saved, ran = [], []
    for block in blocks:
        if block["file"]:
            path = tmp_path / block["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"])
            saved.append(block["file"])
        elif block["kind"] == "sh" and not block["text"].startswith("pip install"):
            ran.append(output("bash", "-euc", block["text"], cwd=tmp_path, timeout=300))
    assert saved == ["train.py"]
    assert len(ran) == 6
    assert "relstab.toml" in ran[3], ran[3]
    assert ran[1].count("\n") > 5, ran[1]
    # The daemon and the history each tell of every checkpoint.
    assert ran[4].count("epoch=") == 10, ran[4]
    assert "doubt" not in ran[4], ran[4]
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", sorted((PROJECT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_shell_commands_of_the_pages_parse(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        if block["kind"] in ("sh", "bash"):
            output("bash", "-n", input=block["text"])
