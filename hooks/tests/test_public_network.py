"""A published ImageNet network on photographs: what relstab shows it is what its authors showed it."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
from commands import output, record_of

MODELS = Path(__file__).parents[2] / "models"
#: ImageNet's classes: tiger cat, espresso, missile, palace, daisy.
KNOWN = {"chelsea.png": 282, "coffee.png": 967, "rocket.jpg": 657, "china.jpg": 698, "flower.jpg": 985}


def test_efficientnet_lite0_sees_what_its_own_preprocessing_shows(tmp_path: Path) -> None:
    output(sys.executable, MODELS / "efficientnet_lite0.py")
    sys.path.insert(0, str(MODELS))
    script: Any = import_module("efficientnet_lite0")

    images = ["--probe", script.PHOTOGRAPHS]
    logits = tmp_path / "logits.npy"
    output("relstab", "logits", script.NETWORK, *images, "--to", logits, "--format", "json")
    found = numpy.load(logits)
    photographs = sorted(script.PHOTOGRAPHS.iterdir())
    with torch.no_grad():
        expected = script.network()(torch.stack([script.preprocessed(path) for path in photographs])).numpy()
    # Pixels differ by a step of 8 bits at most, logits by a few percent of their spread.
    assert numpy.abs(found - expected).max() < 0.05 * expected.std()
    classes = {path.name: int(row.argmax()) for path, row in zip(photographs, found, strict=True)}
    assert {name: classes[name] for name in KNOWN} == KNOWN

    measured = record_of("measure", script.NETWORK, *images)
    assert measured["r_f"]["value"] < 0.5
    assert measured["probe"]["resize"] == "256" and measured["probe"]["crop"] == "224x224"
