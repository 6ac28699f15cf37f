"""Bare inference: prints, as its last line, the seconds that so many images take through ONNX Runtime in batches.

bare.py NETWORK float32|float16 SIDE PASSES ROWS cuda|cpu
"""

from __future__ import annotations

import sys
import time

import numpy
import onnxruntime


def seconds(network: str, kind: str, side: int, passes: int, rows: int, provider: str) -> float:
    """Input and output stay where it computes; CUDA's options are those of src/backend/onnxruntime.rs."""
    name, device, options = "CPUExecutionProvider", "cpu", {}
    if provider == "cuda":
        onnxruntime.preload_dlls()
        name, device = "CUDAExecutionProvider", "cuda"
        options = {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "1" if kind == "float16" else "0",
        }
    settings = onnxruntime.SessionOptions()
    settings.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(network, settings, providers=[(name, options)])
    if session.get_providers()[0] != name:
        # ONNX Runtime takes the CPU without a word.
        raise SystemExit(f"{name} cannot be used")
    binding = session.io_binding()
    images = numpy.zeros((rows, 3, side, side), kind)
    binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images, device))
    binding.bind_output("logits", device)
    for _ in range(2):
        session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    started = time.perf_counter()
    batches = -(-passes // rows)
    for _ in range(batches):
        session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    # The last batch is whole: its share beyond the passes is not counted.
    return (time.perf_counter() - started) * passes / (rows * batches)


if __name__ == "__main__":
    network, kind, side, passes, rows, provider = sys.argv[1:]
    print(seconds(network, kind, int(side), int(passes), int(rows), provider))
