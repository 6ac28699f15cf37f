"""Commands, as users run them."""

from __future__ import annotations

import json
import subprocess
from typing import Any


def run(*command: object, timeout: float = 600, **settings: Any) -> subprocess.CompletedProcess[str]:
    """How a command ended, and what it said."""
    words = [*map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout, **settings)


def output(*command: object, **settings: Any) -> str:
    """What a command printed that has to succeed."""
    done = run(*command, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def record_of(*command: object) -> dict[str, Any]:
    """The one that a command of relstab prints."""
    return dict(json.loads(output("relstab", *command, "--format", "json")))


def assert_silent(*command: object, **settings: Any) -> None:
    """That a command succeeds and says nothing."""
    done = run(*command, **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
