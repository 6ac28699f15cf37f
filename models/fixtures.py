"""Makes the small networks in tests/fixtures: what exporters really write, and what users get wrong.

pip install -r models/requirements.txt
python models/fixtures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

import onnx_file

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures"
BUNDLED = Path(__file__).parent / "fashion-mnist-cnn"
CHANNELS, SIDE, CLASSES = 3, 32, 10
Dims = list[int | str | None]


class Block(nn.Module):
    """A residual block with batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def resnet() -> nn.Module:
    """A residual network whose batch norms have seen some images."""
    torch.manual_seed(0)
    network = nn.Sequential(
        Block(CHANNELS, 8, 1),
        Block(8, 16, 2),
        Block(16, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )
    for _ in range(20):
        network(torch.randn(16, CHANNELS, SIDE, SIDE))
    return network.eval()


def export(name: str, batch: int | None, **options: Any) -> None:
    """The residual network through PyTorch's exporters; `batch` fixes its batch size."""
    example = (torch.zeros(batch or 2, CHANNELS, SIDE, SIDE),)
    path = str(FOLDER / name)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    if options.get("dynamo"):
        shapes = ({0: torch.export.Dim.DYNAMIC},) if batch is None else None
        torch.onnx.export(resnet(), example, path, dynamic_shapes=shapes, verbose=False, **names, **options)
        onnx.save(onnx_file.without_notes(onnx.load(path, load_external_data=False)), path)
    else:
        axes = {"images": {0: "batch"}, "logits": {0: "batch"}} if batch is None else None
        torch.onnx.export(resnet(), example, path, dynamic_axes=axes, **names, **options)


def weights(name: str, *shape: int) -> TensorProto:
    rng = np.random.default_rng(len(name))
    return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 8, name)


def number(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, np.float32), name)


def save(
    name: str,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, Dims],
    constants: list[TensorProto] | None = None,
    dims: Dims | None = None,
    kind: int = TensorProto.FLOAT,
    second_input: bool = False,
    output_kind: int = TensorProto.FLOAT,
) -> None:
    """A graph written by hand, opset 17."""
    image: Dims = ["batch", CHANNELS, SIDE, SIDE] if dims is None else dims
    inputs = [helper.make_tensor_value_info("images", kind, image)]
    if second_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 1]))
    values = [helper.make_tensor_value_info(key, output_kind, shape) for key, shape in outputs.items()]
    graph = helper.make_graph(nodes, name, inputs, values, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, FOLDER / f"{name}.onnx")


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def by_hand() -> None:
    """Ends, inputs and faults of every kind around one small convolution."""
    logits: dict[str, Dims] = {"logits": ["batch", CLASSES]}
    body = [
        node("Conv", "images kernel", "conv", strides=[4, 4]),
        node("Relu", "conv", "relu"),
        node("Flatten", "relu", "features"),
    ]
    head = [*body, node("MatMul", "features matrix", "logits")]
    constants = [weights("kernel", 4, CHANNELS, 4, 4), weights("matrix", 4 * 64, CLASSES)]
    scores: dict[str, Dims] = {"scores": ["batch", CLASSES]}

    save("plain", head, logits, constants)
    save("softmax", [*head, node("Softmax", "logits", "scores", axis=-1)], scores, constants)
    save("log_softmax", [*head, node("LogSoftmax", "logits", "scores", axis=1)], scores, constants)
    ending = [node("Softmax", "logits", "soft", axis=-1), node("Identity", "soft", "scores")]
    save("softmax_identity", [*head, *ending], scores, constants)
    spelled = [
        node("Exp", "logits", "e"),
        node("ReduceSum", "e axes", "sum", keepdims=1),
        node("Div", "e sum", "scores"),
    ]
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    save("softmax_spelled_out", [*head, *spelled], scores, [*constants, axes])
    save("two_outputs", head, {"relu": ["batch", 4, 8, 8], **logits}, constants)
    save("embedding_and_logits", head, {"features": ["batch", 256], **logits}, constants)
    save(
        "two_inputs",
        [*head[:-1], node("MatMul", "features matrix", "m"), node("Mul", "m mask", "logits")],
        logits,
        constants,
        second_input=True,
    )
    save("symbolic", head, logits, constants, dims=["n", "c", "h", "w"])
    nhwc = [
        node("Transpose", "images", "first", perm=[0, 3, 1, 2]),
        node("Conv", "first kernel", "conv", strides=[4, 4]),
        *head[1:],
    ]
    save("channels_last", nhwc, logits, constants, dims=["batch", SIDE, SIDE, CHANNELS])
    save(
        "integer_input",
        [
            node("Cast", "images", "float", to=TensorProto.FLOAT),
            node("Conv", "float kernel", "conv", strides=[4, 4]),
            *head[1:],
        ],
        logits,
        constants,
        kind=TensorProto.INT64,
    )
    half = [node("Cast", "images", "float", to=TensorProto.FLOAT), node("Conv", "float kernel", "conv", strides=[4, 4])]
    save("float16_input", [*half, *head[1:]], logits, constants, kind=TensorProto.FLOAT16)
    gray = [node("Conv", "images gray", "conv", strides=[4, 4]), *head[1:]]
    save("one_channel", gray, logits, [weights("gray", 4, 1, 4, 4), constants[1]], dims=["batch", 1, SIDE, SIDE])
    save(
        "rank_2_input",
        [node("MatMul", "images flat", "logits")],
        logits,
        [weights("flat", 3072, CLASSES)],
        dims=["batch", 3072],
    )
    labels = [*head, node("ArgMax", "logits", "label", axis=1, keepdims=0)]
    save("labels_only", labels, {"label": ["batch"]}, constants, output_kind=TensorProto.INT64)
    zero = [*head, node("Mul", "logits zero", "none"), node("Add", "none one", "same")]
    save("constant", zero, {"same": ["batch", CLASSES]}, [*constants, number("zero", 0), number("one", 1)])
    # The logarithm of a negative number, for images whose first logit is negative.
    faulty = [node("Log", "logits", "scores")]
    save("nan", [*head, *faulty], scores, constants)
    # The same for the darkest of the images only: log(mean - threshold), scaled down, plus the logits.
    dark = [
        node("ReduceMean", "images", "mean", axes=[1, 2, 3], keepdims=0),
        node("Sub", "mean threshold", "excess"),
        node("Log", "excess", "log"),
        node("Mul", "log small", "flag"),
        node("Unsqueeze", "flag last", "column"),
        node("Add", "logits column", "scores"),
    ]
    last = numpy_helper.from_array(np.array([1], np.int64), "last")
    save("nan_some", [*head, *dark], scores, [*constants, number("threshold", 0.4695), number("small", 0.001), last])
    huge = [node("Mul", "logits huge", "large"), node("Mul", "large huge", "scores")]
    save("infinite", [*head, *huge], scores, [*constants, number("huge", 1e38)])
    save("endless", endless(), logits, [weights("flat", 3072, CLASSES), *counters()])
    # 64 MiB for each image of the batch.
    fill = [
        *(node("Shape", "images", "shape"), node("Gather", "shape first", "rows"), node("Mul", "rows many", "count")),
        *(
            node("ConstantOfShape", "count", "ballast", value=numpy_helper.from_array(np.ones(1, np.float32))),
            node("ReduceMax", "ballast", "top"),
        ),
        node("Mul", "logits top", "scores"),
    ]
    sizes = [numpy_helper.from_array(np.array([n], np.int64), key) for key, n in (("first", 0), ("many", 1 << 24))]
    save("hungry", [*head, *fill], {"scores": ["batch", CLASSES]}, [*constants, *sizes])
    # A residual block among names with commas and markup, 16-bit floats, truths, infinities that come back, and shapes.
    odd = "<b>|`\n\u202e`"
    inside = [
        node("Conv", "images kernel", "conv", strides=[4, 4]),
        node("Relu", "conv", "relu"),
        node("Cast", "relu", "half", to=TensorProto.FLOAT16),
        node("Cast", "half", "single", to=TensorProto.FLOAT),
        node("Log", "single", "log"),
        node("Exp", "log", "back"),
        *(node("Greater", "back none", "some"), node("Where", "some back none", "chosen")),
        *(
            node("Conv", "chosen branch", "inner", pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["inner", "chosen"], ["a,b"]),
        ),
        helper.make_node("Relu", ["a,b"], [odd]),
        *(helper.make_node("Shape", [odd], ["shape"]), node("Gather", "shape first", "rows")),
        *(node("Concat", "rows rest", "sizes", axis=0), helper.make_node("Reshape", [odd, "sizes"], ["features"])),
        node("MatMul", "features matrix", "logits"),
    ]
    places = [numpy_helper.from_array(np.array([n], np.int64), key) for key, n in (("first", 0), ("rest", -1))]
    save("inside", inside, logits, [*constants, weights("branch", 4, 4, 3, 3), number("none", 0), *places])
    save(
        "linear",
        [node("Flatten", "images", "flatten"), node("MatMul", "flatten flat", "logits")],
        logits,
        [weights("flat", 3072, CLASSES)],
    )


def counters() -> list[TensorProto]:
    steps = numpy_helper.from_array(np.array(np.iinfo(np.int64).max, np.int64), "steps")
    return [steps, numpy_helper.from_array(np.array(True), "go")]


def endless() -> list[onnx.NodeProto]:
    """A loop that adds to the logits 2^63 times."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", "on", "still"), node("Add", "sum_in sum_in", "sum_out")],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("on", TensorProto.BOOL, []),
            value("sum_in", TensorProto.FLOAT, None),
        ],
        [value("still", TensorProto.BOOL, []), value("sum_out", TensorProto.FLOAT, None)],
    )
    first = [node("Flatten", "images", "flatten"), node("MatMul", "flatten flat", "begin")]
    return [*first, node("Loop", "steps go begin", "logits", body=body)]


class Calibration(CalibrationDataReader):
    """Images of the bundled probe set, which tell the ranges of activations."""

    def __init__(self) -> None:
        images = np.load(BUNDLED / "probe.npz")["images"][:200].reshape(-1, 1, 28, 28)
        scaled = (images.astype(np.float32) / 255 - 0.2860) / 0.3530
        self.batches = iter(np.split(scaled, 4))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def quantised() -> None:
    """The last checkpoint of the bundled run with convolutions in 8 bits, in both of ONNX's spellings."""
    for kind in (QuantFormat.QOperator, QuantFormat.QDQ):
        path = str(FOLDER / f"fashion_int8_{kind.name.lower()}.onnx")
        options: dict[str, Any] = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
        # tract knows no QGemm.
        options["op_types_to_quantize"] = ["Conv"]
        quantize_static(str(BUNDLED / "step=006000.onnx"), path, Calibration(), quant_format=kind, **options)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    export("resnet_dynamo.onnx", None, dynamo=True, external_data=False)
    export("resnet_external.onnx", None, dynamo=True, external_data=True)
    export("resnet_legacy.onnx", None, dynamo=False)
    export("resnet_fixed_1.onnx", 1, dynamo=True, external_data=False)
    export("resnet_fixed_4.onnx", 4, dynamo=False)
    by_hand()
    quantised()
    images = np.random.default_rng(0).integers(0, 256, (40, CHANNELS, 8, 8), np.uint8)
    smooth = images.repeat(4, axis=2).repeat(4, axis=3)
    np.savez_compressed(FOLDER / "images.npz", images=smooth, labels=np.arange(40) % CLASSES)


if __name__ == "__main__":
    main()
