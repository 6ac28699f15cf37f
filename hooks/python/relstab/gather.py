"""PyTorch: networks inside the wrappers of a training, and those whose weights are spread over its processes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def gathered(model: nn.Module) -> nn.Module:
    """The network itself, or, where its weights are sharded over processes, a copy on the CPU that has all of them and nothing that
    shards; each process calls this."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    module = unwrapped(model)
    if any(isinstance(part, FullyShardedDataParallel) for part in module.modules()):
        with FullyShardedDataParallel.summon_full_params(module, writeback=False):
            return _plain(module, {}, {})
    is_sharded = any(isinstance(tensor, DTensor) for tensor in tensors_of(module).values())
    return _plain(module, {}, {}) if is_sharded else module


def _plain(module: nn.Module, parts: dict[nn.Module, nn.Module], tensors: dict[Tensor, Tensor]) -> nn.Module:
    """`parts` and `tensors`: what was copied already, for what is there twice."""
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    if module in parts:
        return parts[module]
    if isinstance(module, FullyShardedDataParallel):
        return _plain(module.module, parts, tensors)
    # `fully_shard` puts a class of its own before that of the module.
    kind: Any = next(kind for kind in type(module).__mro__ if not issubclass(kind, FSDPModule))
    plain: nn.Module = kind.__new__(kind)
    parts[module] = plain
    plain.__dict__.update(module.__dict__)
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        hooks = getattr(module, name)
        plain.__dict__[name] = type(hooks)((key, hook) for key, hook in hooks.items() if not _shards(hook))

    def whole(tensor: Tensor) -> Tensor:
        if tensor not in tensors:
            full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            tensors[tensor] = full.detach().to("cpu", copy=True)
        return tensors[tensor]

    parameters, buffers = module._parameters.items(), module._buffers.items()
    plain._parameters = {name: None if value is None else nn.Parameter(whole(value)) for name, value in parameters}
    plain._buffers = {name: None if value is None else whole(value) for name, value in buffers}
    children = module._modules.items()
    plain._modules = {name: None if part is None else _plain(part, parts, tensors) for name, part in children}
    return plain


def _shards(hook: Any) -> bool:
    return str(getattr(getattr(hook, "func", hook), "__module__", "")).startswith("torch.distributed")


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile` and (distributed) data-parallel wrappers."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also those that have several names."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}
