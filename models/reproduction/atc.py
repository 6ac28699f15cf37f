"""Average thresholded confidence: an error that is predicted from labelled images of another set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def confidence(logits: Floats) -> Floats:
    """Largest softmax probability of each image."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted.max(1) / shifted.sum(1))


def error(logits: Floats, labels: Labels) -> float:
    return float((logits.argmax(1) != labels).mean())


def atc(source: Floats, labels: Labels, target: Floats) -> float:
    """Error predicted by average thresholded confidence (Garg et al. 2022, arXiv:2201.04234, maximum confidence).

    The share of target images that are less confident than a threshold, below which lies as large a share of the source as
    is misclassified there.
    """
    threshold = np.quantile(confidence(source), error(source, labels))
    return float((confidence(target) < threshold).mean())
