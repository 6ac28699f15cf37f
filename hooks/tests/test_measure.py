"""Without a daemon: typed results, and the same R_f as from the framework's own forward passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
import torch
from numpy.typing import NDArray
from relstab.records import CheckReport
from torch import Tensor, nn
from training import Digits, network, train

Array = NDArray[Any]
SETTINGS: dict[str, Any] = {"draws": 3, "images": 150, "backend": "tract"}


def lower_median(values: Array) -> Array:
    """Over the first axis; the lower of the two middle values of an even count."""
    return numpy.asarray(numpy.sort(values, axis=0)[(len(values) - 1) // 2])


def r_f(forward: Any, perturbed: relstab.Perturbed) -> float:
    """The coordinate-median R_f, written down once more: medians over images and draws, summed over outputs."""
    clean = forward(perturbed.images)[:, None]
    changes = []
    for images in (perturbed.deformed, perturbed.noisy):
        outputs = forward(images.reshape(-1, *images.shape[2:])).reshape(*images.shape[:2], -1)
        squares = ((outputs - clean).astype(numpy.float64) ** 2).reshape(-1, clean.shape[-1])
        changes.append(lower_median(squares).sum())
    return float(changes[0] / changes[1])


def torch_forward(model: nn.Module) -> Any:
    def forward(images: Array) -> Array:
        with torch.no_grad():
            return numpy.asarray(model.eval()(torch.from_numpy(images)))

    return forward


@pytest.fixture(scope="module")
def trained(digits: Digits) -> nn.Module:
    kept: list[nn.Module] = []

    def keep(model: nn.Module, *_: object) -> bool:
        kept.append(model)
        return False

    train(digits, 3, keep)
    return kept[0]


def test_r_f_is_that_of_the_frameworks_own_passes(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits.probe
    measured = relstab.measure(trained, images, labels, **SETTINGS)
    perturbed = relstab.perturb(images, labels, draws=3, images=150)
    assert perturbed.deformed.shape == perturbed.noisy.shape == (150, 3, 1, 8, 8)
    assert numpy.array_equal(perturbed.images, numpy.asarray(images)[perturbed.index])
    assert measured.r_f is not None
    assert measured.r_f.low < measured.r_f.value < measured.r_f.high
    assert r_f(torch_forward(trained), perturbed) == pytest.approx(measured.r_f.value, rel=1e-3)
    scores = measured.raw["scores"]
    for kind, shown in (("deformed", perturbed.deformed), ("noisy", perturbed.noisy)):
        logits = torch.from_numpy(torch_forward(trained)(shown.reshape(-1, 1, 8, 8)))
        clean = torch.from_numpy(torch_forward(trained)(perturbed.images)).repeat_interleave(3, 0)
        classes, same = clean.argmax(1), clean.argmax(1) == logits.argmax(1)
        both = (clean.softmax(1).amax(1) * logits.softmax(1).amax(1)).sqrt()
        invariance = scores["invariance"][kind]
        assert invariance["value"] == pytest.approx(float((both * same).mean()), rel=1e-4)
        assert invariance["low"] < invariance["value"] < invariance["high"]
        assert scores["confidence"][kind] == pytest.approx(float(logits.softmax(1).amax(1).mean()), rel=1e-4)
        assert scores["agreement"][kind] == pytest.approx(float((logits.argmax(1) == classes).float().mean()))
    moved = numpy.linalg.norm((perturbed.deformed - perturbed.images[:, None]).reshape(150, 3, -1), axis=2)
    added = numpy.linalg.norm((perturbed.noisy - perturbed.images[:, None]).reshape(150, 3, -1), axis=2)
    assert numpy.allclose(moved, added, rtol=1e-4)


def test_arrays_tensors_and_files_are_one(trained: nn.Module, digits: Digits, tmp_path: Path) -> None:
    images, _ = digits.probe
    model = tmp_path / "model.onnx"
    from relstab.torch import Exporter

    model.write_bytes(Exporter(images).snapshot(trained)())
    numpy.save(tmp_path / "images.npy", images.numpy())
    results = [
        relstab.measure(model, images, **SETTINGS),
        relstab.measure(str(model), images.numpy(), **SETTINGS),
        relstab.measure(model.read_bytes(), tmp_path / "images.npy", **SETTINGS),
        relstab.measure(trained, images, **SETTINGS),
    ]
    assert len({result.r_f for result in results}) == 1
    assert results[0].raw["probe"]["sha256"] == results[3].raw["probe"]["sha256"]


def test_bytes_are_normalised_as_options_say(trained: nn.Module, digits: Digits) -> None:
    scaled = (digits.images[1200:1400] * 255).to(torch.uint8)
    perturbed = relstab.perturb(scaled, draws=1, mean=[0.5], std=0.25)
    expected = (scaled.numpy()[perturbed.index] / 255 - 0.5) / 0.25
    assert numpy.allclose(perturbed.images, expected, atol=1e-5)


def test_check_says_what_holds(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits.probe
    good = relstab.check(trained, images, labels, max_rf=50.0, max_probe_error=0.5, **SETTINGS)
    assert good
    assert [check.verdict for check in good.checks] == ["holds", "holds"]
    bad = relstab.check(trained, images, max_rf=0.001, **SETTINGS)
    assert not bad
    assert bad.verdict == "falls_short"
    untold = relstab.check(trained, images, max_predicted_error=0.5, **SETTINGS)
    assert not untold
    assert untold.error is not None
    assert "law invariance" in untold.error


def test_labels_in_another_order_are_a_finding(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits.probe
    good = relstab.measure(trained, images, labels, **SETTINGS)
    assert not [finding for finding in good.findings if finding.severity == "wrong"]
    assert good.warnings == [finding.text for finding in good.findings]
    shifted = relstab.measure(trained, images, (labels + 1) % 10, **SETTINGS)
    (wrong,) = [finding for finding in shifted.findings if finding.severity == "wrong"]
    assert wrong.code == "class_order"
    assert wrong.help


def test_fields_that_a_newer_command_adds_are_passed_over(trained: nn.Module, digits: Digits) -> None:
    def newer(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: newer(item) for name, item in value.items()} | {"added": 1}
        return [newer(item) for item in value] if isinstance(value, list) else value

    measured = relstab.measure(trained, digits.images, law="cifar10", force_law=True, **SETTINGS)
    assert measured.prediction is not None
    assert measured.prediction.law == "cifar10"
    limit = {"quantity": "r_f", "max": 0.5, "value": 0.25, "low": None, "high": None, "verdict": "holds"}
    report = {"verdict": "holds", "checks": [limit], "measurement": measured.raw}
    expected, read = CheckReport.of(report), CheckReport.of(newer(report))
    assert read.measurement is not None
    assert replace(read, measurement=replace(read.measurement, raw=measured.raw)) == expected


def test_what_cannot_be_measured_says_why(digits: Digits, tmp_path: Path) -> None:
    images = digits.images[:50]
    with pytest.raises(relstab.RelstabError, match="no such file|open failed|No such file") as error:
        relstab.measure(tmp_path / "missing.onnx", images)
    assert error.value.code == 10
    with pytest.raises(relstab.RelstabError, match="cutoff"):
        relstab.measure(network(), images, cutoff=1)
    with pytest.raises(relstab.RelstabError, match="unexpected argument"):
        relstab.measure(network(), images, no_such_option=1)
    with pytest.raises(TypeError, match="found"):
        relstab.measure(object(), images)


def test_a_constant_network_is_undefined_and_no_error(digits: Digits) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3)) * 0 + torch.arange(10.0)

    measured = relstab.measure(Constant(), digits.images[:50], **SETTINGS | {"images": 50})
    assert measured.r_f is None
    assert measured.raw["undefined"]["reason"]
