"""Keeps the best network of six trainings of `--paper` in this repository, its weights in 16 bits.

    python models/zoo/keep.py [--state FOLDER]

FOLDER is where `models/zoo --paper` trains. Networks of several kinds are kept, not all networks: those would take 25 MB. Those named
`-plain` were trained without augmentation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from paper import SHARE, STATE, trainings

KEPT = Path(__file__).parent / "kept"
CHOSEN = ("fc6", "lenet", "alexnet", "vgg11_bn", "vgg11_bn-plain", "resnet18")
ALIKE = 0.99  # of the probe images get the same class


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with float weights in 16 bits, cast to 32 where it begins."""
    small = onnx.ModelProto.FromString(model.SerializeToString())
    casts = []
    for tensor in small.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.dims:
            name = tensor.name
            with np.errstate(over="raise"):
                half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(small.graph.node)
    del small.graph.node[:]
    small.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(small, full_check=True)
    return small


def alike(one: onnx.ModelProto, other: onnx.ModelProto, probe: Path) -> float:
    """The share of probe images that get the same class from both."""
    told = {prop.key: prop.value for prop in one.metadata_props}
    mean, std = (np.array(told[f"relstab.{key}"].split(","), float)[:, None, None] for key in ("mean", "std"))
    shown = ((np.load(probe)["images"] / 255 - mean) / std).astype(np.float32)
    sessions = [onnxruntime.InferenceSession(model.SerializeToString()) for model in (one, other)]
    answers = [session.run(None, {"images": shown})[0].argmax(1) for session in sessions]
    return float((answers[0] == answers[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=STATE, help="where the trainings are")
    state = parser.parse_args().state
    KEPT.mkdir(exist_ok=True)
    for job in trainings(SHARE, []):
        name = job.recipe.architecture + ("" if job.is_augmented else "-plain")
        if name not in CHOSEN:
            continue
        done = state / job.name / "done.json"
        if not done.exists():
            train = f"python models/zoo --paper --train-only --cifar10 FOLDER --out {state} --only {job.name}"
            raise SystemExit(f"{done}: no such file; train the network first: {train}")
        best = onnx.load(done.with_name(f"step={json.loads(done.read_text())['best_step']:06}.onnx"))
        small = halved(best)
        share = alike(best, small, state / "cifar10.npz")
        if share < ALIKE:
            raise SystemExit(
                f"{job.name}: with weights in 16 bits only {share:.1%} of the probe images get the same class"
            )
        onnx.save(small, KEPT / f"{name}.onnx")
        print(f"{job.name}: {share:.1%} of the probe images get the same class")


if __name__ == "__main__":
    main()
