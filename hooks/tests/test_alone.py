"""Keras with each backend, and JAX: each in a process of its own. Keras takes one backend for good; TensorFlow,
which jax2onnx imports where it is installed, and PyTorch end a process that loads them in the wrong order."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import output


@pytest.mark.parametrize(("tests", "backend"), [("keras", "jax"), ("keras", "torch"), ("jax", "jax")])
def test_a_framework_alone(tests: str, backend: str) -> None:
    if backend == "jax" and find_spec("jax2onnx") is None:
        pytest.skip("jax2onnx needs Python 3.11")
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    script = Path(__file__).with_name(f"{tests}_alone.py")
    assert " passed" in output(sys.executable, "-m", "pytest", "--quiet", script, env=environment)
