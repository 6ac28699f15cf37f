"""What the scale of the logits does to EI: networks of a folder (as measure.py has it) measured with logits times 0.3, 1 and 3, and
at the temperature that fits the labels of the probe images best.

    python models/public/scale.py FOLDER NAME... --relstab target/release/relstab

A table in Markdown. Networks that end in a softmax are left out: the factor must come before it.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from measure import PROBES, measured, read
from onnx import TensorProto, helper, numpy_helper

FACTORS = (0.3, 1.0, 3.0)
Floats = npt.NDArray[np.float32]


def scaled(model: Path, factor: float, to: Path) -> Path:
    """The network with its logits times a factor."""
    network = onnx.load(model)
    graph = network.graph
    output = graph.output[0].name
    if any(node.op_type == "Softmax" and output in node.output for node in graph.node):
        raise SystemExit(f"{model.parent.name} ends in a softmax; leave it out")
    for node in graph.node:
        node.output[:] = [f"{name}_unscaled" if name == output else name for name in node.output]
        node.input[:] = [f"{name}_unscaled" if name == output else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.float32(factor), "the_factor"))
    graph.node.append(helper.make_node("Mul", [f"{output}_unscaled", "the_factor"], [output]))
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(network, to)
    return to


def logits(model: Path, images: Floats) -> Floats:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def temperature(found: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Which divides logits so that they fit the labels best."""

    def loss(by: float) -> float:
        z = found / by
        z = z - z.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]))

    return float(min(np.geomspace(0.1, 10, 201), key=loss))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--relstab", default="relstab", help="the command")
    arguments = parser.parse_args()
    print("| network | error | logits times | R_f | confidence | 1 - EI |\n|---|---|---|---|---|---|")
    for about in read(arguments.folder / "networks.csv"):
        if about["name"] not in arguments.names:
            continue
        probe, flags = arguments.folder / PROBES[about["data_set"]], shlex.split(about["options"])
        model = arguments.folder / about["name"] / "model.onnx"
        with np.load(probe) as arrays:
            images, labels = arrays["images"].astype(np.float32), arrays["labels"].astype(np.int64)
        mean, std = (
            np.array([float(v) for v in flags[flags.index(f"--{key}") + 1].split(",")]) for key in ("mean", "std")
        )
        shown = (images / 255 if images.max() > 1 else images).astype(np.float32)
        shown = ((shown - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
        best = 1 / temperature(logits(model, shown), labels)
        with tempfile.TemporaryDirectory() as folder:
            for factor, told in (*((factor, f"{factor:g}") for factor in FACTORS), (best, f"{best:.2f}, fitted")):
                found = measured(arguments.relstab, scaled(model, factor, Path(folder) / "model.onnx"), probe, flags)
                if "refused" in found:
                    raise SystemExit(str(found["refused"]))
                r_f, confidence, invariance = (
                    float(str(found[key])) for key in ("r_f", "confidence_clean", "invariance_deformed")
                )
                print(
                    f"| {about['name']} | {float(about['error']):.3f} | {told} | {r_f:.3f} | {confidence:.3f} | {1 - invariance:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
