"""Measures networks with known errors on parts of their data sets: some of the classes only, and images of half the side.

    python models/public/groups.py FOLDER --relstab target/release/relstab

FOLDER is that of measure.py, and so are the columns of the table, groups.csv. A network is asked for some of its classes by leaving the
other logits out, and takes small images by enlarging them itself (bilinear). `error` is that on the images of the group, so it is known
less exactly than on a whole test set. Quantised networks are left out: what is put around them would not be.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path
from typing import Any

import measure
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

HERE = Path(__file__).parent
# Some classes of a data set; none: all of them on images of half the side.
GROUPS: dict[str, dict[str, list[int]]] = {
    "cifar10": {"animals": [2, 3, 4, 5, 6, 7], "vehicles": [0, 1, 8, 9], "pets": [3, 5], "cars": [1, 9], "half": []},
    "mnist": {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9], "3 and 5": [3, 5], "4 and 9": [4, 9], "half": []},
    "fashionmnist": {
        "tops": [0, 2, 3, 4, 6],
        "others": [1, 5, 7, 8, 9],
        "shirts": [0, 6],
        "shoes": [7, 9],
        "half": [],
    },
}

# Trained on squared error: outputs are near 0 and 1, and of some classes they do not add up to 1.
SQUARED = {"mnistfc_256x2"}


def initializer(name: str, values: npt.NDArray[Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(values, name)


def some_classes(model: onnx.ModelProto, classes: list[int], is_squared: bool) -> None:
    """The network with the logits of these classes alone."""
    graph = model.graph
    output = graph.output[0]
    logits = output.name
    if is_squared:
        logits = "logits"
        graph.initializer.append(initializer("least", np.array(1e-6, np.float32)))
        graph.node.append(helper.make_node("Max", [output.name, "least"], ["probabilities"]))
        graph.node.append(helper.make_node("Log", ["probabilities"], [logits]))
    for node in graph.node:
        # Probabilities of some classes do not add up to 1; their logarithms are logits.
        if output.name in node.output and node.op_type == "Softmax":
            node.op_type = "LogSoftmax"
    graph.initializer.append(initializer("classes of the group", np.array(classes, np.int64)))
    graph.node.append(helper.make_node("Gather", [logits, "classes of the group"], ["group"], axis=1))
    batch = output.type.tensor_type.shape.dim[0]
    size = batch.dim_value or batch.dim_param
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("group", onnx.TensorProto.FLOAT, [size, len(classes)]))


def half_side(model: onnx.ModelProto, channels: int, side: int) -> None:
    """The network for images of half its side."""
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    [image] = [given for given in graph.input if given.name not in held]
    sizes = image.type.tensor_type.shape.dim
    batch = sizes[0].dim_value or sizes[0].dim_param
    is_last = len(sizes) == 4 and sizes[3].dim_value == channels and sizes[1].dim_value != channels
    line = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    kernel = np.broadcast_to(np.outer(line, line), (channels, 1, 4, 4))
    small = [channels, side // 2, side // 2]
    # What the border lacks is taken from its own pixels, as in any resizing.
    pads = [0, 0, 1, 1, 0, 0, 1, 1]
    opset = next(own.version for own in model.opset_import if own.domain in ("", "ai.onnx"))
    graph.initializer.append(initializer("kernel of the group", np.ascontiguousarray(kernel)))
    if opset < 11:
        edge = helper.make_node("Pad", ["small"], ["padded"], mode="edge", pads=pads)
    else:
        graph.initializer.append(initializer("pads of the group", np.array(pads, np.int64)))
        edge = helper.make_node("Pad", ["small", "pads of the group"], ["padded"], mode="edge")
    enlarge = helper.make_node(
        "ConvTranspose", ["padded", "kernel of the group"], ["large"], group=channels, strides=[2, 2], pads=[3, 3, 3, 3]
    )
    if is_last:
        fit = helper.make_node("Transpose", ["large"], [image.name], perm=[0, 2, 3, 1])
    elif len(sizes) == 4:
        fit = helper.make_node("Identity", ["large"], [image.name])
    else:
        shape = np.array([-1, *(size.dim_value for size in sizes[1:])], np.int64)
        graph.initializer.append(initializer("shape of the group", shape))
        fit = helper.make_node("Reshape", ["large", "shape of the group"], [image.name])
    nodes = [edge, enlarge, fit, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("small", onnx.TensorProto.FLOAT, [batch, *small]))
    # Before IR version 4 weights stand among the inputs.
    model.ir_version = max(model.ir_version, 4)


def probe(source: Path, classes: list[int], target: Path) -> tuple[int, int]:
    """The images of some classes, or all of them at half the side; gives channels and the side they came with."""
    arrays = np.load(source)
    images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    channels, side = (1 if images.ndim == 3 else images.shape[-1]), images.shape[1]
    if classes:
        kept = np.isin(labels, classes)
        images, labels = images[kept], np.searchsorted(classes, labels[kept])
    else:
        blocks = images.reshape(len(images), side // 2, 2, side // 2, 2, -1).mean((2, 4))
        images = np.rint(blocks).astype(np.uint8).reshape(len(images), side // 2, side // 2, *images.shape[3:])
    np.savez(target, images=images, labels=labels)
    return channels, side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--relstab", default="relstab", help="the command")
    parser.add_argument("--pixels", default="original", help="of the images: original, or jpeg where they are copies")
    parser.add_argument("--out", type=Path, default=HERE / "groups.csv", help="the table")
    arguments = parser.parse_args()
    known = measure.read(arguments.out) if arguments.out.exists() else []
    done = {(row["name"], row["data_set"]): row for row in known}
    rows: dict[tuple[str, str], dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model_file, images = Path(folder) / "model.onnx", Path(folder) / "probe.npz"
        for about in measure.read(arguments.folder / "networks.csv"):
            if about["kind"] == "quantised":
                continue
            for group, classes in GROUPS[about["data_set"]].items():
                name = f"{about['data_set']}/{group}"
                if (row := done.get((about["name"], name))) and not row["refused"]:
                    rows[about["name"], name] = row
                    continue
                channels, side = probe(arguments.folder / measure.PROBES[about["data_set"]], classes, images)
                model = onnx.load(arguments.folder / about["name"] / "model.onnx")
                if classes:
                    some_classes(model, classes, about["name"] in SQUARED)
                else:
                    half_side(model, channels, side)
                onnx.save(model, model_file)
                found = measure.measured(arguments.relstab, model_file, images, shlex.split(about["options"]))
                error = found.get("probe_error")
                print(
                    about["name"], name, found.get("refused") or f"{error} {found['invariance_deformed']}", flush=True
                )
                source = f"{found.get('images')} images of the group"
                kept = {key: about.get(key) for key in measure.KEPT}
                changed = {"data_set": name, "pixels": arguments.pixels, "error": error, "error_source": source}
                rows[about["name"], name] = {**kept, **changed, **found}
                # What comes later in a table that is brought up to date stays in it.
                measure.write(arguments.out, list((done | rows).values()))
    measure.write(arguments.out, list(rows.values()))


if __name__ == "__main__":
    main()
