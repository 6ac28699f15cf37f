"""The gate where people run it: pre-commit, the GitHub action's script, valid descriptions of both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import onnx
import pytest
import relstab

PROJECT = Path(__file__).parents[2]
BUNDLED_RUN = PROJECT / "models/fashion-mnist-cnn"
LAST = "step=006000.onnx"


def run(command: list[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    scripts = sysconfig.get_path("scripts")
    variables = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = run(["git", *author, *arguments], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two exported networks and their probe images."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in (LAST, "step=001026.onnx", "probe.npz", "relstab.toml"):
        shutil.copy(BUNDLED_RUN / name, folder)
    git(folder, "init", "--quiet")
    return folder


def test_pre_commit_holds_networks_to_limits(models: Path, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(PROJECT / ".pre-commit-hooks.yaml", hooks)
    git(hooks, "init", "--quiet")
    git(hooks, "add", ".")
    git(hooks, "commit", "--quiet", "--message", "hooks")
    revision = git(hooks, "rev-parse", "HEAD")

    def config(limit: str) -> None:
        (models / ".pre-commit-config.yaml").write_text(
            f"repos:\n- repo: {hooks.as_uri()}\n  rev: {revision}\n  hooks:\n  - id: relstab-check-system\n"
            f"    args: [--backend, tract, --images, '200', --draws, '1', --max-rf, '{limit}']\n"
        )
        git(models, "add", ".")

    pre_commit: list[str | Path] = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    config("5.0")
    held = run(pre_commit, models, PRE_COMMIT_HOME=str(tmp_path / "cache"))
    assert held.returncode == 0, held.stdout + held.stderr
    assert "Passed" in held.stdout
    config("0.45")
    failed = run(pre_commit, models, PRE_COMMIT_HOME=str(tmp_path / "cache"))
    assert failed.returncode == 1
    assert "step=001026.onnx: falls short" in failed.stdout


def test_the_actions_script_annotates_and_reports(models: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    inputs = {
        "MODELS": "*.onnx",
        "PROBE": "",
        "ARGS": "--backend tract --images 200 --draws 1 --max-rf 0.45",
        "JUNIT": "report.xml",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    script = PROJECT / "hooks/ci/check.sh"
    done = run([script], models, **inputs)
    assert done.returncode == 1, done.stderr
    annotated = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert len(annotated) == 1
    assert annotated[0].startswith("::error title=relstab check::step=001026.onnx: R_f 0.")
    assert "| `step=001026.onnx` | R_f |" in summary.read_text()
    suites = ElementTree.parse(models / "report.xml").getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("2", "1", "0")
    nothing = run([script], models, **inputs | {"MODELS": "exports/*.onnx"})
    assert nothing.returncode == 4
    assert "no file matches" in nothing.stdout
    # Inputs are words, never commands.
    run([script], models, **inputs | {"ARGS": "--max-rf 1 $(touch broken) ; touch broken"})
    assert not (models / "broken").exists()


def test_descriptions_are_valid(tmp_path: Path) -> None:
    check: list[str | Path] = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = run([*check, "vendor.github-actions", PROJECT / "hooks/ci/action.yml"], PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = run([sys.executable, "-m", "pre_commit", "validate-manifest", ".pre-commit-hooks.yaml"], PROJECT)
    assert manifest.returncode == 0, manifest.stdout
    shell = run(["shellcheck", "hooks/ci/check.sh", "test.sh"], PROJECT)
    assert shell.returncode == 0, shell.stdout
    workflows = sorted((PROJECT / ".github/workflows").glob("*.yml"))
    done = run([*check, "vendor.github-workflows", *workflows], PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    images = run(["hadolint", *sorted((PROJECT / "docs/deploy").glob("Dockerfile*"))], PROJECT)
    assert images.returncode == 0, images.stdout
    blocks = (PROJECT / "docs/check.md").read_text().split("```yaml\n")[1:]
    gitlab = next(block.split("```")[0] for block in blocks if block.startswith("relstab:"))
    path = tmp_path / "gitlab-ci.yml"
    path.write_text(gitlab)
    done = run([*check, "vendor.gitlab-ci", path], PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_quantised_network_is_held_to_its_float_original(tmp_path: Path) -> None:
    """INT8 in QDQ form, made by ONNX Runtime's own tools, run by ONNX Runtime."""
    quantisation = pytest.importorskip("onnxruntime.quantization")
    probe = numpy.load(BUNDLED_RUN / "probe.npz")["images"]
    images = relstab.perturb(BUNDLED_RUN / "probe.npz", images=64, draws=1, mean=[0.286], std=[0.353]).images
    name = onnx.load(BUNDLED_RUN / LAST, load_external_data=False).graph.input[0].name

    class Reader(quantisation.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.batches = iter([{name: images[first : first + 16]} for first in range(0, 64, 16)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    quantised = tmp_path / "int8.onnx"
    quantisation.quantize_static(BUNDLED_RUN / LAST, quantised, Reader(), quant_format=quantisation.QuantFormat.QDQ)
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(quantised).graph.node}
    options: dict[str, Any] = {
        "mean": [0.286],
        "std": [0.353],
        "backend": "onnxruntime",
        "baseline": BUNDLED_RUN / LAST,
    }
    # Over six seeds R_f rises by 29% to 44%, and no interval goes beyond 53%.
    report = relstab.check(quantised, probe, max_regression=0.8, **options)
    assert report.error is None
    assert report.verdict == "holds"
    assert abs(report.checks[0].value) < 0.5
    # The other way round, one that is much worse is not.
    worse = relstab.check(BUNDLED_RUN / "step=001026.onnx", probe, max_regression=0.05, **options)
    assert worse.verdict == "falls_short"
