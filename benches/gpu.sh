#!/usr/bin/env bash
# Checks and measures everything on a GPU in one run of under 8 minutes; prints the table for docs/performance.md.
#
#   benches/gpu.sh                         needs a GPU, PyTorch, and onnxruntime-gpu: pip install './hooks[gpu]' torch onnx onnxscript
#   benches/gpu.sh --provider cpu --quick  goes through all of it on few images without one, to see that it works
#
# RELSTAB names the command, otherwise it is built; PYTHON the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${RELSTAB:-}" ]; then
    cargo build --release --locked
    RELSTAB="$PWD/target/release/relstab"
fi
export RELSTAB
# The command finds ONNX Runtime and NVIDIA's libraries in the environment of this Python.
VIRTUAL_ENV=$("${PYTHON:-python3}" -c 'import sys; print(sys.prefix)')
# nvidia-smi numbers GPUs by their bus; so does CUDA then.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export VIRTUAL_ENV PYTHONPATH="$PWD/models${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" benches/gpu "$@"
