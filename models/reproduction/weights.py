"""WeightWatcher (Martin, Peng, Mahoney 2021) on an exported network: power laws of its weights, without any image."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import numpy as np
import onnx
import torch

import data as datasets
import networks
from labelled import Network

WIDTH = 1 / 8  # of the zoo's --small


def rebuilt(path: Path, data: datasets.DataSet) -> torch.nn.Module:
    """The PyTorch network with the exported weights, checked against the exported outputs."""
    model = onnx.load(path)
    about = {entry.key: entry.value for entry in model.metadata_props}
    channels, side = data.test[0].shape[1:3]
    network = networks.make(about["relstab.architecture"], channels, side, WIDTH).eval()
    weights = {tensor.name: torch.tensor(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    wanted = network.state_dict()
    left = network.load_state_dict({k: v for k, v in weights.items() if k in wanted}, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in left.missing_keys), left
    images = data.test[0][:8]
    exported = Network(path, data)
    with torch.no_grad():
        found = network(torch.tensor((images / 255 - exported.mean) / exported.std, dtype=torch.float32)).numpy()
    expected = exported.logits(images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))
    return network


def judge(path: Path, data: datasets.DataSet) -> dict[str, object]:
    """Means over layers of alpha and of the logarithm of the squared Frobenius norm, and CPU seconds."""
    network = rebuilt(path, data)
    # It prints as it goes.
    with contextlib.redirect_stdout(None):
        import weightwatcher  # type: ignore[import-untyped]

        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        watcher = weightwatcher.WeightWatcher(model=network)
        started = time.process_time()
        summary = watcher.get_summary(watcher.analyze())
    return {
        "alpha": float(summary["alpha"]),
        "log_norm": float(summary["log_norm"]),
        "weightwatcher_s": time.process_time() - started,
    }
