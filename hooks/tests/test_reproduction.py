"""The page of the paper's claims says what the stored results say."""

from __future__ import annotations

import sys
from pathlib import Path

from commands import output

REPRODUCTION = Path(__file__).parents[2] / "models" / "reproduction"


def test_the_page_is_that_of_the_stored_results() -> None:
    output(sys.executable, REPRODUCTION, "report", "--check")
