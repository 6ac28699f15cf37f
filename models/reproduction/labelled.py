"""What labelled images say of a network: its true error off the probe set, the probe error, and ATC."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]

import data as datasets
from atc import Floats, atc, error

SOURCE = 500  # labelled images that ATC takes its threshold from
VALIDATION = 2_000  # the zoo's `error` is that of the first 2,000 test images
UNSEEN = 4_000  # test images that neither monitor nor probe set knows


class Network:
    """An exported network of the zoo, on one core."""

    def __init__(self, path: Path, data: datasets.DataSet) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.mean, self.std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (data.mean, data.std))

    def logits(self, images: datasets.Bytes) -> Floats:
        batches = np.split(images, range(250, len(images), 250))
        normalised = ((batch.astype(np.float32) / 255 - self.mean) / self.std for batch in batches)
        return np.concatenate([self.session.run(None, {"images": batch})[0] for batch in normalised])


def off_probe(data: datasets.DataSet, start: int = 0) -> npt.NDArray[np.int64]:
    """Test images from `start` on that are in no probe set."""
    labels = data.test[1]
    return np.setdiff1d(np.arange(start, len(labels)), datasets.probe_indices(labels))


def judge(path: Path, data: datasets.DataSet, train_size: int, seed: int) -> dict[str, object]:
    """The error on 9,500 test images off the probe set, what labelled images predict of it, and CPU seconds for each.

    The threshold of ATC comes from 500 images of the training file that were not trained on, or from 500 that were.
    """
    order = np.random.default_rng(seed).permutation(len(data.train[1]))  # as the zoo draws its training images
    sources = {"held_out": order[train_size:][:SOURCE], "trained": order[:SOURCE]}
    probe = datasets.probe_indices(data.test[1])
    started = time.process_time()
    network = Network(path, data)
    target = network.logits(data.test[0][probe])
    probe_error = error(target, data.test[1][probe])
    clean_s = time.process_time() - started
    atcs = {}
    for name, chosen in sources.items():
        started = time.process_time()
        atcs[f"atc_{name}"] = atc(network.logits(data.train[0][chosen]), data.train[1][chosen], target)
        source_s = time.process_time() - started
    rest = off_probe(data)
    return {
        "error": error(network.logits(data.test[0][rest]), data.test[1][rest]),
        "probe_error": probe_error,
        **atcs,
        "clean_s": clean_s,
        "atc_s": clean_s + source_s,
    }


def unseen_error(path: Path, data: datasets.DataSet) -> float:
    """The error on 4,000 test images that are neither among the validation images nor in the probe set."""
    rest = off_probe(data, VALIDATION)[:UNSEEN]
    return error(Network(path, data).logits(data.test[0][rest]), data.test[1][rest])
