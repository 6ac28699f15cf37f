"""Files of every version, size and purpose, through the command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from commands import record_of, run
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from test_preprocess import PHOTOGRAPHS
from torch import nn

Array = numpy.ndarray[Any, Any]

GENERATOR = numpy.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (60, 3, 16, 16), dtype=numpy.uint8)
CLASSES = 10
BACKENDS = ("onnxruntime", "tract")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "images.npz"
    numpy.savez(path, images=IMAGES, labels=numpy.arange(60) % CLASSES)
    return path


def measured(model: Path, probe: Path, *flags: object) -> dict[str, Any]:
    return record_of("measure", model, "--probe", probe, "--draws", 1, *flags)


def random(*shape: int) -> Array:
    return numpy.random.default_rng(1).standard_normal(shape).astype(numpy.float32) / 8


def save(path: Path, nodes: list[Any], weights: dict[str, Array], opset: int, output: list[int | str]) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    onnx.save(model, path)
    return path


def convolutional(path: Path, opset: int) -> Path:
    node = helper.make_node
    nodes = [
        node("Conv", ["images", "kernel"], ["conv"], strides=[2, 2]),
        node("Relu", ["conv"], ["relu"]),
        node("GlobalAveragePool", ["relu"], ["pool"]),
        node("Flatten", ["pool"], ["flat"]),
        node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    weights = {"kernel": random(8, 3, 3, 3), "weight": random(CLASSES, 8), "bias": random(CLASSES)}
    return save(path, nodes, weights, opset, ["batch", CLASSES])


def test_opsets(tmp_path: Path, probe: Path) -> None:
    values = set()
    newest = onnx.defs.onnx_opset_version()
    # The last ONNX Runtime for Python 3.10 is older.
    known = newest - 2 if sys.version_info >= (3, 11) else 23
    for opset in range(9, newest + 1):
        model = convolutional(tmp_path / f"opset_{opset}.onnx", opset)
        for backend in BACKENDS:
            result = run("relstab", "measure", model, "--probe", probe, "--format", "json", "--backend", backend)
            # What is newer than the engine is refused in its own words.
            if opset > known and result.returncode == 4:
                assert "opset" in result.stderr.lower(), result.stderr
                continue
            assert result.returncode == 0, (opset, backend, result.stderr)
            values.add(f"{json.loads(result.stdout)['r_f']['value']:.3g}")
    assert len(values) == 1, values


def test_a_network_over_2_gb(tmp_path: Path, probe: Path) -> None:
    """Ten rows of a table of 2.2 GB, nearly all of it a hole in the file, are the weights of a linear network."""
    node, rows = helper.make_node, 720_000
    weights = random(CLASSES, 768)
    nodes = [
        node("Gather", ["table", "first"], ["weight"], axis=0),
        node("Flatten", ["images"], ["flat"]),
        node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    small = {"table": weights, "first": numpy.arange(CLASSES)}
    expected = measured(save(tmp_path / "small.onnx", nodes, small, 17, ["batch", CLASSES]), probe)
    model = onnx.load(tmp_path / "small.onnx")
    (table,) = (tensor for tensor in model.graph.initializer if tensor.name == "table")
    table.ClearField("raw_data")
    table.dims[0] = rows
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "large.onnx.data"), ("offset", "0"), ("length", str(rows * 768 * 4))):
        table.external_data.add(key=key, value=value)
    onnx.save(model, tmp_path / "large.onnx")
    with (tmp_path / "large.onnx.data").open("wb") as file:
        file.write(weights.tobytes())
        # A file that ends in a hole is still being written.
        file.seek(rows * 768 * 4 - 4)
        file.write(bytes(4))
    for backend in BACKENDS:
        found = measured(tmp_path / "large.onnx", probe, "--backend", backend)
        assert found["model"]["bytes"] > 2 << 30
        assert found["r_f"]["value"] == pytest.approx(expected["r_f"]["value"], rel=1e-3)


def export(model: nn.Module, path: Path) -> Path:
    torch.onnx.export(
        model.eval(), (torch.zeros(2, 3, 16, 16),), str(path), verbose=False, dynamic_shapes=({0: "batch"},)
    )
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_classifier_has_an_r_f_and_no_prediction(tmp_path: Path, probe: Path, backend: str) -> None:
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 196, 64))
    maps = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    for name, network, reason in (
        ("embedding", embedding, "of 10 classes, the network has 64 outputs"),
        ("maps", maps, "16 x 16 x 16 is no vector of class logits"),
    ):
        path = export(network, tmp_path / f"{name}.onnx")
        found = measured(path, probe, "--law", "cifar10", "--force-law", "--backend", backend)
        assert found["r_f"] is not None and found["prediction"] is None
        assert any(reason in warning for warning in found["warnings"]), found["warnings"]
    assert found["model"]["outputs"] == 1024 and found["model"]["output_axes"] == [16, 16, 16]
    assert found["scores" if "scores" in found else "probe_error"] is None


def test_a_sequence_of_maps_is_refused(tmp_path: Path, probe: Path) -> None:
    digits = load_digits()
    classifier = MLPClassifier((8,), max_iter=3).fit(digits.data, digits.target)
    # Without zipmap=False, probabilities are a dictionary for each image.
    network = to_onnx(classifier, digits.data[:1].astype(numpy.float32))
    (tmp_path / "digits.onnx").write_bytes(network.SerializeToString())
    result = run("relstab", "measure", tmp_path / "digits.onnx", "--probe", probe)
    assert result.returncode == 4
    assert "a sequence or map" in result.stderr and "zipmap=False" in result.stderr


def test_rows_of_pixels_need_their_shape(tmp_path: Path) -> None:
    digits = load_digits()
    classifier = MLPClassifier((32,), max_iter=30, random_state=0).fit(digits.data, digits.target)
    options = {MLPClassifier: {"zipmap": False}}
    network = to_onnx(classifier, digits.data[:1].astype(numpy.float32), options=options)
    (tmp_path / "digits.onnx").write_bytes(network.SerializeToString())
    numpy.savez(tmp_path / "rows.npz", images=digits.data.astype(numpy.float32), labels=digits.target)
    numpy.savez(tmp_path / "bytes.npz", images=digits.images.astype(numpy.uint8), labels=digits.target)
    refused = run("relstab", "measure", tmp_path / "digits.onnx", "--probe", tmp_path / "rows.npz")
    assert refused.returncode == 3 and "--image-shape" in refused.stderr
    rows = measured(tmp_path / "digits.onnx", tmp_path / "rows.npz", "--image-shape", "1x8x8")
    assert rows["probe_error"] < 0.1
    # Bytes that mean themselves, not shares of 255.
    same = measured(tmp_path / "digits.onnx", tmp_path / "bytes.npz", "--preprocess", "rescale=1")
    assert same["r_f"]["value"] == pytest.approx(rows["r_f"]["value"], rel=1e-5)
    assert same["probe"]["rescale"] == 1.0


def test_doctor_shows_what_the_network_sees(tmp_path: Path, probe: Path) -> None:
    model = convolutional(tmp_path / "network.onnx", 17)
    seen = record_of("doctor", model, "--probe", probe, "--mean", 0.5, "--std", 0.25)["network"]
    assert seen["input"] == "images float32[?, 3, 16, 16]" and seen["outputs"] == ["logits float32[?, 10]"]
    assert seen["layout"] == "nchw" and seen["shape"] == [3, 16, 16]
    assert [round(channel["min"]) for channel in seen["channels"]] == [-2, -2, -2]
    assert 0 <= seen["probe_error"] <= 1 and len(seen["predictions"]) == 5
    assert seen["predictions"][0]["label"] is not None
    assert seen["cost"]["passes"] == 60 * 9 and seen["cost"]["seconds"] > 0 and seen["cost"]["bytes"] > 1 << 20
    text = run("relstab", "doctor", model, "--probe", probe).stdout
    for word in ("float32[?, 10]", "channel 2", "prediction", "probe error", "memory"):
        assert word in text, text


def test_a_dry_run_measures_nothing_and_a_budget_takes_less(tmp_path: Path, probe: Path) -> None:
    model = convolutional(tmp_path / "network.onnx", 17)
    dry = record_of("measure", model, "--probe", probe, "--dry-run")
    assert "r_f" not in dry and dry["cost"]["draws"] == 4
    found = record_of("measure", model, "--probe", probe, "--budget", "1m")
    assert (found["probe"]["images"], found["settings"]["draws"]) == (60, 4)
    short = run("relstab", "measure", model, "--probe", probe, "--budget", "1ms")
    assert short.returncode == 2 and "--budget" in short.stderr
    assert run("relstab", "measure", model, "--probe", probe, "--budget", "1m", "--precision", 0.1).returncode == 2


def test_only_the_chosen_of_50_000_images_are_decoded(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    photographs = []
    for number, path in enumerate(PHOTOGRAPHS):
        photographs.append(tmp_path / f"{number}.jpg")
        Image.open(path).convert("RGB").resize((224, 224)).save(photographs[-1], quality=90)
    for index in range(50_000):
        link = folder / f"class_{index % 100:03}" / f"{index:05}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(photographs[index % len(photographs)], link)
    perturb = ["perturb", "--probe", folder, "--to", tmp_path / "to", "--draws", 1, "--images", 500]
    assert run("relstab", *perturb).returncode == 0
    chosen = set(numpy.load(tmp_path / "to" / "index.npy").tolist())
    assert len(chosen) == 500
    # Every other one would fail if it were decoded.
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for place, path in enumerate(sorted(folder.glob("*/*.jpg"))):
        if place not in chosen:
            path.unlink()
            os.link(broken, path)
    node = helper.make_node
    nodes = [
        node("AveragePool", ["images"], ["pool"], kernel_shape=[16, 16], strides=[16, 16]),
        node("Flatten", ["pool"], ["flat"]),
        node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    model = save(tmp_path / "network.onnx", nodes, {"weight": random(CLASSES, 3 * 14 * 14)}, 17, ["batch", CLASSES])
    network = onnx.load(model)
    for axis in (2, 3):
        network.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 224
    onnx.save(network, model)
    command = [
        "relstab",
        "measure",
        model,
        "--probe",
        folder,
        "--backend",
        "tract",
        "--images",
        500,
        "--draws",
        1,
        "--threads",
        2,
    ]
    # 500 images are 75 MB; twice that while they are put in order, and the program itself.
    assert peak_bytes(command) < 300e6


def peak_bytes(command: list[object]) -> int:
    """Largest resident size of a command, told by a small parent: a process begins with that of its parent."""
    parent = "import os, sys; p = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:]); w = os.wait4(p, 0); "
    parent += "print(w[2].ru_maxrss, file=sys.stderr); sys.exit(w[1] != 0)"
    return 1024 * int(run(sys.executable, "-S", "-c", parent, *command).stderr.split()[-1])
