"""JAX: checkpoints of `flax.nnx.Module`s, or of the weights of any function.

monitor = relstab.jax.Monitor("runs/today", probe=test_images, forward=lambda weights, images: net.apply(weights, images))
relstab.start("runs/today")
...
    monitor.checkpoint(weights, step=step, val_error=error)
    if monitor.should_stop(): break
monitor.close()
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax2onnx
import numpy
import onnx
from jax.experimental import multihost_utils
from jax.extend.core import jaxpr_as_fun
from numpy.typing import NDArray

from . import exporter, monitor
from .exporter import Failures, examples, forward_of, hold_to, random_numbers_kept
from .images import images_of
from .native import matched, orbax_tree, place_of

_log = logging.getLogger("relstab")

#: `forward(model, images)` gives logits, as in evaluation.
Forward = Callable[[Any, Any], Any]


class Monitor(monitor.Monitor):
    """A [`relstab.Monitor`] whose `checkpoint` takes a `flax.nnx.Module`, or whatever pytree of weights `forward` takes.

    `forward(weights, images)`: the logits, as in evaluation; may be left out for modules, which are then called with
    images. `example`: a few input images, by default the first of `probe`. Of several processes the first exports; every one must call
    `should_stop`, and all hear the same.
    """

    def __init__(
        self,
        run_dir: Any,
        *,
        forward: Forward | None = None,
        example: object = None,
        probe: object = None,
        exporter: exporter.Exporter | None = None,
        **settings: Any,
    ) -> None:
        exporter = exporter or Exporter(images_of(example, probe), forward)
        super().__init__(run_dir, exporter=exporter, probe=probe, active=jax.process_index() == 0, **settings)

    def should_stop(self) -> bool:
        """Whether a rule has said so; the same in every process at the same call."""
        stops = super().should_stop()
        if jax.process_count() == 1:
            return stops
        return bool(multihost_utils.broadcast_one_to_all(numpy.int32(stops)))


def restored(network: Any, checkpoint: Path, images: object) -> tuple[Exporter, Any, dict[str, object]]:
    """A `flax.nnx.Module`, or a pair of weights and `forward`, with the weights of a checkpoint of Orbax, Flax or safetensors; how it is
    exported; the step that the checkpoint tells."""
    tree = _read(checkpoint)
    if isinstance(network, tuple):
        weights, forward = network
        return Exporter(images, forward), _refilled(weights, tree, checkpoint), place_of(tree)
    from flax import nnx

    state = nnx.to_pure_dict(nnx.state(network, nnx.Not(nnx.RngState)))
    nnx.update(network, _refilled(state, tree, checkpoint))
    return Exporter(images), network, place_of(tree)


def _refilled(weights: Any, tree: Any, checkpoint: Path) -> Any:
    """The same pytree with the values that a checkpoint has."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(weights)
    shapes = {jax.tree_util.keystr(path, simple=True, separator="."): numpy.shape(leaf) for path, leaf in leaves}
    found = matched(shapes, tree, checkpoint)
    return jax.tree.unflatten(structure, [found[name] for name in shapes])


def _read(checkpoint: Path) -> Any:
    if checkpoint.is_dir():
        return orbax_tree(checkpoint)
    if checkpoint.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(checkpoint)
    from flax.serialization import msgpack_restore

    return msgpack_restore(checkpoint.read_bytes())


class Exporter:
    """Traces `forward` once, with the weights as inputs; a checkpoint is that graph with their values.

    The first file is compared with `forward`'s own logits. Another structure, or other shapes, are a trace of their own.
    """

    def __init__(self, images: object, forward: Forward | None = None) -> None:
        self._images, self._forward = images, forward
        self._trace: _Trace | None = None
        self._failures = Failures()

    def snapshot(self, model: Any) -> Callable[[], bytes]:
        leaves, structure, rebuild = _taken_apart(model)
        weights = {index: _copied(leaf) for index, leaf in enumerate(leaves) if _is_weight(leaf)}
        kind = (structure, {index: array.shape for index, array in weights.items()})
        trace = self._trace
        if trace is None or trace.kind != kind:
            forward = self._forward or _called(model)

            def logits(images: Any, *values: Any) -> Any:
                replaced = dict(zip(weights, values, strict=True))
                parts = [replaced.get(index, leaf) for index, leaf in enumerate(leaves)]
                return jax.tree.leaves(forward(rebuild(parts), images))[0]

            with self._failures.trying(kind):
                trace = self._trace = _Trace(kind, logits, weights, examples(self._images))
        return lambda: trace.filled(weights)


class _Trace:
    """An ONNX graph of a function, and which of its initialisers are weights."""

    def __init__(
        self,
        kind: object,
        function: Callable[..., Any],
        weights: Mapping[int, NDArray[Any]],
        images: NDArray[Any],
    ) -> None:
        self.kind = kind
        with random_numbers_kept(), _quiet():
            with forward_of(images):
                expected = numpy.asarray(jax.jit(function)(images, *weights.values()), numpy.float32)
            self._network = _export(function, list(weights.values()), images.shape[1:])
        self._trial: tuple[NDArray[Any], NDArray[Any]] | None = (images, expected)
        graph = self._network.graph
        self._slots = [
            graph.initializer.add(name=f"weights.{place}", data_type=onnx.TensorProto.FLOAT, dims=array.shape)
            for place, array in enumerate(weights.values())
        ]
        # An initialiser that is no input is a constant, which engines fold.
        del graph.input[1:]

    def filled(self, weights: Mapping[int, NDArray[Any]]) -> bytes:
        """The ONNX file's bytes with these weights; the first call compares their logits."""
        for slot, array in zip(self._slots, weights.values(), strict=True):
            slot.raw_data = array.tobytes()
        network = bytes(self._network.SerializeToString())
        if self._trial is not None:
            hold_to(network, *self._trial, "JAX")
            self._trial = None
        return network


def _export(function: Callable[..., Any], weights: Sequence[NDArray[Any]], image: tuple[int, ...]) -> onnx.ModelProto:
    # Traced here: jax2onnx traces with functions of JAX replaced by its own, which stay in the caches of every jitted function
    # on the way, and break the training that calls it next.
    def traced(batch: Any) -> tuple[Any, list[Any]]:
        shapes = [(batch, *image), *(array.shape for array in weights)]
        inputs = [jax.ShapeDtypeStruct(shape, numpy.float32) for shape in shapes]
        return jax.make_jaxpr(function)(*inputs), inputs

    try:
        program, inputs = traced(*jax.export.symbolic_shape("batch"))
    except Exception as error:  # noqa: BLE001 - whatever a function throws that wants to count its images
        _log.debug("traced for one image at a time: %s", error)
        program, inputs = traced(1)
    names = ["images", *(f"weights.{index}" for index in range(len(weights)))]
    network: onnx.ModelProto = jax2onnx.to_onnx(
        jaxpr_as_fun(program), inputs=inputs, input_names=names, output_names=["logits"], return_mode="proto"
    )
    _pool_over_pixels(network.graph)
    return network


def _pool_over_pixels(graph: onnx.GraphProto) -> None:
    """Max pooling over pixels where jax2onnx writes it over all axes, images and channels too, as no engine takes it."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        settings: dict[str, Any] = {item.name: list(item.ints) for item in node.attribute}
        axes = len(settings.get("kernel_shape", ()))
        if node.op_type != "MaxPool" or axes < 4:
            nodes.append(node)
            continue
        is_last = settings["kernel_shape"][-1] == settings["strides"][-1] == 1
        to = [0, axes - 1, *range(1, axes - 1)] if is_last else list(range(axes))
        back = [to.index(axis) for axis in range(axes)]
        # Begins of all axes, then ends; the first two are now images and channels.
        ends = [axis + axes for axis in to]
        settings = {
            name: [values[axis] for axis in (to[2:] + ends[2:] if name == "pads" else to[2:])]
            for name, values in settings.items()
            if values
        }
        (given,), (result,) = node.input, node.output
        graph.initializer.append(onnx.numpy_helper.from_array(numpy.array([0, 1]), f"{result}.axes"))
        nodes += [
            onnx.helper.make_node("Squeeze", [given, f"{result}.axes"], [f"{result}.images"]),
            onnx.helper.make_node("Transpose", [f"{result}.images"], [f"{result}.first"], perm=to),
            onnx.helper.make_node("MaxPool", [f"{result}.first"], [f"{result}.pooled"], **settings),
            onnx.helper.make_node("Transpose", [f"{result}.pooled"], [f"{result}.last"], perm=back),
            onnx.helper.make_node("Unsqueeze", [f"{result}.last", f"{result}.axes"], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _taken_apart(model: Any) -> tuple[list[Any], object, Callable[[list[Any]], Any]]:
    """Leaves, what tells structures apart, and how the model is made of (other) leaves again."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(model, nnx.Module):
        leaves, structure = jax.tree.flatten(model)
        return leaves, structure, lambda parts: jax.tree.unflatten(structure, parts)
    definition, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(state)

    def rebuild(parts: list[Any]) -> Any:
        module = nnx.merge(definition, jax.tree.unflatten(structure, parts))
        module.eval()
        return module

    return leaves, (definition, structure), rebuild


def _called(model: Any) -> Forward:
    if not callable(model):
        raise TypeError(f"expected a flax.nnx.Module, or forward= for weights, found {type(model)}")
    return lambda module, images: module(images)


def _is_weight(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)


def _copied(array: Any) -> NDArray[Any]:
    """On the host: the training may give its buffers away."""
    return numpy.array(array, numpy.float32)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a line for every value whose type the exporter leaves open."""
    log = logging.getLogger("onnx_ir.serde")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
