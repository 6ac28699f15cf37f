"""The wheel in an empty environment, and the examples as a user runs them."""

from __future__ import annotations

import os
import re
import sys
import venv
from pathlib import Path

import pytest
from commands import output

HOOKS = Path(__file__).parents[1]
BUNDLED_RUN = HOOKS.parent / "models/fashion-mnist-cnn"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the profile that the tests of the command were built with, as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev"}
    output(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, HOOKS, env=environment)
    (wheel,) = folder.glob("relstab-*.whl")
    return wheel


#: In a new interpreter, many threads that look for the command first, and all at once.
LOOKING = """
import sys, threading
from relstab._command import find
sys.setswitchinterval(1e-6)
barrier, failed = threading.Barrier(16), []
def look():
    barrier.wait()
    try:
        find()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=look) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(failed[0]) if failed else 0)
"""


def test_threads_that_look_for_the_command_at_once_find_it() -> None:
    for _ in range(5):
        output(sys.executable, "-c", LOOKING)


def test_the_wheel_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    venv.create(folder, with_pip=True)
    output(folder / "bin/pip", "install", "--no-index", wheel)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    watch = ["watch", "--once", str(BUNDLED_RUN), "--images=100", "--draws=1"]
    printed = output(folder / "bin/relstab", *watch, env=environment)
    # Nothing is installed there: the embedded engine, whatever other environments have.
    assert "tract" in printed
    # The settings, the head, a line for each checkpoint, and why one has no prediction.
    assert len(printed.splitlines()) == 2 + len(list(BUNDLED_RUN.glob("*.onnx"))) + 1
    again = output(folder / "bin/python", "-m", "relstab", *watch, env=environment)
    assert again == printed
    typed = (
        "import relstab, sys; assert 'numpy' not in sys.modules and 'torch' not in sys.modules; print(relstab.__all__)"
    )
    assert "Monitor" in output(folder / "bin/python", "-c", typed, env=environment)


@pytest.mark.parametrize("name", ["torch_loop", "lightning_loop"])
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    script = HOOKS / "examples" / f"{name}.py"
    assert len(script.read_text().splitlines()) < 60
    printed = output(sys.executable, script, cwd=tmp_path)
    run = tmp_path / "runs" / ("digits" if name == "torch_loop" else "lightning")
    states = output(sys.executable, "-m", "relstab", "history", run)
    assert "failed" not in states
    assert len(states.splitlines()) >= 4
    # What relstab found: R_f, why to stop, and the best checkpoint by the known error.
    *_, last, stopped, best = printed.splitlines()
    assert re.search(r"R_f \d\.\d+", last), printed
    assert stopped.startswith("stopped: val_error did not improve"), printed
    assert re.fullmatch(rf"best: error 0\.\d+ at step \d+, {run}/step=\d+\.onnx", best), printed
