"""R_f of the files that exporters of many frameworks write is that of each framework's own forward passes; also a
program, for frameworks that must run alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
import torch
from commands import output
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from test_measure import Array, r_f
from torch import Tensor, nn

Forward = Callable[[Array], Array]

SIDE, CLASSES = 16, 10
IMAGES = numpy.random.default_rng(0).random((200, 3, SIDE, SIDE), dtype=numpy.float32)
SETTINGS: dict[str, Any] = {"draws": 2, "images": 150}


@dataclass(frozen=True)
class Case:
    """`build` writes the file, and returns the framework's own passes: images [n, c, y, x] to logits [n, 10]."""

    build: Callable[[Path], Forward]
    images: Array = field(default_factory=lambda: IMAGES)
    options: Mapping[str, Any] = field(default_factory=dict)
    #: tract multiplies matrices of no other floats than of 32 bits.
    backends: tuple[str, ...] = ("onnxruntime", "tract")
    #: What it needs that is not there for every Python; with it, it runs in a process of its own.
    alone: tuple[str, ...] = ()


def keras_network() -> Any:
    """Without MaxPooling2D and gelu: JAX's exporter writes the one, TensorFlow's the other, as no engine takes it."""
    keras: Any = import_module("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, padding="same", activation="silu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(CLASSES),
        ]
    )
    # Keras exports nothing that was never called.
    network(numpy.zeros((1, SIDE, SIDE, 3), numpy.float32))
    return network


def keras(backend: str) -> Callable[[Path], Forward]:
    def build(path: Path) -> Forward:
        os.environ["KERAS_BACKEND"] = backend
        network = keras_network()
        network.export(str(path), format="onnx", verbose=False)
        to_numpy = import_module("keras").ops.convert_to_numpy
        return lambda images: numpy.asarray(to_numpy(network(channels_last(images), training=False)))

    return build


def tf2onnx(path: Path) -> Forward:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    tensorflow: Any = import_module("tensorflow")
    network = keras_network()
    signature = [tensorflow.TensorSpec([None, SIDE, SIDE, 3], tensorflow.float32, name="images")]
    function = tensorflow.function(lambda images: network(images, training=False), input_signature=signature)
    import_module("tf2onnx").convert.from_function(function, input_signature=signature, output_path=str(path))
    return lambda images: numpy.asarray(function(tensorflow.constant(channels_last(images))))


def jax2onnx(path: Path) -> Forward:
    nnx: Any = import_module("flax.nnx")
    seed = nnx.Rngs(0)
    network = nnx.Sequential(
        nnx.Conv(3, 8, (3, 3), strides=2, rngs=seed),
        nnx.BatchNorm(8, use_running_average=True, rngs=seed),
        nnx.gelu,
        nnx.Conv(8, 16, (3, 3), strides=2, rngs=seed),
        nnx.relu,
        lambda values: values.reshape(values.shape[0], -1),
        nnx.Linear(256, CLASSES, rngs=seed),
    )
    import_module("jax2onnx").to_onnx(network, [("B", SIDE, SIDE, 3)], output_path=str(path), return_mode="file")
    return lambda images: numpy.asarray(network(channels_last(images)))


def channels_last(images: Array) -> Array:
    return numpy.ascontiguousarray(images.transpose(0, 2, 3, 1))


def digits() -> Array:
    """Values from 0 to 16, as scikit-learn has them."""
    return numpy.asarray(load_digits().images, numpy.float32)[1200:, None]


def scikit_learn(path: Path) -> Forward:
    data = load_digits()
    features = data.data[:1200].astype(numpy.float32)
    network = MLPClassifier((32, 16), random_state=0, max_iter=50, tol=1.0).fit(features, data.target[:1200])
    exported = import_module("skl2onnx").to_onnx(network, features[:1], options={"zipmap": False})
    path.write_bytes(exported.SerializeToString())

    def forward(images: Array) -> Array:
        values = images.reshape(len(images), -1)
        for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            values = numpy.maximum(values @ weights + bias, 0)
        return numpy.asarray(values @ network.coefs_[-1] + network.intercepts_[-1])

    return forward


class Convolutions(nn.Module):
    """The features, and the head on them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(256, CLASSES)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


class TwoOutputs(Convolutions):
    def forward(self, images: Tensor) -> Any:
        features = self.body(images)
        return features, self.head(features)


class Within(Convolutions):
    """Takes and gives half precision, computes in full: ONNX Runtime has no bfloat16 convolution for the CPU."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float()).to(images.dtype)


def fully_connected() -> nn.Module:
    """ONNX Runtime has no float64 convolution for the CPU either."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 64), nn.ReLU(), nn.Linear(64, CLASSES)).eval()


def fully_convolutional() -> nn.Module:
    """Logits [n, 10, 1, 1]."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, CLASSES, 3, stride=2), nn.ReLU())
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(CLASSES, CLASSES, 1)).eval()


def export(
    network: nn.Module,
    path: Path,
    dtype: torch.dtype = torch.float32,
    outputs: tuple[str, ...] = ("logits",),
    batch: int | None = None,
) -> None:
    torch.onnx.export(
        network,
        (torch.zeros(batch or 2, 3, SIDE, SIDE, dtype=dtype),),
        str(path),
        input_names=["images"],
        output_names=list(outputs),
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) if batch is None else None,
        verbose=False,
    )


def pytorch(
    network: Callable[[], nn.Module],
    dtype: torch.dtype = torch.float32,
    outputs: tuple[str, ...] = ("logits",),
    batch: int | None = None,
) -> Callable[[Path], Forward]:
    def build(path: Path) -> Forward:
        model = network()
        export(model, path, dtype, outputs, batch)

        def forward(images: Array) -> Array:
            with torch.no_grad():
                found = model(torch.from_numpy(images).to(dtype))
            return numpy.asarray((found[-1] if len(outputs) > 1 else found).flatten(1).float())

        return forward

    return build


def quantized(path: Path, reduce_range: bool = True) -> Forward:
    """ONNX Runtime's static INT8, QuantizeLinear and DequantizeLinear around each layer.

    Weights of 7 bits: processors with AVX2 and without VNNI add pairs of products of 8 bits in 16 bits, where weights of 8
    bits overflow (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). The fused kernels of
    ONNX Runtime then compute another network than the file holds.
    """
    onnxruntime: Any = import_module("onnxruntime")
    quantization: Any = import_module("onnxruntime.quantization")
    floats = path.with_name("float.onnx")
    export(Convolutions(), floats)
    quantization.quantize_static(
        str(floats),
        str(path),
        reader(quantization.CalibrationDataReader, IMAGES[:64]),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
    )
    settings = onnxruntime.SessionOptions()
    if not reduce_range:
        # As the file says: the fused kernels come with the extended optimisations.
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda images: numpy.asarray(session.run(None, {"images": images})[0])


def reader(base: Any, images: Array) -> Any:
    batches = iter([{"images": images}])
    return type("Reader", (base,), {"get_next": lambda self: next(batches, None)})()


CASES: dict[str, Case] = {
    "keras_torch": Case(keras("torch"), alone=("keras",)),
    "keras_tensorflow": Case(keras("tensorflow"), alone=("keras", "tensorflow", "tf2onnx")),
    "keras_jax": Case(keras("jax"), alone=("keras", "jax2onnx")),
    "tf2onnx": Case(tf2onnx, alone=("keras", "tensorflow", "tf2onnx")),
    "jax2onnx": Case(jax2onnx, alone=("flax", "jax2onnx")),
    "scikit_learn": Case(scikit_learn, images=digits()),
    "quantized": Case(quantized),
    # Which fused kernels overflow depends on the processor: what ONNX Runtime makes of this one is not asserted.
    "quantized_8_bits": Case(partial(quantized, reduce_range=False), backends=("tract",)),
    "float16": Case(pytorch(lambda: Convolutions().half(), torch.float16), backends=("onnxruntime",)),
    "bfloat16": Case(pytorch(Within, torch.bfloat16), backends=("onnxruntime",)),
    "float64": Case(pytorch(lambda: fully_connected().double(), torch.float64), backends=("onnxruntime",)),
    "rank_4": Case(pytorch(fully_convolutional)),
    "two_outputs": Case(pytorch(TwoOutputs, outputs=("features", "logits")), options={"output": "logits"}),
    "batch_1": Case(pytorch(Convolutions, batch=1)),
}


@pytest.mark.parametrize("name", CASES)
def test_r_f_of_the_file_is_that_of_the_frameworks_own_passes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    missing = [module for module in case.alone if find_spec(module) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    perturbed = relstab.perturb(case.images, **SETTINGS)
    model = tmp_path / "model.onnx"
    forward = alone(name, tmp_path, perturbed) if case.alone else case.build(model)
    expected = r_f(forward, perturbed)
    for backend in case.backends:
        measured = relstab.measure(model, case.images, backend=backend, **SETTINGS, **case.options).r_f
        assert measured is not None
        assert measured.value == pytest.approx(expected, rel=1e-3), backend


def alone(name: str, folder: Path, perturbed: relstab.Perturbed) -> Forward:
    """Builds in another process, and has it compute what `r_f` will ask for, in the order in which it asks."""
    shape = perturbed.images.shape[1:]
    asked = (perturbed.images, perturbed.deformed.reshape(-1, *shape), perturbed.noisy.reshape(-1, *shape))
    numpy.save(folder / "images.npy", numpy.concatenate(asked))
    output(sys.executable, __file__, name, folder, env=quiet())
    logits: Iterator[Array] = iter(numpy.load(folder / "logits.npy"))
    return lambda images: numpy.stack(list(islice(logits, len(images))))


def quiet() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


if __name__ == "__main__":
    _, name, folder = sys.argv
    forward = CASES[name].build(Path(folder) / "model.onnx")
    numpy.save(Path(folder) / "logits.npy", forward(numpy.load(Path(folder) / "images.npy")))
