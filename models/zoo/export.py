"""PyTorch networks as ONNX files: traced once, checked each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn


class Exporter:
    """Traces the network once; later checkpoints replace the weights of that graph by name."""

    def __init__(self, network: nn.Module, example: Tensor, folder: Path) -> None:
        network.eval()
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            optimize=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
        assert program is not None
        self.path = folder / "graph.tmp"
        program.save(str(self.path), external_data=False)
        self.example = example
        network.train()

    def write(self, network: nn.Module, path: Path, properties: dict[str, object]) -> None:
        """A file that appears whole or not at all, checked against the network's own outputs."""
        network.eval()
        model = onnx.load(self.path)
        state = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
        for tensor in model.graph.initializer:
            if tensor.name in state:
                tensor.CopyFrom(onnx.numpy_helper.from_array(state.pop(tensor.name), tensor.name))
        left = [name for name in state if not name.endswith("num_batches_tracked")]
        assert not left, f"weights that the graph does not hold: {left}"
        for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
            del part.metadata_props[:]  # the exporter's notes on source files
        del model.graph.metadata_props[:]
        onnx.helper.set_model_props(model, {f"relstab.{key}": str(value) for key, value in properties.items()})
        session = onnxruntime.InferenceSession(model.SerializeToString())
        with torch.no_grad():
            expected = network(self.example).float().cpu().numpy()
        found = session.run(None, {"images": self.example.cpu().numpy()})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * max(1e-6, float(np.abs(expected).max())))
        temporary = path.with_suffix(".tmp")
        onnx.save(model, temporary)
        temporary.rename(path)
        network.train()
