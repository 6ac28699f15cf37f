"""A PyTorch network as the ONNX file that every script here writes."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes on source files."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, model):
        del part.metadata_props[:]
    return model


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
