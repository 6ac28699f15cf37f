"""CUDA half installed: the real onnxruntime-gpu with one of NVIDIA's packages, and files hidden or damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from relstab._command import find

PROJECT = Path(__file__).parents[2]
FIXTURES = PROJECT / "tests/fixtures"
# The smallest of NVIDIA's packages; all of them come to 1.3 GB.
WHEELS = ("onnxruntime-gpu==1.31.1", "nvidia-cuda-runtime==13.5.37")
HAS_DRIVER = Path("/proc/driver/nvidia/version").exists()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CUDA's packages are for Linux")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds nothing but the libraries; no Python of its own is needed to find them."""
    environment = tmp_path_factory.mktemp("gpu")
    packages = environment / "lib/python3.12/site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The Python that runs pip may be older than the one that it installs for.
    foreign = ["--python-version=3.12", "--ignore-requires-python", "--only-binary=:all:", f"--target={packages}"]
    subprocess.run([*pip, *foreign, *WHEELS], check=True, timeout=600)
    # Where the command was installed it finds the ONNX Runtime beside it first.
    shutil.copy(find(), environment / "relstab")
    return environment


@pytest.fixture
def gpu(installed: Path, tmp_path: Path) -> Path:
    """A copy to hide files in, made of links."""
    environment = tmp_path / "environment"
    shutil.copytree(installed, environment, copy_function=os.link)
    return environment


def relstab(environment: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    others = ("LD_LIBRARY_PATH", "ORT_DYLIB_PATH", "CUDA_VISIBLE_DEVICES")
    inherited = {name: value for name, value in os.environ.items() if name not in others}
    variables = {**inherited, "VIRTUAL_ENV": str(environment), **variables}
    command: list[str | Path] = [environment / "relstab", *arguments]
    return subprocess.run(
        command, cwd=FIXTURES, env=variables, capture_output=True, text=True, check=False, timeout=120
    )


def doctor(environment: Path, **variables: str) -> dict[str, Any]:
    done = relstab(environment, "doctor", "--format=json", **variables)
    assert done.returncode == 0, done.stderr
    findings: dict[str, Any] = json.loads(done.stdout)
    assert findings["onnxruntime"]["path"].startswith(str(environment))
    return findings


def library(environment: Path, name: str) -> Path:
    (path,) = environment.rglob(name)
    return path


MEASURE = ("measure", "plain.onnx", "--probe=images.npz", "--draws=1", "--format=json")


def test_doctor_names_each_missing_library_and_its_package(gpu: Path) -> None:
    findings = doctor(gpu)
    (tried,) = findings["onnxruntime"]["providers"]
    assert tried["provider"] == "cpu"
    assert tried["failure"] is None
    assert tried["difference"] < 1e-5
    missing = [
        "libcublasLt.so.13: pip install nvidia-cublas",
        "libcublas.so.13: pip install nvidia-cublas",
        "libcurand.so.10: pip install nvidia-curand",
        "libcudnn.so.9: pip install nvidia-cudnn-cu13",
    ]
    told = findings["cuda_missing"]
    # The fifth, nvidia-cuda-runtime's libcudart.so.13, is there and was found without LD_LIBRARY_PATH.
    assert [line for line in told if line.startswith("lib")] == missing
    assert any("libcuda.so.1" in line for line in told) is not HAS_DRIVER
    printed = relstab(gpu, "doctor").stdout
    assert all(f"cuda lacks   {line}\n" in printed for line in told)


def test_a_library_that_is_hidden_or_cut_short_is_told_apart(gpu: Path) -> None:
    path = library(gpu, "libcudart.so.13")
    whole = path.read_bytes()
    path.unlink()
    assert "libcudart.so.13: pip install nvidia-cuda-runtime" in doctor(gpu)["cuda_missing"]
    path.write_bytes(whole[:1000])
    (told,) = [line for line in doctor(gpu)["cuda_missing"] if "libcudart" in line]
    assert told.startswith("libcudart.so.13: no whole library")
    assert told.endswith(": pip install --force-reinstall nvidia-cuda-runtime")


def test_a_provider_that_is_hidden_or_cut_short_is_named(gpu: Path) -> None:
    path = library(gpu, "libonnxruntime_providers_cuda.so")
    with path.open("rb") as file:
        beginning = file.read(100_000)
    path.unlink()
    (told,) = doctor(gpu)["cuda_missing"]
    assert str(path) in told
    assert "reinstall onnxruntime-gpu" in told
    path.write_bytes(beginning)
    (told,) = doctor(gpu)["cuda_missing"]
    assert "no whole library" in told


def test_cuda_that_was_asked_for_is_an_error_of_one_line(gpu: Path) -> None:
    for command in (MEASURE, ("watch", "--once", str(PROJECT / "models/fashion-mnist-cnn"))):
        done = relstab(gpu, *command, "--provider=cuda")
        assert (done.returncode, done.stdout) == (6, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: provider cuda: it lacks ")
        assert "libcurand.so.10: pip install nvidia-curand" in line
        assert "relstab doctor" in line


def test_the_record_says_which_provider_ran_and_why(gpu: Path) -> None:
    done = relstab(gpu, *MEASURE)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["backend"]["provider"], record["backend"]["provider_requested"]) == ("cpu", "auto")
    (told,) = [warning for warning in record["warnings"] if "CUDA" in warning]
    assert told.startswith("CUDA could not be used, the CPU ran instead: it lacks ")
    assert "libcudnn.so.9" in told
    # Nobody asked for it: nothing to tell.
    record = json.loads(relstab(gpu, *MEASURE, "--provider=cpu").stdout)
    assert (record["backend"]["provider"], record["backend"]["provider_requested"]) == ("cpu", "cpu")
    assert not [warning for warning in record["warnings"] if "CUDA" in warning]


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_told(gpu: Path, visible: str) -> None:
    told = f"a GPU to see: CUDA_VISIBLE_DEVICES={visible} hides all: unset it, or name one"
    assert doctor(gpu, CUDA_VISIBLE_DEVICES=visible)["cuda_missing"][0] == told
    done = relstab(gpu, *MEASURE, "--provider=cuda", CUDA_VISIBLE_DEVICES=visible)
    assert done.returncode == 6
    assert told in done.stderr
