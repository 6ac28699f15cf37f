"""A PyTorch network as the ONNX file that every script here writes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


def export(network: nn.Module, example: Tensor, path: Path) -> None:
    """`images` of any batch size to `logits`, the weights inside the file."""
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=["images"],
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
