"""docs/frameworks.md, word for word: shell scripts around a trainer, the client in Node, the lines that export."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import commands
import pytest
import relstab
from daemons import DAEMON, SETTINGS, history
from relstab.config import prepare
from test_exporters import quiet
from training import TRAINED, Digits

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
BUNDLED_RUN = PROJECT / "models/fashion-mnist-cnn"
#: In the order of their steps; R_f falls from the second on.
CHECKPOINTS = sorted(BUNDLED_RUN.glob("*.onnx"))
#: The blocks of the page: what is written after ```, and the lines.
BLOCKS = re.findall(r"^```(.+?)\n(.*?)^```", (DOCS / "frameworks.md").read_text(), re.MULTILINE | re.DOTALL)
SCRIPTS = [lines for kind, lines in BLOCKS if kind == "sh"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory with probe images, and settings that are quick."""
    run = tmp_path / "run"
    prepare(run, probe=BUNDLED_RUN / "probe.npz", mean=[0.2860], std=[0.3530])
    return run


def shell(script: str, run: Path, trainer: str) -> subprocess.CompletedProcess[str]:
    """Runs a documented script around a trainer; its rule is one that stops with the second checkpoint it judges."""
    documented = "--stop patience=5"
    assert script.count(documented) == 1
    flags = "--stop patience=1,min_delta=1000 --images 60 --draws 1 --backend tract"
    steps = [int(path.stem.removeprefix("step=")) for path in CHECKPOINTS]
    environment = {**os.environ, "RUN": str(run), "STEPS": " ".join(map(str, steps)), "BUNDLED": str(BUNDLED_RUN)}
    command = ["bash", "-c", f"{trainer}\n{script.replace(documented, flags)}"]
    return commands.run(*command, cwd=run.parent, env=environment, timeout=120)


def test_a_loop_in_shell_stops_when_told(run: Path) -> None:
    trainer = """
    train_to() { weights=$(printf '%s/step=%06d.onnx' "$BUNDLED" "$1"); }
    export_onnx() { cp "$weights" "$1"; }
    """
    done = shell(SCRIPTS[0], run, trainer)
    assert done.returncode == 0, done.stderr
    assert "did not improve" in done.stderr
    # The rule goes by the known error, which the untrained network has too: that one, and one more.
    assert [entry["state"] for entry in history(run)] == ["measured"] * 2, done.stderr
    # The best has the least error, though it improved by less than min_delta.
    best = run.parent / "best.onnx"
    assert best.resolve() == run.resolve() / "step=30.onnx"


def test_a_trainer_that_runs_through_is_ended(run: Path) -> None:
    trainer = """
    train_through() {
        for step in $STEPS; do
            name=$(printf 'step=%06d.onnx' "$step")
            cp "$BUNDLED/$name" "$1/.next" && mv "$1/.next" "$1/$name"
            # A real one takes longer than a measurement.
            relstab wait "$1" --step "$step" --timeout 60s
        done
        sleep 60
        touch trained
    }
    """
    done = shell(SCRIPTS[1], run, trainer)
    assert "did not improve" in done.stdout
    assert f"{run.resolve()}/step=" in done.stdout
    assert not (run.parent / "trained").exists()


def test_a_client_in_node_hears_what_a_run_says(run: Path) -> None:
    client = DOCS / "client.mjs"
    assert len(client.read_text().splitlines()) <= 22
    for path in CHECKPOINTS[:3]:
        shutil.copy(path, run)
    with relstab.start(run, **DAEMON, stop="monitor=r_f,patience=1,min_delta=1000"):
        printed = commands.output("node", client, commands.output("relstab", "socket", run).strip(), timeout=120)
    entries = history(run)
    expected = [f"step {entry['step']}: R_f {entry['measurement']['r_f']['value']:.3f}" for entry in entries]
    *measured, stop = printed.splitlines()
    assert measured == expected
    assert stop.startswith("stop: r_f did not improve")


DIGITS = """
from sklearn.datasets import load_digits
images = (load_digits().images[1200:1300, :, :, None] / 16).astype("float32")
"""
#: What each framework's network is before it is exported.
NETWORKS = {
    "torch": """
import torch
from training import network
images, network = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), network()
""",
    "transformers": """
import torch
from test_transformers import vit
images, network = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), vit()
""",
    "keras": """
import keras
network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
    keras.layers.Flatten(), keras.layers.Dense(10)])
network(images)
""",
    "jax": """
from flax import nnx
network = nnx.Sequential(nnx.Conv(1, 8, (3, 3), rngs=nnx.Rngs(0)), nnx.relu,
    lambda values: values.reshape(values.shape[0], -1), nnx.Linear(512, 10, rngs=nnx.Rngs(0)))
""",
    "scikit-learn": """
from sklearn.neural_network import MLPClassifier
images = images.reshape(len(images), -1)
network = MLPClassifier((16,), max_iter=20, tol=1.0).fit(images, load_digits().target[1200:1300])
""",
}
NEEDED = {"jax": "jax2onnx"}


@pytest.mark.parametrize("framework", NETWORKS)
def test_the_lines_that_export_do(framework: str, digits: Digits, tmp_path: Path) -> None:
    if find_spec(NEEDED.get(framework, "numpy")) is None:
        pytest.skip("jax2onnx needs Python 3.11")
    (lines,) = (lines for kind, lines in BLOCKS if framework in kind.split())
    environment = {
        **quiet(),
        "KERAS_BACKEND": "jax" if framework == "jax" else "torch",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    script = DIGITS + NETWORKS[framework] + lines
    commands.output(sys.executable, "-c", script, cwd=tmp_path, env=environment)
    images = digits.images[TRAINED:]
    assert relstab.measure(tmp_path / "model.onnx", images, **SETTINGS).r_f is not None
