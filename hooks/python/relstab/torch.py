"""PyTorch: checkpoints of `torch.nn.Module`s, in a plain loop or a distributed one.

monitor = relstab.torch.Monitor("runs/today", probe=test_images, stop={"monitor": "val_error", "patience": 5})
relstab.start("runs/today")
...
    monitor.checkpoint(network, step=step, val_error=error)
    if monitor.should_stop(): break
monitor.close()
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import exporter, monitor
from ._command import RelstabError, is_first_rank
from .exporter import Failures, examples, forward_of, hold_to, random_numbers_kept
from .gather import gathered, tensors_of, unwrapped
from .images import images_of
from .native import file_in, matched, place_in, place_of

if TYPE_CHECKING:
    import onnx

_log = logging.getLogger("relstab")

#: Files of weights in a checkpoint's folder, the first that is there.
_FILES = ("model.safetensors", "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")


class Monitor(monitor.Monitor):
    """A [`relstab.Monitor`] whose `checkpoint` takes a `torch.nn.Module`, wrapped, compiled or distributed.

    `example`: a few input images, [image, channel, y, x], to trace the network with; by default the first of `probe`. With `torch.distributed`, rank 0
    exports, every rank must call `checkpoint` and `should_stop`, and all hear the same. Weights that FSDP or tensor
    parallelism spreads over the ranks are gathered on the CPU.
    """

    def __init__(
        self,
        run_dir: Any,
        *,
        example: object = None,
        probe: object = None,
        exporter: exporter.Exporter | None = None,
        **settings: Any,
    ) -> None:
        exporter = exporter or Exporter(images_of(example, probe))
        super().__init__(run_dir, exporter=exporter, probe=probe, active=_is_first(), **settings)

    def _whole(self, model: Any) -> Any:
        return gathered(model) if _is_distributed() else model

    def should_stop(self) -> bool:
        """Whether a rule has said so; the same on every rank at the same call."""
        stops = super().should_stop()
        if not _is_distributed():
            return stops
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        told = torch.tensor([stops], dtype=torch.int32, device=device)
        torch.distributed.broadcast(told, src=0)
        return bool(told.item())


def restored(network: nn.Module, checkpoint: Path, images: object) -> tuple[Exporter, nn.Module, dict[str, object]]:
    """A network with the weights of a checkpoint: a file of PyTorch, Lightning or safetensors, or a folder with one, or a sharded one;
    how it is exported; step and epoch that the checkpoint tells."""
    tree = _read(checkpoint)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(matched(shapes, tree, checkpoint))
    place = place_in(checkpoint) if checkpoint.is_dir() else {}
    return Exporter(images), network, place or place_of(tree)


def _read(checkpoint: Path) -> Any:
    if (checkpoint / ".metadata").is_file():
        from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

        with tempfile.TemporaryDirectory(prefix="relstab-") as folder:
            whole = Path(folder) / "whole.pt"
            dcp_to_torch_save(checkpoint, whole)
            return _read(whole)
    if checkpoint.is_dir():
        return _read(file_in(checkpoint, _FILES))
    if checkpoint.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(checkpoint)
    # Objects of other classes are code: torch.serialization.add_safe_globals, where build() is, admits them.
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


class Exporter:
    """Traces a network once; later snapshots are its weights, put into that graph by name.

    The trace is tried on other weights against the network's own forward. Where its weights cannot be replaced, or the
    network has changed its layers, each snapshot is a trace of its own.
    """

    def __init__(self, images: object, *, layout: str | None = "nchw") -> None:
        self._images, self._layout = images, layout
        self._trace: _Trace | None = None
        self._failures = Failures()

    def snapshot(self, model: nn.Module) -> Callable[[], bytes]:
        module = unwrapped(model)
        described = (repr(module), _kinds(tensors_of(module)))
        with self._failures.trying(described), _evaluated(module):
            weights = {name: _copied(tensor) for name, tensor in tensors_of(module).items()}
            trace = self._trace
            if trace is None or not trace.fits(module, weights):
                trace = self._trace = _Trace(module, weights, self._example(module), self._layout)
        return lambda: self._filled(trace, weights, described)

    def _filled(self, trace: _Trace, weights: Mapping[str, Tensor], described: object) -> bytes:
        with contextlib.nullcontext() if trace.is_tried else self._failures.trying(described):
            return trace.filled(weights)

    def _example(self, module: nn.Module) -> Tensor:
        images = torch.from_numpy(examples(self._images))
        like = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), images)
        return images.to(like.device)


class _Trace:
    """An ONNX graph of a network in evaluation mode, and which of its initialisers are the network's own tensors."""

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor], example: Tensor, layout: str | None) -> None:
        self._layout = layout
        self._layers = repr(module)
        self._kinds = _kinds(weights)
        other = {name: _changed(tensor) for name, tensor in weights.items()}
        if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in module.parameters()):
            # Engines lack many an operator in half precision.
            module = copy.deepcopy(module).float()
        with _undisturbed():
            with forward_of(example):
                plain = module(example)
            self._network = _export(module, example)
            on_device = {name: tensor.to(example.device) for name, tensor in other.items()}
            expected = torch.func.functional_call(module, on_device, (example,), tie_weights=False)
        self._slots = [
            (tensor, tensor.name)
            for tensor in self._network.graph.initializer
            if tensor.name in weights and tensor.raw_data == _bytes(weights[tensor.name])
        ]
        self._trial: tuple[Mapping[str, Tensor], Tensor, Tensor, Tensor] | None = (
            other,
            example.cpu(),
            _first(expected).detach().float().cpu(),
            _first(plain).detach().float().cpu(),
        )
        self._is_replaceable = True
        #: The weights that the graph was traced with, until it is known to take others.
        self._own: Mapping[str, Tensor] | None = weights

    @property
    def is_tried(self) -> bool:
        """Whether the graph is known to be the network."""
        return self._trial is None

    def fits(self, module: nn.Module, weights: Mapping[str, Tensor]) -> bool:
        """Whether these weights may go into this graph."""
        return self._is_replaceable and self._kinds == _kinds(weights) and self._layers == repr(module)

    def filled(self, weights: Mapping[str, Tensor]) -> bytes:
        """The ONNX file's bytes with these weights; the first call tries the graph."""
        if self._trial is not None:
            self._try(*self._trial)
            self._trial = None
        if not self._is_replaceable and weights is not self._own:
            raise ValueError("the graph of an earlier checkpoint does not take these weights")
        return self._fill(weights)

    def _fill(self, weights: Mapping[str, Tensor]) -> bytes:
        for slot, name in self._slots:
            slot.raw_data = _bytes(weights[name])
        return bytes(self._network.SerializeToString())

    def _try(self, other: Mapping[str, Tensor], example: Tensor, expected: Tensor, plain: Tensor) -> None:
        as_traced = self._network.SerializeToString()
        with contextlib.suppress(RelstabError, ValueError):
            hold_to(self._fill(other), example.numpy(), expected.numpy(), "PyTorch", layout=self._layout)
            self._own = None
            return
        self._network.ParseFromString(as_traced)
        self._slots, self._is_replaceable = [], False
        hold_to(as_traced, example.numpy(), plain.numpy(), "PyTorch", layout=self._layout)
        _log.warning("weights cannot be replaced in the exported graph: every checkpoint is a whole export")


def _export(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    # Unoptimised: an optimiser folds normalisations into weights, which keep their names and change their values.
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )
    assert program is not None
    return program.model_proto


def _changed(tensor: Tensor) -> Tensor:
    """Other weights of the same kind, far enough to show where old ones are left, positive where these are."""
    if not tensor.is_floating_point():
        return tensor
    waves = torch.arange(tensor.numel(), dtype=torch.float32).cos().reshape(tensor.shape)
    return tensor * (1 + 0.2 * waves) + 1e-3 * (1 + waves)


@contextlib.contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; modes, and weights that a module changes with its mode, are afterwards as they were."""
    modes = {part: part.training for part in module.modules()}
    if not any(modes.values()):
        yield
        return
    # Such as LoRA's, which go into the weights they adapt: taken out again they leave rounding errors.
    is_plain = all(getattr(part.train, "__func__", None) is nn.Module.train for part in modes)
    kept = (
        {} if is_plain else {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors_of(module).items()}
    )
    try:
        module.eval()
        yield
    finally:
        try:
            if not is_plain:
                # Outermost first, as `train` goes: a part is asked after all that may ask it, too.
                module.train(modes[module])
                for part, training in modes.items():
                    if part.training != training:
                        part.train(training)
                _restore(module, kept)
        finally:
            for part, training in modes.items():
                part.training = training


def _restore(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in tensors_of(module).items():
            before = kept.get(name)
            if before is not None and before.shape == tensor.shape and not torch.equal(before, tensor.detach().cpu()):
                tensor.copy_(before)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without gradients or autocast; random numbers are afterwards as they were."""
    has_cuda = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if has_cuda else []
    with random_numbers_kept(), torch.random.fork_rng(devices), torch.no_grad(), contextlib.ExitStack() as stack:
        for kind in ("cpu", "cuda") if has_cuda else ("cpu",):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _kinds(weights: Mapping[str, Tensor]) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(name, tensor.shape, tensor.dtype) for name, tensor in weights.items()]


def _copied(tensor: Tensor) -> Tensor:
    """On the CPU, in single precision."""
    kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", kind, copy=True)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _first(outputs: Any) -> Tensor:
    while not isinstance(outputs, Tensor):
        outputs = outputs[0] if isinstance(outputs, (list, tuple)) else next(iter(outputs.values()))
    return outputs


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _is_first() -> bool:
    return torch.distributed.get_rank() == 0 if _is_distributed() else is_first_rank()
