"""Endings and beginnings of networks that the graph does not name: what is said of them, and what is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from commands import record_of, run
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static  # type: ignore[import-untyped]

RUN = Path(__file__).parents[2] / "models" / "fashion-mnist-cnn"
USUAL = ("--mean", "0.286", "--std", "0.353")
Array = numpy.ndarray[Any, Any]


def bundled() -> onnx.ModelProto:
    model = onnx.load(RUN / "step=000569.onnx")
    del model.metadata_props[:]
    return model


def ending(path: Path, nodes: Sequence[onnx.NodeProto], **weights: Array) -> Path:
    """The bundled network with more nodes behind its logits; the last makes `y`."""
    model = bundled()
    assert model.graph.output[0].name == "logits"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10]))
    onnx.save(model, path)
    return path


def measured(model: Path, probe: Path = RUN / "probe.npz", *flags: object, images: int = 200) -> dict[str, Any]:
    return record_of("measure", model, "--probe", probe, "--draws", 1, "--images", images, *USUAL, *flags)


def codes(record: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in record["findings"]}


def softmax_by_hand() -> list[onnx.NodeProto]:
    """Which the graph does not show."""
    return [
        helper.make_node("Exp", ["logits"], ["exps"]),
        helper.make_node("Einsum", ["exps"], ["sums"], equation="ij->i"),
        helper.make_node("Unsqueeze", ["sums", "last"], ["column"]),
        helper.make_node("Div", ["exps", "column"], ["y"]),
    ]


def test_a_network_near_chance_is_wrong_whatever_its_outputs_are(tmp_path: Path) -> None:
    images = numpy.load(RUN / "probe.npz")
    probe = tmp_path / "shuffled.npz"
    labels = numpy.random.default_rng(0).permutation(images["labels"])
    numpy.savez(probe, images=images["images"], labels=labels)
    last = numpy.array([1], numpy.int64)
    model = ending(tmp_path / "probabilities.onnx", softmax_by_hand(), last=last)
    assert {"near_chance", "squashed_outputs"} <= codes(measured(model, probe))
    assert "near_chance" not in codes(measured(model))


def test_another_preprocessing_is_judged_by_the_class_that_the_network_gives(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["logits"], ["p"], axis=1),
        helper.make_node("Sub", ["one", "p"], ["y"]),
    ]
    model = ending(tmp_path / "turned.onnx", nodes, one=numpy.array(1, numpy.float32))
    record = measured(model)
    session = onnxruntime.InferenceSession(model)
    images = numpy.load(RUN / "probe.npz")
    assert record["probe_error"] > 0.9
    for finding in record["findings"]:
        if finding["code"] == "preprocessing" and "--mean 0.5 --std 0.5" in finding["text"]:
            shown = ((images["images"][:, None] / 255 - 0.5) / 0.5).astype(numpy.float32)
            wrong = session.run(None, {session.get_inputs()[0].name: shown})[0].argmax(1) != images["labels"]
            pytest.fail(f"{finding['text']}; it errs on {wrong.mean():.1%}")


def test_small_logits_are_no_probabilities(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["logits", "small"], ["y"])]
    record = measured(ending(tmp_path / "small.onnx", nodes, small=numpy.array(1e-3, numpy.float32)))
    assert record["scores"]["invariance"] is not None


class Some(CalibrationDataReader):  # type: ignore[misc]
    """A few images, as the network gets them."""

    def __init__(self, name: str) -> None:
        shown = ((numpy.load(RUN / "probe.npz")["images"][:50, None] / 255 - 0.286) / 0.353).astype(numpy.float32)
        self.images = iter([{name: image[None]} for image in shown])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.images, None)


def test_a_network_that_rounds_its_images_says_so(tmp_path: Path) -> None:
    model = bundled()
    onnx.save(model, tmp_path / "floats.onnx")
    quantize_static(tmp_path / "floats.onnx", tmp_path / "bytes.onnx", Some(model.graph.input[0].name))
    told = [
        any("rounds images to 8 bits" in warning for warning in measured(tmp_path / f"{name}.onnx")["warnings"])
        for name in ("floats", "bytes")
    ]
    assert told == [False, True]


@pytest.mark.parametrize("backend", ["tract", "onnxruntime"])
def test_weights_behind_links_are_found(tmp_path: Path, backend: str) -> None:
    """As a hub's cache keeps them."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(
        bundled(), blobs / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=100
    )
    for name in ("model.onnx", "model.onnx_data"):
        (blobs / name).rename(blobs / name[6:])
        (snapshot / name).symlink_to(os.path.relpath(blobs / name[6:], snapshot))
    found = measured(snapshot / "model.onnx", RUN / "probe.npz", "--backend", backend)
    assert (
        found["probe_error"]
        == measured(RUN / "step=000569.onnx", RUN / "probe.npz", "--backend", backend)["probe_error"]
    )


def test_a_network_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path) -> None:
    model = bundled()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    kept = [attribute for attribute in conv.attribute if attribute.name != "strides"]
    del conv.attribute[:]
    conv.attribute.extend([*kept, helper.make_attribute("strides", [0, 0])])
    onnx.save(model, tmp_path / "model.onnx")
    result = run("relstab", "measure", tmp_path / "model.onnx", "--probe", RUN / "probe.npz", "--backend", "tract")
    assert result.returncode == 4, (result.returncode, result.stderr)
    assert result.stderr.splitlines()[-1].startswith("error: model "), result.stderr


def test_copies_are_found_wherever_they_lie(tmp_path: Path) -> None:
    images = numpy.load(RUN / "probe.npz")["images"][:50]
    numpy.savez(tmp_path / "copies.npz", images=numpy.tile(images, (4, 1, 1)))
    assert "identical_images" in codes(measured(RUN / "step=000569.onnx", tmp_path / "copies.npz"))


@pytest.mark.parametrize("setting", ["--draws=0", "--cutoff=0", "--delta=-1", "--precision=-5"])
def test_a_dry_run_refuses_what_nothing_can_be_measured_with(setting: str) -> None:
    result = run("relstab", "watch", RUN, "--dry-run", setting)
    assert result.returncode == 2, result.stderr
    assert setting.split("=")[0].lstrip("-") in result.stderr


def test_a_table_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    rows = [f"{error},{1 - error}" for error in (0.1, 0.15, 0.2, 0.25, 0.3)]
    (tmp_path / "known.csv").write_text("\n".join(["error,invariance_deformed", *rows]))
    table = tmp_path / "known.csv"
    once, twice = (
        run("relstab", "calibrate", *tables, "--side", 32, "--classes", 10) for tables in ([table], [table, table])
    )
    assert once.returncode == 0, once.stderr
    # The law and its spread; further down the sources are named.
    assert twice.stdout.splitlines()[:2] == once.stdout.splitlines()[:2]


def test_outputs_that_are_sorted_or_rounded_are_told_of(tmp_path: Path) -> None:
    largest = [helper.make_node("TopK", ["logits", "k"], ["y", "classes"])]
    found = measured(ending(tmp_path / "largest.onnx", largest, k=numpy.array([10])))
    assert "sorted_outputs" in codes(found) and "one_class" not in codes(found), codes(found)
    assert found["prediction"] is None
    whole = [helper.make_node("Mul", ["logits", "ten"], ["exact"]), helper.make_node("Round", ["exact"], ["y"])]
    found = measured(ending(tmp_path / "whole.onnx", whole, ten=numpy.array(10, numpy.float32)))
    assert "rounded_outputs" in codes(found), codes(found)
    assert not {"sorted_outputs", "rounded_outputs"} & codes(measured(RUN / "step=000569.onnx"))


@pytest.mark.parametrize("backend", ["tract", "onnxruntime"])
def test_a_network_that_squeezes_a_batch_of_one_is_measured(backend: str, tmp_path: Path) -> None:
    generator = numpy.random.default_rng(0)
    weights = {"w": (8, 1, 3, 3), "v": (8, 10)}
    floats = {name: generator.normal(size=shape).astype(numpy.float32) for name, shape in weights.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        # Every axis of size 1, as a bare squeeze() asks for.
        helper.make_node("Squeeze", ["p"], ["s"]),
        helper.make_node("MatMul", ["s", "v"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    kept = [numpy_helper.from_array(floats[name], name) for name in weights]
    graph = helper.make_graph(nodes, "squeezed", [image], [logits], kept)
    path = tmp_path / "squeezed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    found = measured(path, RUN / "probe.npz", "--backend", backend, images=41)
    assert any("takes 2 images at a time" in warning for warning in found["warnings"]), found["warnings"]


def integers_in_front(path: Path, kind: int) -> Path:
    """The bundled network behind a cast of integers and the normalisation of its training."""
    model = bundled()
    images = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["normal" if name == images else name for name in node.input]
    front = [
        helper.make_node("Cast", ["whole"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
    ]
    nodes = [*front, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, value in (("scale", 1 / 255 / 0.353), ("shift", -0.286 / 0.353)):
        model.graph.initializer.append(numpy_helper.from_array(numpy.array(value, numpy.float32), name))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("whole", kind, ["batch", 1, 28, 28]))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", ["tract", "onnxruntime"])
@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64])
def test_networks_of_integers_that_are_cast_are_given_floats(kind: int, backend: str, tmp_path: Path) -> None:
    model = integers_in_front(tmp_path / "whole.onnx", kind)
    flags = ("--probe", RUN / "probe.npz", "--draws", 1, "--format", "json", "--images", 200, "--backend", backend)
    result = run("relstab", "measure", model, *flags)
    assert result.returncode == 0, result.stderr
    plain = measured(RUN / "step=000569.onnx", RUN / "probe.npz", "--backend", backend)["r_f"]["value"]
    assert abs(json.loads(result.stdout)["r_f"]["value"] / plain - 1) < 1e-3


def test_integers_that_are_computed_with_are_refused(tmp_path: Path) -> None:
    path = integers_in_front(tmp_path / "network.onnx", TensorProto.INT64)
    model = onnx.load(path)
    table = numpy.linspace(0, 255, 256, dtype=numpy.float32)
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    model.graph.node[0].CopyFrom(helper.make_node("Gather", ["table", "whole"], ["floats"]))
    onnx.save(model, path)
    refused = run("relstab", "measure", path, "--probe", RUN / "probe.npz")
    assert refused.returncode == 4 and "int64" in refused.stderr, refused.stderr


def test_what_lies_in_the_place_of_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(bundled(), path, save_as_external_data=True, location="network.onnx.data", size_threshold=0)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (tmp_path / "network.onnx.data").write_text(pointer)
    flags = ("--probe", RUN / "probe.npz", *USUAL)
    assert "git lfs pull" in run("relstab", "measure", path, *flags).stderr
    (tmp_path / "network.onnx.data").unlink()
    assert "copy it there too" in run("relstab", "measure", path, *flags).stderr
