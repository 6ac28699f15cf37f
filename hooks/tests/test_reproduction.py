"""The page of the paper's claims says what the stored results say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPRODUCTION = Path(__file__).parents[2] / "models" / "reproduction"


def test_the_page_is_that_of_the_stored_results() -> None:
    done = subprocess.run(
        [sys.executable, REPRODUCTION, "report", "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
